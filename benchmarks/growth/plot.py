"""A plot in SVG: each cost divided by the first, against the size, both logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from benchmarks.growth.curve import Finding

_LEFT, _TOP, _WIDTH, _HEIGHT, _LINE = 60, 40, 420, 260, 18
_COLOURS = (
    *("#1f6feb", "#d4903a", "#2da44e", "#cf222e", "#8250df"),
    *("#57606a", "#bf3989", "#0a7ea4", "#9a6700"),
)
_STYLE = (
    "text{font:12px sans-serif;fill:#57606a}.t{font-weight:bold}"
    "polyline{fill:none;stroke-width:2}line{stroke:#8883;stroke-width:1}"
)


class _Axes:
    """Coordinates of sizes and growths; size 0 is one step before the smallest other size."""

    def __init__(self, finding: Finding) -> None:
        points = [point for curve in finding.curves for point in curve.growth()]
        sizes = sorted({x for x, _ in points if x > 0}) or [1.0]
        self.zero = sizes[0] / 10
        low = self.zero if any(x == 0 for x, _ in points) else sizes[0]
        self._x = math.log10(low), max(math.log10(sizes[-1]), math.log10(low) + 0.1)
        growths = [math.log10(y) for _, y in points if y > 0]
        self.low, self.high = math.floor(min(growths)), max(1, math.ceil(max(growths)))
        self.sizes = sorted({x for x, _ in points})

    def x(self, size: float) -> float:
        low, high = self._x
        return _LEFT + _WIDTH * (math.log10(size or self.zero) - low) / (high - low)

    def y(self, power: float) -> float:
        return _TOP + _HEIGHT * (self.high - power) / (self.high - self.low)


def draw(finding: Finding) -> str:
    """Draw a line for each curve; its label says how fast it may rise."""
    axes = _Axes(finding)
    parts = [*_grid(axes, finding)]
    for number, curve in enumerate(finding.curves):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(axes.x(x), axes.y(math.log10(y))) for x, y in curve.growth() if y > 0]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline stroke="{colour}" points="{line}"/>')
        parts += (f'<circle fill="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
        at = _TOP + 8 + number * _LINE
        right = _LEFT + _WIDTH + 20
        parts.append(f'<rect fill="{colour}" x="{right}" y="{at - 9}" width="10" height="10"/>')
        said = escape(f"{curve.name} ({curve.order})")
        parts.append(f'<text x="{right + 16}" y="{at}">{said}</text>')
    size = f'width="{_LEFT + _WIDTH + 280}" height="{_TOP + _HEIGHT + 46}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>'
    return "\n".join((head, *parts, "</svg>", ""))


def _grid(axes: _Axes, finding: Finding) -> Iterator[str]:
    yield f'<text class="t" x="8" y="20">cost, in times that of the fewest {finding.input}</text>'
    bottom = _TOP + _HEIGHT
    for power in range(axes.low, axes.high + 1):
        y = axes.y(power)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    for size in axes.sizes:
        x = axes.x(size)
        yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{size:,.0f}</text>'
    middle = _LEFT + _WIDTH / 2
    yield f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{finding.input}</text>'
