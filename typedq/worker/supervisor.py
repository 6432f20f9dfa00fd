"""The supervisor: one thread that runs no user code after the fork, and never waits for a task."""

from __future__ import annotations

import heapq
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import final

from typedq.app import TypedQ
from typedq.broker import DeadBounds
from typedq.errors import ConfigurationError, ServerError
from typedq.telemetry import event
from typedq.worker.burst import is_drained
from typedq.worker.child import Plan
from typedq.worker.children import ChildPool, ChildrenKeepDying
from typedq.worker.coroutines import prepare
from typedq.worker.journal import MAX_QUEUES
from typedq.worker.limits import TimeoutMonitor
from typedq.worker.locks import HostLock, directory
from typedq.worker.memory import MemoryLimit
from typedq.worker.periodic import EvictionCheck, Janitor, LeaseRenewer, PeriodicJob, Ticker
from typedq.worker.prefetch import MAX_PREFETCHED
from typedq.worker.schedule import Cron, Deliver, own_queue
from typedq.worker.waiting import Waiter

SUMMARY_S = 10.0
RETRY_S = 0.3
_FAMILY = 2  # its place among the roles; those before it are in the order of the waiter's answers


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What `typedq worker` was told. Lengths of time are seconds."""

    queues: Sequence[str]
    concurrency: int
    async_concurrency: int = 100
    burst: bool = False
    grace_s: float = 30.0
    max_tasks: int | None = None
    max_mem_percent: float | None = None
    cron: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigurationError."""
        if (number := len(self.queues)) > MAX_QUEUES:
            advice = f"choose {MAX_QUEUES} at most by --queues, and start another for the rest"
            raise ConfigurationError([f"a worker cannot serve {number} queues; {advice}"])

    def plan(self, app: TypedQ, *, prefetch: int = MAX_PREFETCHED) -> Plan:
        """What each child is to do."""
        settings = app.settings
        bounds = DeadBounds(settings.dead_max_count, round(settings.dead_max_age * 1000))
        return Plan(
            [own_queue(), *self.queues],
            self.async_concurrency,
            settings.lease,
            bounds,
            prefetch=prefetch,
            max_tasks=self.max_tasks,
            max_mb=settings.max_child_mem_mb,
        )


@final
class Summary:
    """A line every 10 s, if anything was done."""

    def __init__(self, family: ChildPool) -> None:
        self._family, self._last = family, (0, 0)

    def step(self, now: float) -> float:
        """Log what the living did since the last time."""
        totals = self._family.totals()
        done, failed = (max(0, a - b) for a, b in zip(totals, self._last, strict=True))
        self._last = totals
        if done or failed:
            event(logging.INFO, "worked", done=done, failed=failed, seconds=SUMMARY_S)
        return SUMMARY_S


@final
class Burst:
    """Tells when nothing is ready and nothing of its own runs."""

    def __init__(self, app: TypedQ, family: ChildPool, queues: Sequence[str]) -> None:
        self._app, self._family, self._queues = app, family, queues
        self.is_over = False

    def step(self, now: float) -> float:
        """Look once at everything."""
        self.is_over = is_drained(self._app.broker, self._family.journals(), self._queues)
        return 0.05


@final
class Supervisor:
    """Runs the roles in turn until told to stop; `run` answers the exit code."""

    def __init__(self, app: TypedQ, orders: WorkerOptions) -> None:
        self._app, self._orders, broker, settings = app, orders, app.broker, app.settings
        plan = orders.plan(app)
        self._lock = HostLock(directory(broker.url, settings.namespace))
        self._family = ChildPool(app, plan, orders.concurrency, self._lock)
        self._deliver = Deliver(app, plan.queues[0])
        supervisors = [broker.keys.supervisors]
        self._waiter = Waiter(broker, supervisors, insist=True, news=self._deliver.news)
        self._burst = Burst(app, self._family, plan.queues)
        self._keeper = LeaseRenewer(app, self._lock, plan, self._family.journals)
        self._ticker = Ticker(app, self._lock, plan)
        self._roles: list[PeriodicJob] = [
            self._ticker,
            self._deliver,
            self._family,
            self._keeper,
            TimeoutMonitor(broker, self._family.living, plan.queues),
            Janitor(app, plan),
            EvictionCheck(app),
            MemoryLimit(self._family.living, orders.max_mem_percent),
            Summary(self._family),
        ]
        if orders.cron and app.entries:
            self._roles.append(Cron(app))
        if orders.burst:
            self._roles.append(self._burst)
        self._signals = 0
        self._failing: dict[int, type[ServerError]] = {}

    def run(self) -> int:
        """Work until a signal or the end of the burst; 0 if nothing was interrupted."""
        self._listen()
        prepare(self._app)
        event(
            logging.INFO,
            "worker started",
            pid=os.getpid(),
            children=self._orders.concurrency,
            queues=",".join(self._orders.queues),
        )
        _warn_of_threads()
        stopped_at: float | None = None
        plan = [(0.0, place) for place in range(len(self._roles))]
        code = 0
        while stopped_at is None or not self._is_over:
            try:
                self._run_due(plan)
            except ChildrenKeepDying as error:
                event(logging.CRITICAL, "giving up: children die at start", why=str(error))
                self._signals, code = max(self._signals, 1), 1
            stopped_at = self._stop(stopped_at)
            if stopped_at is None or not self._is_over:
                woken = self._waiter.wait(max(0.0, plan[0][0] - time.monotonic()))
                self._wake(plan, _FAMILY if woken is None else woken)
        self._say_goodbye()
        return code or int(self._family.interrupted > 0 or not self._family.is_gone)

    @property
    def _is_over(self) -> bool:
        """No child is left; and no session of one, unless there is no server to end it."""
        family = self._family
        return family.is_gone or bool(family.killing and not family.members and self._failing)

    def _listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._record)
        self._waiter.on_signals()

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._signals += number != signal.SIGCHLD

    def _run_due(self, plan: list[tuple[float, int]]) -> None:
        now = time.monotonic()
        while plan[0][0] <= now:
            _, place = heapq.heappop(plan)
            pause = RETRY_S
            try:
                pause = self._roles[place].step(now)
                self._failing.pop(place, None)
            except ServerError as error:
                # Once for all roles; but after no answer, a refusal is news.
                if type(error) not in self._failing.values():
                    event(logging.ERROR, "server does not answer, trying again", why=str(error))
                self._failing[place] = type(error)
            finally:
                heapq.heappush(plan, (time.monotonic() + pause, place))

    def _wake(self, plan: list[tuple[float, int]], place: int) -> None:
        """A token wakes the ticker, news `Deliver`, anything else the family."""
        plan[:] = [(0.0 if entry[1] == place else entry[0], entry[1]) for entry in plan]
        heapq.heapify(plan)

    def _stop(self, since: float | None) -> float | None:
        """First signal: drain. Second, or the end of the grace: interrupt and hand back."""
        now = time.monotonic()
        wanted = self._signals or self._burst.is_over
        if since is None and wanted:
            event(logging.INFO, "stopping: no new tasks, waiting for those that run")
            self._family.signal(signal.SIGTERM)
            return now
        late = since is not None and now - since > self._orders.grace_s
        if since is not None and not self._family.killing and (late or self._signals > 1):
            event(logging.WARNING, "stopping now: what still runs is handed back")
            self._family.signal(signal.SIGKILL)
        return since

    def _say_goodbye(self) -> None:
        try:
            self._keeper.sign_off()
            self._deliver.sign_off()
        except ServerError as error:
            event(logging.WARNING, "could not sign off", why=str(error))
        self._lock.release()
        self._waiter.close()
        event(logging.INFO, "worker stopped", interrupted=self._family.interrupted)


def _kernel_threads() -> int:
    """Those of this process, also those that Python did not start; elsewhere than on Linux 0."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


def _warn_of_threads() -> None:
    """A lock that another thread holds at the fork is never released in the child."""
    names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    foreign = _kernel_threads() - threading.active_count()
    names += [f"{foreign} that Python did not start"] if foreign > 0 else []
    if names:
        event(logging.WARNING, "threads run at the fork; they may break children", names=names)
