"""Sync tasks: in the main thread, one after another; timeout and cancellation are signals."""

from __future__ import annotations

import contextvars
import signal
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import final

from typedq.invoke import invoke
from typedq.middleware import copies_of
from typedq.process import end_if_copy, owner
from typedq.telemetry import running
from typedq.worker.coroutines import Coroutines
from typedq.worker.delivery import NO_ARGUMENTS, Delivery
from typedq.worker.journal import Journal
from typedq.worker.settle import expire, failed
from typedq.worker.timeouts import Alarm, cancelled

# By default it is ignored, so a task that resets its handler is not killed.
CANCEL = signal.SIGURG
_QUICK_S = 0.000_15  # shorter tasks share `SyncTasks._labels`


@final
class SyncTasks:
    """Runs deliveries that were decoded. Created and used in the main thread."""

    def __init__(self, coroutines: Coroutines, journal: Journal) -> None:
        self._middleware, self._journal = coroutines.middleware, journal
        self._coroutines, self._alarm = coroutines, Alarm()
        self._delivery: Delivery | None = None
        signal.signal(CANCEL, self._on_cancel)
        self._new_context: Callable[[], contextvars.Context] | None = None

    def run(self, delivery: Delivery) -> None:
        """Run one, if it may still run. Never raises."""
        if not owner.mark[0]:  # a finalizer forked after the previous task
            end_if_copy()
        kind, slot, journal = delivery.kind, delivery.slot, self._journal
        began = time.monotonic()
        if began >= delivery.until:
            delivery.settlement = expire(delivery)
            return
        if not journal.claim(slot, began, kind.limits.hard):
            return
        delivery.started, self._delivery = True, delivery
        middleware, task = self._middleware, kind.task
        context, process = (self._new_context or self._prepare())(), middleware.process
        if kind.typical > _QUICK_S:  # its threads may log while another task runs
            context.run(running.set, delivery.labels)
        try:
            was_awaited = context.run(invoke, delivery, middleware, self._alarm)
            journal.done(slot)
            if was_awaited:
                kind.is_async = True  # from now on, these run on the event loop
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
            if process:  # first: the task may have closed the log, or lowered the recursion limit
                context.run(process.restore_after, task)
            delivery.settlement = context.run(failed, delivery, error)
        # They may be large, and what their finalizers change of the process is undone below.
        delivery.arguments = NO_ARGUMENTS
        del context
        ended = time.monotonic()
        delivery.took = ended - began
        if process and (ended >= process.due or task not in process.tidy):
            process.restore_after(task)

    def _prepare(self) -> Callable[[], contextvars.Context]:
        base = self._middleware.base.copy()
        base.run(running.set, self._labels)
        self._new_context = copies_of(base)
        return self._new_context

    def _labels(self) -> dict[str, str]:
        """Return those of the running task. To set them for each takes as long as a short one."""
        return self._delivery.labels() if self._delivery else {}

    def _on_cancel(self, number: int, frame: FrameType | None) -> None:
        """Raise `Cancelled` in tasks whose messages were cancelled, as a soft timeout is raised."""
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
