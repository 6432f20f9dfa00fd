"""A cost as a function of the size of an input, and whether it grows faster than allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

Order = Literal["flat", "log", "linear"]
# Fixed costs hide a logarithm below a thousand or so.
_SHAPES: Mapping[Order, Callable[[float], float]] = {
    "flat": lambda _: 1.0,
    "log": lambda x: math.log2(1024 + x),
    "linear": lambda x: max(x, 1.0),
}
TOLERANCE = 2.0  # for noise; growth of a higher order exceeds it over decades of size
_CLEAR = 0.25  # a smaller rise than this share of the cost says nothing about the slope


@dataclass(frozen=True, slots=True)
class Curve:
    """The result of one measure at each size of the input.

    points: (size, figure), sizes rising
    order: how fast the cost may grow
    rate: the figure is a rate, and the cost one over it
    slack: growth below this, in the figure's unit, is an error of measurement
    """

    name: str
    unit: str
    order: Order
    points: Sequence[tuple[float, float]]
    rate: bool = False
    slack: float = 0.0

    def costs(self) -> list[tuple[float, float]]:
        """(size, cost)."""
        return [(x, 1 / y if self.rate else y) for x, y in self.points]

    def growth(self) -> list[tuple[float, float]]:
        """(size, times the cost at the first size)."""
        costs = self.costs()
        return [(x, y / max(costs[0][1], 1e-9)) for x, y in costs]

    def excess(self) -> float:
        """Return how many times faster than allowed it grew, at the worst size."""
        (first, base), *rest = self.costs()
        shape = _SHAPES[self.order]
        least = max(base, 1e-9)  # a cost can be measured as 0
        found = [(y - self.slack) / least / (shape(x) / shape(first)) for x, y in rest]
        if self.order == "linear":
            found += self._steeper()
        return max(0.0, *found)

    def _steeper(self) -> list[float]:
        """Divide each slope by the first clear one: a large constant can hide quadratic growth."""
        costs = self.costs()
        slopes = [
            (y1 - y0) / (x1 - x0)
            for (x0, y0), (x1, y1) in pairwise(costs)
            if y1 - y0 > max(_CLEAR * y1, self.slack)
        ]
        return [slope / slopes[0] for slope in slopes[1:]]

    @property
    def is_kept(self) -> bool:
        """Return True if it grew no faster than allowed."""
        return self.excess() <= TOLERANCE


Figures = Mapping[int, Sequence[float]]


def column(found: Figures, place: int) -> list[tuple[float, float]]:
    """Return the points of one column of the figures of each size."""
    return [(size, figures[place]) for size, figures in found.items()]


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure; `most` is its bound, if it has one."""

    name: str
    unit: str
    figure: float
    most: float | None = None

    @property
    def is_kept(self) -> bool:
        """Return True if it is within its bound."""
        return self.most is None or self.figure <= self.most


@dataclass(frozen=True, slots=True)
class Finding:
    """The results of one measure: `name` is also that of its plot, `input` labels the sizes."""

    name: str
    input: str
    curves: Sequence[Curve] = ()
    facts: Sequence[Fact] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """Return everything, verdicts included."""
        return {
            "name": self.name,
            "input": self.input,
            "curves": [
                {
                    "name": c.name,
                    "unit": c.unit,
                    "order": c.order,
                    "points": [[x, round(y, 4)] for x, y in c.points],
                    "excess": round(c.excess(), 2),
                    "kept": c.is_kept,
                }
                for c in self.curves
            ],
            "facts": [
                {"name": f.name, "unit": f.unit, "figure": round(f.figure, 4), "most": f.most}
                for f in self.facts
            ],
        }
