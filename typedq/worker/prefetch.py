"""How long tasks take, and so how many messages a child may hold unstarted."""

from __future__ import annotations

from typing import final

from typedq.worker.delivery import UNSEEN_S, Kind

MAX_PREFETCHED = 128
BATCH_S = 0.020  # a batch holds about this much work, so that a high priority waits no longer
BATCH_BYTES = 1 << 20  # about: a server pays more for one large reply than for its parts
QUICK_S = BATCH_S / MAX_PREFETCHED


@final
class Prefetch:
    """How long tasks typically take (s), and so how many to fetch at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._typical = BATCH_S

    def is_quick(self, kind: Kind) -> bool:
        """Whether batches are full, and stay so while none of them takes `QUICK_S`: then `ran` has
        nothing to learn.
        """
        return kind.typical < QUICK_S and self._typical < QUICK_S

    def ran(self, kind: Kind, took: float) -> None:
        """A sync task took this long; rises at once, falls slowly."""
        if took < QUICK_S and self.is_quick(kind):
            return
        known = took if kind.typical == UNSEEN_S else kind.typical
        kind.typical = 0.8 * known + 0.2 * took
        self._typical = took if took > self._typical else 0.8 * self._typical + 0.2 * took

    def handed_over(self) -> None:
        """A coroutine does not hold the batch up."""
        self._typical *= 0.8

    def batch(self, bytes_each: int = 1) -> int:
        """How many messages make about 20 ms of work, and no more than about 1 MiB."""
        quick, small = int(BATCH_S / max(self._typical, 1e-6)), 1 + BATCH_BYTES // bytes_each
        return max(1, min(self._most, quick, small))
