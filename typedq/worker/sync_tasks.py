"""Sync tasks: in the main thread, one after another; with the path on which throughput depends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import final

from typedq.around import Around
from typedq.broker import settlements
from typedq.telemetry import running
from typedq.worker.delivery import Delivery, Kind, Outcome
from typedq.worker.execute import arguments, context, failed
from typedq.worker.journal import Journal
from typedq.worker.prefetch import QUICK_S, Prefetch
from typedq.worker.session import Session
from typedq.worker.timing import Alarm, call_task


@final
class SyncTasks:
    """Runs jobs that were opened, and so says how each ended."""

    def __init__(self, around: Around, journal: Journal, session: Session, pace: Prefetch) -> None:
        self._around, self._journal, self._session, self._pace = around, journal, session, pace
        self._has_middleware = bool(around)
        self._alarm = Alarm()
        # One for all jobs: to give each its own would cost as much as to decode its arguments.
        self._labels = self._tell
        self._job: Delivery
        self.stopped = False

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

    def run_alike(
        self, jobs: Iterable[Delivery], kind: Kind
    ) -> tuple[list[Delivery], Outcome | None]:
        """Run the first of them that are of this kind, which is quick and has no upcaster.

        What `Child` asks before each job is asked here in the fewest words, and what it does after
        each is left to be done for all: a no-op costs less than a microsecond. A job about which
        more is to be said stays where it is, and those behind it; one that failed is the last.
        Answers those that ended well, and that one.
        """
        well: list[Delivery] = []
        direct = None if self._has_middleware else kind.direct
        assert kind.decode is not None  # noqa: S101 - one of them was opened
        claim, done, held = self._journal.claim, self._journal.done, self._session.held
        fn, hard, body_at, direct_to = kind.task.fn, kind.limits.hard, kind.body_at, kind.direct_to
        running.set(self._labels)
        began = time.monotonic()
        for job in jobs:
            slot, message, payload = job.slot, job.message, None
            if self.stopped or job.kind is not kind or held[slot] is not job or job.alone:
                break
            try:
                if direct and len(message) <= direct_to:
                    payload = direct(message[body_at:])
                else:
                    job.args, job.kwargs = kind.decode(message[body_at:])
            except Exception:  # noqa: BLE001 - it is read again by who can say what is wrong
                break
            if not claim(slot, began, hard):
                break
            self._job = job
            try:
                if payload is None:
                    self._call(job)
                else:
                    fn(payload)
            except BaseException as error:  # noqa: BLE001 - as above
                self._pace.ran(kind, time.monotonic() - began)
                return well, Outcome(job, failed(job, error))
            done(slot)
            well.append(job)
            now = time.monotonic()
            if now - began > QUICK_S:
                self._pace.ran(kind, now - began)
                break
            began = now
        return well, None

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
