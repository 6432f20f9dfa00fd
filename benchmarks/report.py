"""The report of a run in Markdown: medians, ratios within the run, targets, settings."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.catalog import BEFORE, FLOOR, OWN, is_rival
from benchmarks.targets import MEASURES, Medians, best_rival, times_better, verdicts

_COLUMNS = tuple(measure.name for measure in MEASURES)
_CPU = tuple(f"CPU, {measure.name}, us" for measure in MEASURES if measure.more)
_RATES = tuple(measure.name for measure in MEASURES if measure.more)
_README = (*_RATES, "latency p50, ms", "latency p99, ms", "PSS, MB", "commands a task")
BUSY_PERCENT = 20.0  # foreign CPU use above which the report warns
_README_FIRST = (OWN, "celery", "rq")  # where most readers come from


def medians(trials: Sequence[Mapping[str, Any]]) -> Medians:
    """Return the median of the rounds (of CPU times, the least), by contender and measure."""
    rounds: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        for measure, figure in _figures_of(trial.get("figures", {})):
            rounds[trial["name"]][measure].append(figure)
    return {
        name: {
            measure: (min if measure in _CPU else statistics.median)(figures)
            for measure, figures in measures.items()
        }
        for name, measures in rounds.items()
    }


def _figures_of(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for measure, figure in figures.items():
        if measure == "latencies":
            # Quantiles of one round: a moment of foreign load spoils one p99 of three, not all.
            ordered = sorted(figure)
            yield "latency p50, ms", ordered[len(ordered) // 2] * 1e3
            yield "latency p99, ms", ordered[len(ordered) * 99 // 100] * 1e3
        elif figure is not None:
            yield measure, figure


def write(result: Mapping[str, Any], name: str) -> str:
    """Return the report; `name` is the one of the files."""
    found = medians(result["trials"])
    parts = (_head(result, name), _figures(found), _targets(found), _readme(found), _tail(result))
    return "\n".join(line for part in parts for line in (*part, ""))


def _head(result: Mapping[str, Any], name: str) -> Iterator[str]:
    machine, trials = result["machine"], result["trials"]
    loads = [trial["foreign load"] for trial in trials]
    busy = [load["busy %"] for load in loads]
    yield f"# Benchmarks: {name}\n"
    yield f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores,"
    yield f"{machine['system']}, Python {machine['python']}, {machine['server']}"
    yield f"(`{machine['server settings']}`).\n"
    yield f"Medians of {1 + max(trial['round'] for trial in trials)} round(s) in alternating order."
    yield (
        f"Before each trial, other processes used {min(busy):.0f} to {max(busy):.0f} % of the CPU"
        f" (median {statistics.median(busy):.0f} %), load {min(n['load'] for n in loads):.1f}"
        f" to {max(n['load'] for n in loads):.1f}, stolen {sum(n['steal s'] for n in loads):.2f} s."
    )
    if statistics.median(busy) > BUSY_PERCENT:
        yield "\n**The machine was busy: rates and latencies mean little; compare CPU times.**\n"
    yield "Compare within this run only. Lowest and highest round of `drain, sync`:"
    yield f"{_spread(trials, 'drain, sync')}.\n"
    for trial in trials:
        if "failed" in trial:
            yield f"**Failed**: {trial['name']}, round {trial['round'] + 1}: {trial['failed']}\n"
    yield f"![Rates]({name}.svg)"


def _spread(trials: Sequence[Mapping[str, Any]], measure: str) -> str:
    """Return the lowest and highest round of typedq, the version before and the floor."""
    ranges = list[str]()
    for name in (OWN, BEFORE, FLOOR):
        rounds = [
            trial["figures"][measure]
            for trial in trials
            if trial["name"] == name and measure in trial.get("figures", {})
        ]
        if rounds:
            ranges.append(f"{name} {number(min(rounds))} to {number(max(rounds))}")
    return ", ".join(ranges) or "not measured"


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"| | {' | '.join(columns)} |"
    yield "|---|" + "---:|" * len(columns)
    yield from (f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())


def _figures(found: Medians) -> Iterator[str]:
    yield "## Figures\n\nRates are messages a second.\n"
    yield from _table(_COLUMNS, {n: [number(f.get(m)) for m in _COLUMNS] for n, f in found.items()})
    yield "\n## CPU time a message, in microseconds\n"
    yield "Of the producer or the worker, in the best round; steadier than rates if others run.\n"
    yield from _table(_CPU, {n: [number(f.get(m)) for m in _CPU] for n, f in found.items()})
    for base, names in ((FLOOR, [*found]), (BEFORE, [OWN])):
        if base in found:
            yield f"\n## Divided by the figures of `{base}`\n"
            for columns in (_COLUMNS, _CPU):
                rows = {
                    name: [_ratio(found[name].get(m), found[base].get(m)) for m in columns]
                    for name in names
                    if name in found
                }
                yield from (*_table(columns, rows), "")


def _targets(found: Medians) -> Iterator[str]:
    if OWN not in found:
        return
    yield "## Targets of typedq\n"
    yield "| measure | divided by that of | target | ratio | |\n|---|---|---:|---:|---|"
    unmeasured = list[str]()
    for measure, against, bound, ratio, met in verdicts(found):
        if ratio is None:
            unmeasured.append(f"{measure} ({against})")
        else:
            verdict = "met" if met else "**missed**"
            yield f"| {measure} | {against} | {bound} | {ratio:.3g} x | {verdict} |"
    if unmeasured:
        yield f"\nThis run has no figures for: {'; '.join(unmeasured)}."
    for measure in ("PSS, MB", "PSS with coroutines, MB"):
        if rival := best_rival(found, measure):
            yield f"\nSmallest rival in `{measure}`: {rival[0]}, {number(rival[1])} MB."


def _readme(found: Medians) -> Iterator[str]:
    """Yield the tables for the README, if the run has what its readers use today."""
    if not set(_README_FIRST) <= found.keys():
        return
    names = [*_README_FIRST, *(n for n in found if n not in _README_FIRST and _is_shown(n))]
    yield "## For the README\n"
    yield from _table(_README, {n: [number(found[n].get(m)) for m in _README] for n in names})
    yield "\nHow many times better typedq is in this run (below 1: worse):\n"
    rows = {n: [_times(found, m, n) for m in _README] for n in names if n != OWN}
    yield from _table(_README, {f"than {name}": cells for name, cells in rows.items()})


def _is_shown(name: str) -> bool:
    return is_rival(name) or name in (FLOOR, BEFORE)


def _times(found: Medians, measure: str, name: str) -> str:
    own, other = found[OWN].get(measure), found[name].get(measure)
    return f"{number(times_better(measure, own, other))} x" if own and other else "-"


def _tail(result: Mapping[str, Any]) -> Iterator[str]:
    yield "## Settings\n"
    yield from (f"- {name}: {settings}" for name, settings in result["settings"].items())
    yield from (f"- {name}: left out, {reason}" for name, reason in result["unavailable"].items())


def number(figure: float | None) -> str:
    """Return a figure with three digits at least; "-" for none."""
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _ratio(figure: float | None, base: float | None) -> str:
    return f"{figure / base:.2f}" if figure is not None and base else "-"
