"""A plot in SVG: the rates of a run as bars on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from benchmarks.catalog import BEFORE, FLOOR, OWN
from benchmarks.targets import MEASURES

RATES = tuple(measure.name for measure in MEASURES if measure.more)
_LEFT, _WIDTH, _BAR, _GAP = 130, 560, 14, 34
_STYLE = (
    "text{font:12px sans-serif;fill:#57606a}.t{font-weight:bold}"
    ".own{fill:#1f6feb}.before{fill:#8fb8f5}.floor{fill:#b0b7c0}.rival{fill:#d4903a}"
    "line{stroke:#8883;stroke-width:1}"
)


def draw(medians: dict[str, dict[str, float]]) -> str:
    """Return a group of bars for each rate, the fastest first."""
    rates = [f[m] for f in medians.values() for m in RATES if m in f] or [1.0]
    low = math.floor(math.log10(min(rates)))
    high = max(low + 1, math.ceil(math.log10(max(rates))))
    parts, at = list[str](), 24
    for measure in RATES:
        group = {name: f[measure] for name, f in medians.items() if measure in f}
        parts.append(f'<text class="t" x="8" y="{at}">{escape(measure)}, messages a second</text>')
        at += 10
        for name in sorted(group, key=lambda each: -group[each]):
            parts += _bar(name, group[name], at, low, high)
            at += _BAR + 4
        at += _GAP
    parts[:0] = _grid(low, high, at)
    size = f'width="{_LEFT + _WIDTH + 90}" height="{at}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>'
    return "\n".join((head, *parts, "</svg>", ""))


def _x(rate: float, low: int, high: int) -> float:
    return _LEFT + _WIDTH * (math.log10(rate) - low) / (high - low)


def _bar(name: str, rate: float, at: int, low: int, high: int) -> Iterator[str]:
    kinds = {OWN: "own", BEFORE: "before"}
    kind = kinds.get(name, "floor" if name.startswith(FLOOR) else "rival")
    end = _x(rate, low, high)
    yield f'<text x="{_LEFT - 8}" y="{at + 12}" text-anchor="end">{escape(name)}</text>'
    yield f'<rect class="{kind}" x="{_LEFT}" y="{at}" width="{end - _LEFT:.1f}" height="{_BAR}"/>'
    yield f'<text x="{end + 6:.1f}" y="{at + 12}">{rate:,.0f}</text>'


def _grid(low: int, high: int, bottom: int) -> Iterator[str]:
    for power in range(low, high + 1):
        x = _x(10**power, low, high)
        yield f'<line x1="{x:.1f}" y1="14" x2="{x:.1f}" y2="{bottom - 20}"/>'
        yield f'<text x="{x:.1f}" y="{bottom - 6}" text-anchor="middle">{10**power:,}</text>'
