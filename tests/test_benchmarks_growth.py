"""The growth benchmark reports a cost that grows too fast, and ignores noise."""

import math

import pytest

from benchmarks.growth.curve import Curve, Finding, Order
from benchmarks.growth.plot import draw
from benchmarks.growth.report import write

SIZES = (1, 10, 100, 1_000, 10_000)


def curve(order: Order, *costs: float, rate: bool = False, slack: float = 0.0) -> Curve:
    points = list(zip(SIZES, costs, strict=False))
    return Curve("it", "us", order, points, rate=rate, slack=slack)


@pytest.mark.parametrize(
    ("order", "costs"),
    [
        ("flat", [10, 13, 9, 18, 12]),
        ("flat", [0, 0, 0, 0, 0]),
        ("log", [5 * math.log2(1024 + x) for x in SIZES]),
        ("linear", [1000 + 3 * x for x in SIZES]),
        ("linear", [7 * x * noise for x, noise in zip(SIZES, [1, 1.3, 0.8, 1.2, 1], strict=True)]),
        ("linear", [40, 40, 41, 39, 40]),
    ],
)
def test_growth_as_allowed_is_kept(order: Order, costs: list[float]) -> None:
    assert curve(order, *costs).is_kept


@pytest.mark.parametrize(
    ("order", "costs"),
    [
        ("flat", [10 + math.log2(x) * 3 for x in SIZES]),
        ("log", [5 + x**0.5 for x in SIZES]),
        ("linear", [x**1.3 for x in SIZES]),
        ("linear", [1_000 + x**2 / 100 for x in SIZES]),  # hidden by a large constant at first
    ],
)
def test_faster_growth_is_found(order: Order, costs: list[float]) -> None:
    assert not curve(order, *costs).is_kept


def test_a_rate_that_falls_is_a_cost_that_grows() -> None:
    assert not curve("flat", 900, 800, 700, 600, 300, rate=True).is_kept
    assert curve("flat", 300, 600, 900, rate=True).is_kept


def test_slack_is_no_growth() -> None:
    assert curve("flat", 50, 107, slack=8).is_kept
    assert not curve("flat", 50, 109, slack=8).is_kept


def test_the_page_names_what_grows_too_fast() -> None:
    found = Finding("ready", "messages", [curve("flat", 1, 2, 30), curve("linear", 1, 2)])
    machine = {"date": "", "commit": "", "cores": 2, "system": "", "python": "", "server": ""}
    about = machine | {"quick": True, "noise": [0.0], "took s": 1}
    page = write([found], about, {"due": "TimeoutError()"}, "growth")
    assert "- **grows too fast**: ready, it: 30.0 times" in page
    assert "- **failed**: due: TimeoutError()" in page
    assert page.count("| kept |") == 1
    assert draw(found).count("<polyline") == 2
