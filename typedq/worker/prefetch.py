"""How many messages a child fetches at once."""

from __future__ import annotations

from typing import final

from typedq.worker.delivery import UNSEEN_S, MessageKind

MAX_PREFETCHED = 128
BATCH_S = 0.020  # a batch holds about this much work, so that a high priority waits no longer
BATCH_BYTES = 1 << 20  # about: a server pays more for one large reply than for its parts


@final
class Prefetch:
    """How long tasks typically take (s), and so how many messages a child fetches at once."""

    def __init__(self, max_messages: int) -> None:
        self._max, self._typical = max_messages, BATCH_S

    def ran(self, kind: MessageKind, took: float) -> None:
        """Learn from a sync task that took this long: rise at once, fall slowly."""
        typical = kind.typical
        kind.typical = took if typical == UNSEEN_S else 0.8 * typical + 0.2 * took
        self._typical = took if took > self._typical else 0.8 * self._typical + 0.2 * took

    def handed_over(self) -> None:
        """Learn from a coroutine, which does not hold the batch up."""
        self._typical *= 0.8

    def batch(self, bytes_each: int = 1) -> int:
        """Return how many messages make about 20 ms of work, and no more than about 1 MiB."""
        by_time, by_size = int(BATCH_S / max(self._typical, 1e-6)), 1 + BATCH_BYTES // bytes_each
        return max(1, min(self._max, by_time, by_size))
