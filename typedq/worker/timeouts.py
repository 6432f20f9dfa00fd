"""Soft timeouts and cancellation: signals interrupt a sync task, coroutines are cancelled."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final

import msgspec

from typedq.errors import Cancelled, SoftTimeout
from typedq.invoke import invoke

_AGAIN_S = 0.01  # until a timeout is tried again that could not be raised
# A request must not be cut, nor what the first one does: imports, and the start of a server.
_OURS = ("typedq.broker", "typedq.producer")
_CALLER = invoke.__code__  # what it calls is the task, or ours


@final
class Alarm:
    """The soft timeout of the sync task that runs, by SIGALRM. Main thread only.

    The timer is set anew for each task: the task before may have taken it. It is not taken back
    when a task ends, but when it rings, or when a task without a limit begins: for short tasks that
    would cost more than they do.
    """

    def __init__(self) -> None:
        self._limit, self._ends, self._until = 0.0, 0.0, 0.0
        self._shields = list[None]()  # those that are open, of this task
        self.is_set = False
        self.awaited: AsyncTimer | None = None  # of what a sync task returned
        self._again: Callable[[], None] = self._ring_again
        self._raised: BaseException | None = None
        self._hook: Callable[[Any], Any] | None = None
        self._handler = self._ring
        signal.signal(signal.SIGALRM, self._handler)

    def start(self, limit: float | None) -> None:
        """Begin a task that may take `limit` seconds."""
        if self._shields:  # the task before left some open, or a thread of it has
            self._shields = []
        if limit is not None:
            signal.signal(signal.SIGALRM, self._handler)  # always: C code takes it unseen
            self._limit = limit
            self._ends = self._until = time.monotonic() + limit
            self._set(limit)
            return
        if self.is_set:
            self._set(0)

    def stop(self) -> None:
        """End the task."""
        self._until, self._raised = 0.0, None

    @contextmanager
    def shield(self) -> Generator[None]:
        """Hold soft timeout and cancellation back until the end of the block."""
        shields = self._shields
        shields.append(None)
        self.is_set = True  # so that the next task begins without this one
        try:
            yield
        finally:
            shields.pop()

    @contextmanager
    def awaiting(self, limit: float | None) -> Generator[AsyncTimer]:
        """Limit what the task returned, which is awaited in this block, to what is left."""
        left = None if limit is None else self._ends - time.monotonic()
        self.awaited = AsyncTimer(limit, left)
        try:
            yield self.awaited
        finally:
            self.awaited = None

    def may_interrupt(self, frame: FrameType | None) -> bool:
        """Return True if the code of a task runs, without a shield."""
        return not self._shields and _may_interrupt(frame)

    def raising(self, error: BaseException, again: Callable[[], None]) -> BaseException:
        """Return what is about to be raised; `again` is called if a finalizer drops it."""
        self._raised, self._again = error, again
        if sys.unraisablehook is not self._hook:  # a task may have set another
            self._watch_dropped()
        return error

    def _set(self, seconds: float) -> None:
        self.is_set = seconds > 0
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6) if seconds else 0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if not self._until:
            self._set(0)  # it may be a timer of a task that is over, and repeat itself
            return
        left = self._until - time.monotonic()
        if left > 0:
            self._set(left)
        elif self.may_interrupt(frame):
            self._until = 0.0
            raise self.raising(expired(self._limit), self._ring_again)
        else:
            self._set(_AGAIN_S)

    def _ring_again(self) -> None:
        self._until = self._ends
        self._set(_AGAIN_S)

    def _watch_dropped(self) -> None:
        """Raise again what is raised in a finalizer, where Python drops every exception."""
        report_dropped = sys.unraisablehook

        def dropped(report: Any) -> None:
            if report.exc_value is not None and report.exc_value is self._raised:
                self._raised = None
                self._again()
            else:
                report_dropped(report)

        self._hook = sys.unraisablehook = dropped


def _may_interrupt(frame: FrameType | None) -> bool:
    """Return True in a frame of a task, unless it is inside one of our requests to the server."""
    is_foreign = False
    while frame is not None:
        if frame.f_code is _CALLER:
            return is_foreign
        found = frame.f_globals.get("__name__")
        name = found if isinstance(found, str) else ""
        if name.startswith(_OURS):
            return False
        is_foreign, frame = not name.startswith("typedq."), frame.f_back
    return False


# A Struct, because one is made for each attempt, and a class of Python's own costs more.
@final
class AsyncTimer(msgspec.Struct, eq=False, gc=False):
    """The soft timeout of one coroutine, and its cancellation: both reach it as `CancelledError`.

    limit: as it is reported; left: seconds that are left of it
    """

    _limit: float | None
    _left: float | None
    _timeout: asyncio.Timeout | None = None
    _shields: int = 0
    _until: float | None = None
    _task: asyncio.Task[Any] | None = None  # while it runs what may be interrupted
    _is_cancelled: bool = False

    def __enter__(self) -> None:
        """Begin what may be interrupted."""
        self._task = asyncio.current_task()
        if self._is_cancelled:
            self._cancel_soon()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        """End it. Raises Cancelled in place of our own cancellation."""
        task, self._task = self._task, None
        if self._is_cancelled and task and isinstance(error, asyncio.CancelledError):
            task.uncancel()
            raise cancelled() from None

    def limited(self, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        """Limit an awaitable to what is left of the time; it then raises SoftTimeout."""
        return awaitable if self._limit is None else self._run_limited(awaitable, self._limit)

    async def _run_limited(self, awaitable: Awaitable[Any], limit: float) -> Any:
        """Await it. Only our own expiry becomes SoftTimeout, never a timeout of the task's."""
        own: TimeoutError | None = None
        ends = time.monotonic() + (self._left or 0.0)
        try:
            async with asyncio.timeout(self._left) as self._timeout:
                try:
                    return await awaitable
                except TimeoutError as error:
                    own = error
                    raise
        except TimeoutError as error:
            if error is own:
                raise
            raise expired(limit) from None
        finally:
            self._timeout, self._left = None, ends - time.monotonic()

    def cancel(self) -> None:
        """Cancel it, now or when its shields end; before it began, when it begins."""
        self._is_cancelled = True
        if self._task and not self._shields:
            self._task.cancel()

    @contextmanager
    def shield(self) -> Generator[None]:
        """Hold both back until the end of the block, and of others beside it."""
        timeout = self._timeout
        if timeout is not None and timeout.expired():
            timeout = None
        self._shields += 1
        if self._shields == 1 and timeout:
            self._until = timeout.when()
            timeout.reschedule(None)
        try:
            yield
        finally:
            self._shields -= 1
            if not self._shields:
                if timeout and self._timeout is timeout:
                    timeout.reschedule(self._until)
                if self._is_cancelled:
                    self._cancel_soon()

    def _cancel_soon(self) -> None:
        """Cancel it where it waits next. If it ends before, what comes after must not meet that."""
        if self._task:
            self._task.get_loop().call_soon_threadsafe(self.cancel)


def cancelled() -> Cancelled:
    """Return what a task meets whose message was cancelled."""
    return Cancelled("its message was cancelled")


def expired(limit: float) -> SoftTimeout:
    """Return the soft timeout of a task that may run for `limit` seconds."""
    return SoftTimeout(f"it ran longer than its soft timeout of {limit:g} s")
