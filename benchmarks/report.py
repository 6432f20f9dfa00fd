"""What a run came to, as a table in Markdown: medians, ratios to the safe floor, targets."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.contenders.message import ARGUMENTS
from benchmarks.field import SAFE

Medians = dict[str, dict[str, float]]
OWN, FLOORS = "typedq", "floor-"
MEASURES = (
    "enqueue one",
    "enqueue one, async",
    "enqueue bulk",
    "drain, sync",
    "drain, coroutine",
    "latency p50, ms",
    "latency p99, ms",
    "PSS, MB",
    "PSS with coroutines, MB",
    "commands a task",
    "bytes on the wire a task",
    "bytes a waiting message",
    "start-up, s",
)


class Target(NamedTuple):
    """A bound on a ratio; `of` chooses what it is measured against; `least` or else most."""

    measure: str
    bound: float
    against: str
    of: Callable[[Medians, str], float | None]
    least: bool = True


def _floor(medians: Medians, measure: str) -> float | None:
    return medians.get(SAFE, {}).get(measure)


def _client(medians: Medians, measure: str) -> float | None:
    return medians.get("floor-client", {}).get(measure)


def _wide(medians: Medians, measure: str) -> float | None:
    return medians.get("floor-wide", {}).get(measure)


def _rival(medians: Medians, measure: str) -> float | None:
    """The best rival's; more is better wherever a target names one."""
    found = [
        figures[measure]
        for name, figures in medians.items()
        if name != OWN and not name.startswith(FLOORS) and measure in figures
    ]
    return max(found, default=None)


def _arguments(*_: object) -> float:
    """Bytes that a message may take beside its arguments, and those."""
    return len(json.dumps(ARGUMENTS, separators=(",", ":"))) + 110.0


TARGETS = (
    Target("drain, sync", 0.50, "safe floor", _floor),
    Target("drain, sync", 0.50, "safe floor, 128 at once", _wide),
    Target("drain, sync", 10, "fastest rival", _rival),
    Target("drain, coroutine", 5, "fastest rival", _rival),
    Target("enqueue bulk", 0.60, "safe floor", _floor),
    Target("enqueue bulk", 3, "fastest rival", _rival),
    Target("enqueue one", 0.85, "safe floor", _floor),
    Target("enqueue one", 0.85, "safe floor on redis-py", _client),
    Target("enqueue one, async", 1, "fastest rival", _rival),
    Target("latency p50, ms", 1.25, "safe floor", _floor, least=False),
    Target("latency p99, ms", 1.25, "safe floor", _floor, least=False),
    Target("PSS, MB", 1.2, "safe floor", _floor, least=False),
    Target("PSS, MB", 1.2, "safe floor on redis-py", _client, least=False),
    Target("commands a task", 0.15, "one", lambda *_: 1.0, least=False),
    Target("bytes a waiting message", 1, "arguments + 110", _arguments, least=False),
    Target("start-up, s", 2, "safe floor", _floor, least=False),
    Target("start-up, s", 2, "safe floor on redis-py", _client, least=False),
)


def medians(turns: Sequence[Mapping[str, Any]]) -> Medians:
    """Per contender and measure, of its rounds."""
    seen: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in turns:
        for measure, figure in _round(turn.get("figures", {})):
            seen[turn["name"]][measure].append(figure)
    return {
        name: {measure: statistics.median(rounds) for measure, rounds in figures.items()}
        for name, figures in seen.items()
    }


def _round(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for measure, figure in figures.items():
        if measure == "latencies":
            # Of one round, so that a moment of foreign load is in one of three p99 and not in all.
            ordered = sorted(figure)
            yield "latency p50, ms", ordered[len(ordered) // 2] * 1e3
            yield "latency p99, ms", ordered[len(ordered) * 99 // 100] * 1e3
        elif figure is not None:
            yield measure, figure


def spread(turns: Sequence[Mapping[str, Any]], measure: str) -> str:
    """The least and the most of the rounds of typedq and the safe floor, as a hint at the noise."""
    said = list[str]()
    for name in (OWN, SAFE):
        rounds = [t["figures"][measure] for t in turns if t["name"] == name and "figures" in t]
        if rounds:
            said.append(f"{name} {number(min(rounds))} to {number(max(rounds))}")
    return ", ".join(said)


def write(result: Mapping[str, Any], name: str) -> str:
    found = medians(result["turns"])
    return "\n".join((*_head(result, name), *_figures(found), *_ratios(found), *_tail(result), ""))


def _head(result: Mapping[str, Any], name: str) -> Iterator[str]:
    machine, turns = result["machine"], result["turns"]
    rounds = 1 + max(turn["round"] for turn in turns)
    loads = [turn["noise"] for turn in turns]
    yield f"# Benchmarks: {name}\n"
    yield f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores,"
    yield f"{machine['system']}, Python {machine['python']}, {machine['server']}"
    yield f"(`{machine['server settings']}`).\n"
    yield f"Medians of {rounds} rounds in turning order. Before each turn, others kept the machine"
    yield (
        f"{min(n['busy %'] for n in loads):.0f} to {max(n['busy %'] for n in loads):.0f} % busy"
        f" (median {statistics.median(n['busy %'] for n in loads):.0f} %),"
        f" load {min(n['load'] for n in loads):.1f} to {max(n['load'] for n in loads):.1f},"
        f" stolen {sum(n['steal s'] for n in loads):.2f} s."
    )
    yield "Only ratios within this run mean anything. Drained a second, lowest and highest round:"
    yield f"{spread(turns, 'drain, sync')}.\n"
    yield from (f"**Failed**: {line}\n" for line in _failures(turns))
    yield f"![Rates]({name}.svg)\n"


def _figures(found: Medians) -> Iterator[str]:
    yield "## Figures\n\nRates are messages a second.\n"
    yield "| | " + " | ".join(MEASURES) + " |"
    yield "|---|" + "---:|" * len(MEASURES)
    for name, figures in found.items():
        yield f"| {name} | " + " | ".join(number(figures.get(m)) for m in MEASURES) + " |"
    floor = found.get(SAFE, {})
    yield "\n## As ratios to the safe floor\n"
    yield "| | " + " | ".join(MEASURES) + " |"
    yield "|---|" + "---:|" * len(MEASURES)
    for name, figures in found.items():
        ratios = (_ratio(figures.get(m), floor.get(m)) for m in MEASURES)
        yield f"| {name} | " + " | ".join(ratios) + " |"


def _ratios(found: Medians) -> Iterator[str]:
    if OWN not in found:
        return
    yield "\n## typedq beside its targets\n"
    yield "| | against | target | here | |\n|---|---|---:|---:|---|"
    for target in TARGETS:
        own, other = found[OWN].get(target.measure), target.of(found, target.measure)
        if own is None or not other:
            yield f"| {target.measure} | {target.against} | | not measured | |"
            continue
        ratio = own / other
        met = ratio >= target.bound if target.least else ratio <= target.bound
        sign = ">=" if target.least else "<="
        verdict = "met" if met else "**missed**"
        yield (
            f"| {target.measure} | {target.against} | {sign} {target.bound:g} x |"
            f" {ratio:.3g} x | {verdict} |"
        )


def _tail(result: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Settings\n"
    yield from (f"- {name}: {settings}" for name, settings in result["settings"].items())
    yield from (f"- {name}: left out, {reason}" for name, reason in result["missing"].items())


def _failures(turns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for turn in turns:
        if "failed" in turn:
            yield f"{turn['name']}, round {turn['round'] + 1}: {turn['failed']}"


def number(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _ratio(figure: float | None, floor: float | None) -> str:
    return f"{figure / floor:.2f}" if figure is not None and floor else "-"
