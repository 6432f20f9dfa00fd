"""How much memory the children may use, and who is recycled when it is too much."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import final

from typedq.telemetry import event
from typedq.worker.cgroup import used_percent
from typedq.worker.children import ChildProcess

LOOK_S = 0.25
PAUSE_S = 10.0  # memory is given back slowly; one child at a time


def private_bytes(pid: int) -> int:
    """What would be free if this process ended: what it does not share with its parent."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0


@final
class MemoryLimit:
    """Recycles the child with the most private memory when too much is in use.

    A child is recycled between tasks, only if it grew since its fork; otherwise the memory is in
    other hands, and recycling for ever would help nobody: that is said once.
    """

    def __init__(
        self, members: Callable[[], Sequence[ChildProcess]], percent: float | None
    ) -> None:
        self._members, self._percent = members, percent
        self._at_birth: dict[int, int] = {}
        self._not_before = 0.0
        self._warned = False

    def step(self, now: float) -> float:
        """Look, and recycle one child at most."""
        if self._percent is None:
            return 3_600.0
        members, known = self._members(), self._at_birth
        self._at_birth = {m.pid: known.get(m.pid) or private_bytes(m.pid) for m in members}
        used = used_percent()
        if members and used > self._percent and now >= self._not_before:
            sizes = {m.pid: private_bytes(m.pid) for m in members}
            largest = max(sizes, key=lambda pid: sizes[pid])
            if sizes[largest] > 1.1 * self._at_birth[largest]:
                self._recycle(largest, sizes[largest], used)
            elif not self._warned:
                self._warned = True
                event(logging.WARNING, "memory is short, but not through our children", used=used)
        return LOOK_S

    def _recycle(self, pid: int, size: int, used: float) -> None:
        self._not_before, self._warned = time.monotonic() + PAUSE_S, False
        event(
            logging.WARNING,
            "recycling a child for its memory",
            pid=pid,
            private_mb=round(size / 1e6, 1),
            percent=round(used, 1),
        )
        os.kill(pid, signal.SIGTERM)
