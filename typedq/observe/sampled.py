"""A measurement that takes time, repeated so seldom that this does not matter."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

_SHARE: Final = 0.01  # of the time may be spent on measuring one thing
_MAX_KNOWN: Final = 1_000


@final
class Sampled:
    """Measures each thing for at most 1 % of the time, and returns the last result meanwhile."""

    def __init__(
        self, measure: Callable[[int], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._measure, self._clock = measure, clock
        self._known: dict[int, tuple[int, float]] = {}  # result, and when to measure again

    def __call__(self, thing: int) -> int:
        """Return what the measurement says, or said a while ago."""
        start = self._clock()
        result, until = self._known.get(thing, (0, start))
        if start >= until:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()  # things that have gone
            result, end = self._measure(thing), self._clock()
            self._known[thing] = result, end + (end - start) / _SHARE
        return result
