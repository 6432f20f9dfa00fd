"""The targets of typedq: bounds on ratios within one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.catalog import FLOOR, OWN, is_rival
from benchmarks.contenders.message import ARGUMENTS

Medians = dict[str, dict[str, float]]  # contender -> measure -> median
RIVAL = "best rival"


class Measure(NamedTuple):
    """A column; `more` is better, or else less."""

    name: str
    more: bool = False


MEASURES = (
    Measure("enqueue one", more=True),
    Measure("enqueue one, async", more=True),
    Measure("enqueue bulk", more=True),
    Measure("drain, sync", more=True),
    Measure("drain, coroutine", more=True),
    Measure("latency p50, ms"),
    Measure("latency p99, ms"),
    Measure("PSS, MB"),
    Measure("PSS with coroutines, MB"),
    Measure("commands a task"),
    Measure("bytes over the network a task"),
    Measure("bytes a waiting message"),
    Measure("start-up, s"),
)
_MEASURES = {measure.name: measure for measure in MEASURES}


class Target(NamedTuple):
    """typedq's figure divided by a contender's (or a number) must be at least, or at most, this."""

    measure: str
    bound: float
    against: str | float
    why: str = ""


_ARGUMENT_BYTES = len(json.dumps(ARGUMENTS, separators=(",", ":")))
TARGETS = (
    Target("drain, sync", 0.50, FLOOR),
    Target("drain, sync", 0.50, "floor-wide"),
    Target("drain, sync", 10, RIVAL),
    Target("drain, coroutine", 5, RIVAL),
    Target("enqueue bulk", 0.55, FLOOR),
    Target("enqueue bulk", 3, RIVAL),
    Target("enqueue one", 0.80, FLOOR),
    Target("enqueue one, async", 1, RIVAL),
    Target("latency p50, ms", 1.25, FLOOR),
    Target("latency p99, ms", 1.25, FLOOR),
    Target("PSS, MB", 1.2, FLOOR),
    Target("start-up, s", 2, FLOOR),
    Target("commands a task", 0.15, 1.0, "a command"),
    Target("bytes a waiting message", 1, _ARGUMENT_BYTES + 110.0, "arguments + 110 bytes"),
    # Ahead of every rival in each column; for memory, the smallest rival is only named.
    *(Target(name, 1, RIVAL) for name in ("enqueue one", "latency p50, ms", "latency p99, ms")),
    *(Target(name, 1, RIVAL) for name in ("commands a task", "start-up, s")),
    *(
        Target(f"bytes {what}", 1, RIVAL)
        for what in ("over the network a task", "a waiting message")
    ),
)


def best_rival(medians: Medians, measure: str) -> tuple[str, float] | None:
    """Return the name and the figure of the best rival in one column."""
    figures = [
        (name, figures[measure])
        for name, figures in medians.items()
        if is_rival(name) and measure in figures
    ]
    best = max if _MEASURES[measure].more else min
    return best(figures, key=lambda each: each[1], default=None)


def times_better(measure: str, own: float, other: float) -> float:
    """Return how many times better the first figure is; below 1 it is worse."""
    return own / other if _MEASURES[measure].more else other / own


class Verdict(NamedTuple):
    """A target as a row of the report; `ratio` is None if the run has no figures for it."""

    measure: str
    against: str
    bound: str
    ratio: float | None
    met: bool


def verdicts(medians: Medians) -> Iterator[Verdict]:
    """Compare typedq with each of its targets."""
    for target in TARGETS:
        against, other = _yardstick(medians, target)
        own, more = medians[OWN].get(target.measure), _MEASURES[target.measure].more
        ratio = own / other if own is not None and other else None
        met = ratio is not None and (ratio >= target.bound if more else ratio <= target.bound)
        bound = f"{'>=' if more else '<='} {target.bound:g} x"
        yield Verdict(target.measure, against, bound, ratio, met)


def _yardstick(medians: Medians, target: Target) -> tuple[str, float | None]:
    if not isinstance(target.against, str):
        return target.why, target.against
    if target.against != RIVAL:
        return target.against, medians.get(target.against, {}).get(target.measure)
    rival = best_rival(medians, target.measure)
    return (f"{RIVAL}: {rival[0]}", rival[1]) if rival else (RIVAL, None)
