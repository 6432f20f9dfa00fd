"""Recycle the largest child when the container or the machine uses too much memory."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import final

import psutil

from typedq.cgroup import used_percent
from typedq.telemetry import event
from typedq.worker.child_process import ChildProcess
from typedq.worker.processes import send_signal

CHECK_S = 0.25
PAUSE_S = 10.0  # memory is given back slowly; one child at a time


def private_bytes(pid: int) -> int:
    """Return how much memory would be free if a process ended; 0 if that cannot be known."""
    try:
        process = psutil.Process(pid)
        # The kernel's answer would wait as long as a process that sleeps within a page fault.
        if process.status() == psutil.STATUS_DISK_SLEEP:
            return 0
        return int(process.memory_full_info().uss)
    except (psutil.Error, OSError):
        return 0


@final
class MemoryLimit:
    """Recycles the child with the most private memory when too much is in use.

    A child is recycled between tasks, only if it grew since its fork. Otherwise other processes
    use the memory, and recycling would not help: that is logged once.
    """

    def __init__(self, children: Callable[[], Sequence[ChildProcess]], percent: float) -> None:
        self._children, self._percent = children, percent
        self._at_fork: dict[int, int] = {}
        self._not_before = 0.0
        self._warned = False

    def step(self, now: float) -> float:
        """Check, and recycle one child at most."""
        children, known = self._children(), self._at_fork
        self._at_fork = {c.pid: known.get(c.pid) or private_bytes(c.pid) for c in children}
        used = used_percent()
        if children and used > self._percent and now >= self._not_before:
            sizes = {c.pid: private_bytes(c.pid) for c in children}
            largest = max(sizes, key=lambda pid: sizes[pid])
            if sizes[largest] > 1.1 * self._at_fork[largest]:
                self._recycle(largest, sizes[largest], used)
            elif not self._warned:
                self._warned = True
                text = "memory limit exceeded, but no child has grown enough to recycle"
                event(logging.WARNING, text, percent=round(used, 1))
        return CHECK_S

    def _recycle(self, pid: int, size: int, used: float) -> None:
        self._not_before, self._warned = time.monotonic() + PAUSE_S, False
        text = "memory limit exceeded; recycling the largest child"
        private_mb = round(size / 1e6, 1)
        event(logging.WARNING, text, pid=pid, private_mb=private_mb, percent=round(used, 1))
        send_signal(pid, signal.SIGTERM)
