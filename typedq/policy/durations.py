"""Check durations that users write, and convert them to seconds."""

from __future__ import annotations

import math
import re
from datetime import timedelta

TEN_YEARS = 10 * 365 * 86_400.0
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, None: 1}
_DURATION = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)(ms|[smhdw])?", re.ASCII)


def parse_duration(text: str) -> float | None:
    """Return seconds; the text is "90", "1.5s", "30m", "2h" or "1d". None: it is no duration."""
    found = _DURATION.fullmatch(text)
    return float(found[1]) * _SECONDS[found[2]] if found else None


def seconds(value: float | timedelta, what: str) -> float:
    """Return `value` in seconds, 0 to 10 years. Raises ValueError; its text begins with `what`."""
    length = _length(value, what)
    if not math.isfinite(length):
        raise ValueError(f"{what} takes a finite number of seconds, not {length}")
    if length < 0:
        raise ValueError(f"{what} cannot be negative ({length:g} s)")
    if length > TEN_YEARS:
        raise ValueError(f"{what} is longer than 10 years")
    return length


def _length(given: object, what: str) -> float:
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{what} takes seconds or a timedelta, not {type(given).__name__}")
    try:
        return float(given)
    except OverflowError:
        raise ValueError(f"{what} is longer than 10 years") from None


def timeouts(
    soft: float | timedelta | None, hard: float | timedelta | None
) -> tuple[float | None, float | None]:
    """Return both timeouts in seconds, above 0 and soft below hard. Raises ValueError."""
    limits = [
        None if value is None else seconds(value, what)
        for what, value in (("soft_timeout", soft), ("hard_timeout", hard))
    ]
    for what, limit in zip(("soft_timeout", "hard_timeout"), limits, strict=True):
        if limit == 0:
            raise ValueError(f"{what} must be above 0 seconds; leave it out for no limit")
    first, last = limits
    if first is not None and last is not None and first >= last:
        raise ValueError(f"soft_timeout ({first:g} s) must be less than hard_timeout ({last:g} s)")
    return first, last
