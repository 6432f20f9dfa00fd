"""Sync tasks: in the main thread, one after another."""

from __future__ import annotations

import time
from typing import final

from typedq.around import Around
from typedq.broker import settlements
from typedq.telemetry import running
from typedq.worker.delivery import Delivery, Outcome
from typedq.worker.execute import arguments, context, failed
from typedq.worker.journal import Journal
from typedq.worker.session import Prefetch
from typedq.worker.timing import Alarm, call_task


@final
class SyncTasks:
    """Runs jobs that were opened, and so says how each ended."""

    def __init__(self, around: Around, journal: Journal, pace: Prefetch) -> None:
        self._around, self._journal, self._pace = around, journal, pace
        self._has_middleware = bool(around)
        self._alarm = Alarm()
        # One for all jobs: to give each its own would cost as much as to decode its arguments.
        self._labels = self._tell
        self._job: Delivery

    def run(self, job: Delivery) -> Outcome:
        """Run one, if it may still run."""
        kind, now = job.kind, time.monotonic()
        if not self._journal.claim(job.slot, now, kind.limits.hard):
            return Outcome(job, None, ran=False)
        self._job = job
        running.set(self._labels)
        settlement: settlements.Settlement | None = None
        try:
            self._call(job)
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
            settlement = failed(job, error)
        else:
            self._journal.done(job.slot)
        self._pace.ran(kind, time.monotonic() - now)
        return Outcome(job, settlement)

    def _tell(self) -> dict[str, str]:
        return self._job.labels()

    def _call(self, job: Delivery) -> None:
        if self._has_middleware:
            with self._around.sync(context(job, self._alarm.shield)):
                self._limited(job)
        elif job.kind.is_plain:
            job.kind.task.fn(*job.args, **job.kwargs)
        else:
            self._limited(job)

    def _limited(self, job: Delivery) -> None:
        alarm = self._alarm
        args = arguments(job, alarm.shield)
        alarm.start(job.kind.limits.soft)
        try:
            call_task(job.kind.task.fn, args, job.kwargs)
        finally:
            alarm.stop()
