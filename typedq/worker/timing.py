"""How a sync task meets its soft timeout."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final

from typedq.errors import SoftTimeout

_AGAIN_S = 0.01
# A request must not be cut, nor what the first one does: imports, and the start of a server.
_OURS = ("typedq.broker", "typedq.producer")


def expired(limit: float) -> SoftTimeout:
    """The soft timeout of a task that may run for `limit` seconds."""
    return SoftTimeout(f"it ran longer than its soft timeout of {limit:g} s")


def call_task(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a sync task: a soft timeout is raised only in frames that this one called."""
    return fn(*args, **kwargs)


@final
class Alarm:
    """The soft timeout of the sync task that runs, by SIGALRM. Main thread only.

    The timer is not taken back when a task ends: for short tasks that would cost more than they
    do. When it rings, it is set again for what then runs.
    """

    def __init__(self) -> None:
        self._limit, self._until, self._rings = 0.0, 0.0, float("inf")
        self._shields = 0
        signal.signal(signal.SIGALRM, self._ring)

    def start(self, limit: float | None) -> None:
        """A task begins."""
        if limit is not None:
            self._limit, self._until = limit, time.monotonic() + limit
            if self._until < self._rings:
                self._set(limit)

    def stop(self) -> None:
        """It has ended."""
        self._until = 0.0

    @contextmanager
    def shield(self) -> Generator[None]:
        """Hold the soft timeout back until the end of the block."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def _set(self, seconds: float) -> None:
        self._rings = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self._rings = float("inf")
        if not self._until:
            return
        left = self._until - time.monotonic()
        if left > 0:
            self._set(left)
        elif self._shields or not _may_interrupt(frame):
            self._set(_AGAIN_S)
        else:
            self._until = 0.0
            raise expired(self._limit)


def _may_interrupt(frame: FrameType | None) -> bool:
    """Whether a frame is inside a task, and not inside one of our own requests to the server."""
    inside = False
    while frame is not None:
        if frame.f_code is call_task.__code__:
            return inside
        if frame.f_globals.get("__name__", "").startswith(_OURS):
            return False
        inside, frame = True, frame.f_back
    return False
