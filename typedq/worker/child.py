"""A child process: fetch a batch, run it, settle it, wait; until told to stop."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import final

from typedq.app import TypedQ
from typedq.broker import DeadBounds, DedicatedClient
from typedq.process import end_if_copy, owner
from typedq.telemetry import event, running
from typedq.worker.coroutines import Coroutines
from typedq.worker.decoder import MessageDecoder, ServerClock
from typedq.worker.delivery import UNSEEN_S, Delivery, MessageKind
from typedq.worker.journal import Journal, Phase
from typedq.worker.parked import ParkedGroups
from typedq.worker.processes import AdoptedZombies
from typedq.worker.readers import ContractReaders
from typedq.worker.session import Session
from typedq.worker.sync_tasks import SyncTasks
from typedq.worker.waiting import Waiter

_getppid = os.getppid  # kept, because a task may patch `os.getppid` for a while
SLOW_S = 0.005  # before a task that takes longer, ended messages are settled
POLL_S = 1.0  # how often an idle child polls its queues, and checks that its supervisor lives
EXCLUSIVE_POLL_S = 0.1
MAX_PREFETCHED = 512
BATCH_S = 0.020  # a batch holds about this much work, so that a high priority waits no longer
BATCH_BYTES = 1 << 20  # about; one large reply costs a server more than several small ones


@dataclass(frozen=True, slots=True)
class ChildConfig:
    """What a child is to do. `prefetch` is the most messages it may hold unstarted.

    queues: in order of priority; the first is the queue of broadcasts to this supervisor
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
        """Return how many messages its journal must have room for."""
        return 2 * MAX_PREFETCHED + self.async_concurrency


@final
class Prefetch:
    """Chooses how many messages a child fetches at once, by how long tasks typically take (s)."""

    def __init__(self, max_messages: int) -> None:
        self._max, self._typical = max_messages, BATCH_S

    def ran(self, kind: MessageKind, took: float) -> None:
        """Note that a sync task took this many seconds, below 0 if it did not start.

        The typical time rises at once and falls slowly.
        """
        if took < 0:
            return
        typical = kind.typical
        kind.typical = took if typical == UNSEEN_S else 0.8 * typical + 0.2 * took
        self._typical = took if took > self._typical else 0.8 * self._typical + 0.2 * took

    def handed_over(self) -> None:
        """Note that a coroutine was started, which does not hold the batch up."""
        self._typical *= 0.8

    def batch(self, bytes_each: int = 1) -> int:
        """Return how many messages make about 20 ms of work, and no more than about 1 MiB."""
        by_time, by_size = int(BATCH_S / max(self._typical, 1e-6)), 1 + BATCH_BYTES // bytes_each
        return max(1, min(self._max, by_time, by_size))


@final
class Child:
    """Runs the tasks of an app; one per process, or the only one under `--solo`."""

    def __init__(
        self, app: TypedQ, journal: Journal, config: ChildConfig, *, parent: int | None = None
    ) -> None:
        self._journal, self._config, self._parent = journal, config, parent
        self._lease_deadline, self._stop_request = journal.lease_deadline, journal.stop_request
        broker, client = app.broker, DedicatedClient(app.broker)
        self.waiter = Waiter(broker, [broker.keys.wake(queue) for queue in config.queues])
        self._session = Session(
            client, journal, config.queues, lease_s=config.lease_s, bounds=config.bounds
        )
        readers = ContractReaders(app, client)
        self._decoder = MessageDecoder(app, readers, journal, ServerClock(client))
        self._parked = ParkedGroups(client, readers, config.queues)
        self._coroutines = Coroutines(app, journal, self.waiter.wake)
        self._middleware = self._coroutines.middleware
        self._prefetch = Prefetch(config.prefetch)
        self._sync_tasks = SyncTasks(self._coroutines, journal)
        self._exclusive = False  # a coroutine runs that must run alone
        self._zombies = AdoptedZombies()
        self._ran = 0
        self._has_coroutines = any(task.contract.is_async for task in app.tasks.values())
        self._has_limits = config.max_mb is not None or config.max_tasks is not None
        self.stopping = False

    def begin(self) -> None:
        """Run the app's start hooks. Raises what they raise."""
        self._middleware.start()
        self._coroutines.remember_loop()

    def end(self) -> None:
        """Run the app's stop hooks."""
        self._middleware.stop()

    def stop(self) -> None:
        """Fetch nothing more, release what was not started, and end when nothing runs."""
        self.stopping = True
        self.waiter.wake()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop, as a signal handler."""
        self.stop()

    def run(self) -> None:
        """Work until stopped and everything that runs has ended."""
        self._journal.phase = Phase.BUSY
        session, parked, token = self._session, self._parked, None
        while True:
            if self._stop_request[0]:
                self.stopping = True  # a task may have blocked the signal
            if self._coroutines.running or not owner.mark[0]:
                self._take_ended()
            lease_is_over = time.monotonic() >= self._lease_deadline[0]
            if session.waiting and (self.stopping or lease_is_over):
                session.release_waiting()
            budget = 0 if lease_is_over or session.waiting else self._fetch_budget()
            group = None
            if budget and (parked.groups or time.monotonic() >= parked.find_at):
                group = parked.next()
            # Without a lease the session may have been ended: only a `sync` opens another.
            if (budget and not group) or token or session.unsettled or lease_is_over:
                session.sync(0 if group else budget, token)
            if group and not session.unpark(group, budget):
                parked.leave_out(group)
            self._run_waiting()
            token = None
            if session.unsettled or (self.stopping and session.waiting):
                continue
            if self.stopping and not self._coroutines.running:
                return
            token = self._wait()

    def _take_ended(self) -> None:
        end_if_copy()  # a finalizer forked after its task, as of its arguments
        for delivery in self._coroutines.take_ended():
            self._exclusive = False
            self._session.end(delivery)
            if self._has_limits:
                self._count_run()

    def _fetch_budget(self) -> int:
        session = self._session
        if session.waiting or self._exclusive or self.stopping:
            return 0
        budget = min(self._prefetch.batch(session.bytes_each), session.free_slots)
        if self._has_coroutines or self._coroutines.running:
            budget = min(budget, self._config.async_concurrency - self._coroutines.running)
        return max(0, budget)

    def _wait(self) -> str | None:
        """Wait for something to do; return the queue whose wake token was taken, if any."""
        end_if_copy()
        # Before the wait, so that a message that arrives does not wait for this.
        self._zombies.reap(busy=self._coroutines.running > 0)
        if self._parent not in (None, _getppid()):
            raise SystemExit("the supervisor is gone")
        session, budget = self._session, self._fetch_budget()
        if budget and self._parked.groups:
            return None  # parked messages push no wake token
        if budget and not self._coroutines.running and (fetch := session.fetch_operation()):
            self._journal.phase = Phase.IDLE
            woken = self.waiter.wait_and_run(POLL_S, fetch)
            index, fetched = woken.token, woken.result
        else:
            # A message that must run alone waits for the coroutines that run.
            timeout = EXCLUSIVE_POLL_S if session.waiting else POLL_S
            index, fetched = self.waiter.wait(timeout, tokens=budget > 0), None
        self._journal.phase = Phase.BUSY
        if fetched is not None:
            session.take(fetched)
            return None
        return None if index is None else self._config.queues[index]

    def _run_waiting(self) -> None:
        """Run the fetched messages, in order, as far as they may run now."""
        session, decode, run = self._session, self._decoder.decode, self._sync_tasks.run
        prefetch, waiting = self._prefetch, session.waiting
        handover: list[Delivery] = []
        while waiting and not self.stopping and not self._exclusive:
            delivery = waiting.popleft()
            kind = delivery.kind
            if delivery.alone and (handover or self._coroutines.running):
                session.postpone(delivery)
                break
            if verdict := decode(delivery):
                session.settle(delivery, verdict)
            elif kind.is_async:
                if self._coroutines.running + len(handover) >= self._config.async_concurrency:
                    # Only now is it known that the functions of this kind return awaitables.
                    session.postpone(delivery)
                    session.release_waiting()
                    break
                handover.append(delivery)
                self._exclusive = delivery.alone
                prefetch.handed_over()
            else:
                if handover or self._coroutines.running:
                    handover = self._hand_over(handover)
                if (kind.typical > SLOW_S or session.urgent) and not self._settle_before(delivery):
                    continue
                run(delivery)
                prefetch.ran(kind, delivery.took)
                session.end(delivery)
                if self._has_limits:
                    self._count_run()
        if handover:
            self._coroutines.start(handover)
        running.set(None)

    def _hand_over(self, handover: list[Delivery]) -> list[Delivery]:
        """Start coroutines before a sync task, so that they run beside it; return an empty list."""
        self._take_ended()  # first: what they changed is restored only while no coroutine runs
        if handover:
            self._coroutines.start(handover)
        return []

    def _settle_before(self, delivery: Delivery) -> bool:
        """Settle ended messages before this one runs; return False if this one must not run now."""
        session = self._session
        if self._stop_request[0]:
            self.stopping = True
            session.postpone(delivery)
            return False
        if session.unsettled:
            end_if_copy()
            running.set(None)  # logs from here on are not of the previous task
            session.sync()
            if not session.owns(delivery):
                session.release(delivery)
                return False
        return True

    def _count_run(self) -> None:
        self._ran += 1
        self.stopping = self.stopping or self._has_reached_limit()

    def _has_reached_limit(self) -> bool:
        config = self._config
        if config.max_mb is not None:
            import psutil

            memory = psutil.Process().memory_info()
            if memory.rss - getattr(memory, "shared", 0) > config.max_mb * 1e6:
                rss_mb = round(memory.rss / 1e6, 1)
                event(logging.WARNING, "memory limit reached; restarting child", rss_mb=rss_mb)
                return True
        return config.max_tasks is not None and self._ran >= config.max_tasks
