"""A child process: fetch a batch, run it, settle it, wait; until told to stop."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import final

from typedq.app import TypedQ
from typedq.broker import DeadBounds
from typedq.broker.script import Argument
from typedq.telemetry import event, running
from typedq.worker.coroutines import Coroutines
from typedq.worker.delivery import Delivery, Outcome
from typedq.worker.execute import MessageDecoder
from typedq.worker.journal import Journal, Phase, State
from typedq.worker.parked import ParkedGroups
from typedq.worker.prefetch import MAX_PREFETCHED, Prefetch
from typedq.worker.readers import ContractReaders
from typedq.worker.session import Session
from typedq.worker.sync_tasks import SyncTasks
from typedq.worker.waiting import Waiter

SLOW_S = 0.005  # before a task that takes longer, what is owed is settled
LOOK_S = 1.0  # how often an idle child looks for messages, and whether its supervisor lives


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child is to do. `prefetch` is the most messages it may hold unstarted.

    queues: in priority; the first is that of the broadcasts to this supervisor
    """

    queues: Sequence[str]
    async_concurrency: int
    lease_s: float
    bounds: DeadBounds
    prefetch: int = MAX_PREFETCHED
    max_tasks: int | None = None
    max_mb: float | None = None

    @property
    def slots(self) -> int:
        """How many messages its journal must have room for."""
        return 2 * MAX_PREFETCHED + self.async_concurrency


@final
class Child:
    """Runs the tasks of an app; one per process, or the only one under `--solo`."""

    def __init__(
        self, app: TypedQ, journal: Journal, plan: Plan, *, parent: int | None = None
    ) -> None:
        self._journal, self._plan, self._parent = journal, plan, parent
        broker = app.broker
        self.waiter = Waiter(broker, [broker.keys.wake(queue) for queue in plan.queues])
        self._session = Session(
            broker, journal, plan.queues, lease_s=plan.lease_s, bounds=plan.bounds
        )
        readings = ContractReaders(app)
        self._opener = MessageDecoder(app, readings, journal)
        self._parked = ParkedGroups(broker, readings, plan.queues)
        self._coroutines = Coroutines(app, journal, self.waiter.poke)
        self._around = self._coroutines.around
        self._buffer = deque[Delivery]()
        self._pace = Prefetch(plan.prefetch)
        self._sync = SyncTasks(self._around, journal, self._session, self._pace)
        self._alone = False
        self._looked = False  # and found nothing, so that only a token is worth another look
        self._ran = 0
        self._has_coroutines = any(task.contract.is_async for task in app.tasks.values())
        self._bounded = plan.max_mb is not None or plan.max_tasks is not None
        self.stopping = False

    def begin(self) -> None:
        """Run the app's hooks of the start. Raises what they raise."""
        self._around.begin()

    def end(self) -> None:
        """Run the app's hooks of the end."""
        self._around.end()

    def stop(self) -> None:
        """Fetch nothing more; hand back what was not started; end when nothing runs."""
        self.stopping = self._sync.stopped = True
        self.waiter.poke()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop, as a signal handler."""
        self.stop()

    def run(self) -> None:
        """Work until stopped and everything that runs has ended."""
        token: str | None = None
        while True:
            self._take_ended()
            if self.stopping or self._journal.is_lease_over():
                self._session.hand_back(self._buffer)
                self._buffer.clear()
            want = self._appetite()
            # Fenced off, its session may have been ended: then only an exchange opens another.
            look = want and not self._looked
            if look or token or self._session.owes or self._journal.is_lease_over():
                self._fetch(want, token)
                token = None
            if self._buffer and not self.stopping:
                self._run_buffer()
            if self._session.owes or (self.stopping and self._buffer):
                continue
            if self.stopping and not self._buffer and not self._coroutines.running:
                return
            token = self._rest()

    def _rest(self) -> str | None:
        """Wait for something to do; answers the queue whose token is to be acted on, if any."""
        if self._buffer:
            # A message that was lost before waits to run alone.
            return self._wait(fetching=False, timeout=0.1)
        want = self._appetite()
        if want:
            self._parked.look(LOOK_S)
        if self._parked and want:
            self._looked = False
            return None  # nothing wakes us for what is parked
        if want and not self._coroutines.running and (look := self._session.look(want)):
            return self._doze(look)
        self._looked = False
        return self._wait(fetching=want > 0)

    def _doze(self, look: Sequence[Argument]) -> str | None:
        """Wait without anything else to do: the server itself fetches for us when a token comes."""
        self._journal.phase = Phase.IDLE
        place, reply = self.waiter.wait_and_ask(LOOK_S, look)
        self._journal.phase = Phase.BUSY
        jobs = self._session.looked(reply)
        self._look_at_parent()
        self._looked = jobs is not None
        if jobs is None:
            return self._queue(place)
        self._buffer.extend(jobs)
        if not self._journal.is_lease_over():
            self._run_buffer()
        return None

    def _fetch(self, want: int, token: str | None) -> None:
        session, group = self._session, self._parked.next() if want else None
        if group is None:
            self._buffer.extend(session.exchange(want, token))
        else:
            if token or session.owes:
                self._buffer.extend(session.exchange(token=token))
            fetched = session.unpark(group, want)
            if not fetched:
                self._parked.is_empty(group)
            self._buffer.extend(fetched)
        self._looked = want > 0 and group is None and not self._buffer
        self._journal.phase = Phase.BUSY

    def _is_full(self) -> bool:
        plan = self._plan
        if plan.max_mb is not None:
            import psutil

            memory = psutil.Process().memory_info()
            if memory.rss - getattr(memory, "shared", 0) > plan.max_mb * 1e6:
                rss_mb = round(memory.rss / 1e6, 1)
                event(logging.WARNING, "memory limit: another child goes on", rss_mb=rss_mb)
                return True
        return plan.max_tasks is not None and self._ran >= plan.max_tasks

    def _appetite(self) -> int:
        if self._buffer or self._alone or self.stopping or self._journal.is_lease_over():
            return 0
        batch = min(self._pace.batch(self._session.bytes_each), self._session.room)
        if not self._has_coroutines:
            return batch
        return max(0, min(batch, self._plan.async_concurrency - self._coroutines.running))

    def _wait(self, *, fetching: bool, timeout: float = LOOK_S) -> str | None:
        idle = fetching and not self._coroutines.running
        self._journal.phase = Phase.IDLE if idle else Phase.BUSY
        place = self.waiter.wait(timeout, tokens=fetching)
        self._journal.phase = Phase.BUSY
        self._look_at_parent()
        return self._queue(place)

    def _look_at_parent(self) -> None:
        if self._parent not in (None, os.getppid()):
            raise SystemExit("the supervisor is gone")

    def _queue(self, place: int | None) -> str | None:
        return None if place is None else self._plan.queues[place]

    def _run_buffer(self) -> None:
        """Run what was fetched, in order, as far as it may run now."""
        handover: list[Delivery] = []
        while self._buffer and not self.stopping and not self._alone:
            job = self._buffer.popleft()
            if not self._session.is_mine(job):
                self._session.hand_back([job])
                continue
            if verdict := self._opener.open(job):
                self._session.settle(verdict, job)
                continue
            if job.alone:
                self._hand_over(handover)
                if self._coroutines.running:
                    self._journal.put(job.slot, State.WAITING)
                    self._buffer.appendleft(job)
                    break
            if job.kind.is_async:
                handover.append(job)
                self._alone = job.alone
                self._pace.handed_over()
            else:
                self._hand_over(handover)
                self._run_sync(job)
        self._hand_over(handover)
        running.set(None)

    def _hand_over(self, jobs: list[Delivery]) -> None:
        if jobs:
            self._coroutines.start(jobs.copy())
            jobs.clear()

    def _run_sync(self, job: Delivery) -> None:
        session, kind = self._session, job.kind
        if session.owes and (session.urgent or kind.typical > SLOW_S):
            running.set(None)  # what is logged meanwhile is not of the task before
            self._buffer.extend(session.exchange())
            if not session.is_mine(job):
                session.hand_back([job])
                return
        self._take(self._sync.run(job))
        # Where a child's age or memory is bounded, each is looked at.
        if self._pace.is_quick(kind) and not kind.upcasts and not self._bounded:
            well, failed = self._sync.run_alike(self._buffer, kind)
            for _ in range(len(well) + (failed is not None)):
                self._buffer.popleft()
            self._session.ack(well)
            if failed:
                self._take(failed)

    def _take_ended(self) -> None:
        for ended in self._coroutines.take_ended():
            self._alone = False
            self._take(ended)

    def _take(self, ended: Outcome) -> None:
        job, settlement, ran = ended
        if not ran:
            self._session.hand_back([job])
            return
        if settlement is None:
            self._session.ack([job])
        else:
            self._session.settle(settlement, job)
            self._journal.count(failed=1)
        if self._bounded:
            self._ran += 1
            self.stopping = self.stopping or self._is_full()
