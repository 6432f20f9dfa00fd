"""Sync tasks: in the main thread, one after another; timeout and cancellation are signals."""

from __future__ import annotations

import contextvars
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, final

from typedq.invoke import call_attempt, call_task, invoke
from typedq.process import end_if_copy, get_handler, owner
from typedq.telemetry import running
from typedq.worker.coroutines import AsyncTimer, Coroutines, cancelled, expired
from typedq.worker.delivery import NO_ARGUMENTS, Delivery
from typedq.worker.journal import Journal
from typedq.worker.settle import expire, failed

# Ignored where nobody handles it, so that a task that resets it is not killed.
CANCEL = signal.SIGURG
_AGAIN_S = 0.01  # until a timeout is tried again that could not be raised
_QUICK_S = 0.000_15  # for shorter tasks, `SyncTasks._labels` is enough
# A request must not be cut, nor what the first one does: imports, and the start of a server.
_OURS = ("typedq.broker", "typedq.producer")
_CALLERS = (call_task.__code__, call_attempt.__code__)  # what they call is the task, or ours


@final
class SyncTasks:
    """Runs deliveries that were decoded. Created and used in the main thread."""

    def __init__(self, coroutines: Coroutines, journal: Journal) -> None:
        self._middleware, self._journal = coroutines.middleware, journal
        self._coroutines, self._alarm = coroutines, Alarm()
        self._delivery: Delivery | None = None
        signal.signal(CANCEL, self._on_cancel)
        self._base: contextvars.Context | None = None

    def run(self, delivery: Delivery) -> None:
        """Run one, if it may still run. Never raises."""
        if not owner.mark[0]:  # a finalizer forked after the task before
            end_if_copy()
        kind, began, process = delivery.kind, time.monotonic(), self._middleware.process
        if began >= delivery.until:
            delivery.settlement = expire(delivery)
            return
        delivery.started = self._journal.claim(delivery.slot, began, kind.limits.hard)
        if not delivery.started:
            return
        self._delivery = delivery
        base = self._base or self._make_base()
        base.copy().run(self._attempt, delivery)
        delivery.arguments = NO_ARGUMENTS  # may be large, and others of the batch are to run
        ended = time.monotonic()
        delivery.took = ended - began
        if process and (ended >= process.due or kind.task not in process.tidy):
            process.restore_after(kind.task)

    def _attempt(self, delivery: Delivery) -> None:
        if delivery.kind.typical > _QUICK_S:  # it may leave threads that log when another task runs
            running.set(delivery.labels)
        try:
            was_awaited = invoke(delivery, self._middleware, self._alarm)
            self._journal.done(delivery.slot)
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
            if self._middleware.process:  # first: it may have closed the log, or its recursion
                self._middleware.process.restore_after(delivery.kind.task)
            delivery.settlement = failed(delivery, error)
            return
        if was_awaited:
            delivery.kind.is_async = True  # from now on others run beside it

    def _make_base(self) -> contextvars.Context:
        self._base = self._middleware.base.copy()
        self._base.run(running.set, self._labels)
        return self._base

    def _labels(self) -> dict[str, str]:
        """Of the task that runs. To set a variable for each costs as much as a short task."""
        return self._delivery.labels() if self._delivery else {}

    def _on_cancel(self, number: int, frame: FrameType | None) -> None:
        """Let the tasks whose messages were cancelled meet it, as they would a soft timeout."""
        delivery, journal, alarm = self._delivery, self._journal, self._alarm
        if delivery is None or not journal.is_cancelled(delivery.slot, delivery.id):
            self._coroutines.cancel(None)
            return
        awaited = alarm.awaited
        self._coroutines.cancel(awaited)
        if awaited or alarm.may_interrupt(frame):
            journal.take_cancellation(delivery.slot, delivery.id)
            if awaited is None:
                again = partial(journal.return_cancellation, delivery.slot)
                raise alarm.raising(cancelled(), again)


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
            if get_handler(signal.SIGALRM) is not self._handler:
                signal.signal(signal.SIGALRM, self._handler)
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

    def limited(self, awaitable: Awaitable[Any], limit: float | None) -> Awaitable[Any]:
        """Limit an awaitable that the task returned to what is left of its time."""
        left = None if limit is None else self._ends - time.monotonic()
        return self._await(AsyncTimer(limit, left), awaitable)

    async def _await(self, timer: AsyncTimer, awaitable: Awaitable[Any]) -> None:
        self.awaited = timer
        try:
            await timer.run(awaitable)
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
        if frame.f_code in _CALLERS:
            return is_foreign
        found = frame.f_globals.get("__name__")
        name = found if isinstance(found, str) else ""
        if name.startswith(_OURS):
            return False
        is_foreign, frame = not name.startswith("typedq."), frame.f_back
    return False
