"""The supervisor: one thread that runs no user code after the fork, and never waits for a task."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import final

from typedq.app import TypedQ
from typedq.broker import DeadBounds
from typedq.errors import ConfigurationError
from typedq.message import BROADCAST
from typedq.observe.labels import Labels
from typedq.observe.tallies import Tallies
from typedq.telemetry import event
from typedq.worker.broadcasts import BroadcastConsumer, own_queue
from typedq.worker.cancellations import CancellationConsumer, StreamReader
from typedq.worker.child import MAX_PREFETCHED, ChildConfig
from typedq.worker.children import ChildPool
from typedq.worker.cron import CronJob
from typedq.worker.journal import MAX_QUEUES
from typedq.worker.limits import TimeoutMonitor
from typedq.worker.locks import HostLock, directory
from typedq.worker.memory import MemoryLimit
from typedq.worker.metrics import WorkerMetrics
from typedq.worker.page_process import PageProcess
from typedq.worker.periodic import (
    BurstMonitor,
    EvictionCheck,
    Janitor,
    LeaseRenewer,
    Summary,
    Ticker,
)
from typedq.worker.processes import adopt_orphans, kernel_threads
from typedq.worker.scheduler import PeriodicJob, Scheduler
from typedq.worker.status import Status, probes
from typedq.worker.waiting import Waiter

LEAVE_S = 5.0  # how long a killed child may take to end before the supervisor leaves it


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of `typedq worker`. Durations are in seconds.

    metrics: address and port of the pages for probes and scrapers
    app: as the command line gave it; `typedq health` can choose a worker by it
    """

    queues: Sequence[str]
    concurrency: int
    async_concurrency: int = 100
    burst: bool = False
    grace_s: float = 20.0
    max_tasks: int | None = None
    max_mem_percent: float | None = None
    cron: bool = True
    app: str = ""
    metrics: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        """Raises ConfigurationError."""
        if (number := len(self.queues)) > MAX_QUEUES:
            advice = f"choose at most {MAX_QUEUES} with --queues and start another worker"
            raise ConfigurationError([f"a worker cannot serve {number} queues; {advice}"])

    def child_config(self, app: TypedQ, *, prefetch: int = MAX_PREFETCHED) -> ChildConfig:
        """Return what each child is to do; `prefetch`: how many messages it may hold unstarted."""
        settings = app.settings
        bounds = DeadBounds(settings.dead_max_count, round(settings.dead_max_age * 1000))
        return ChildConfig(
            [own_queue(), *self.queues],
            self.async_concurrency,
            settings.lease,
            bounds,
            prefetch=prefetch,
            max_tasks=self.max_tasks,
            max_mb=settings.max_child_mem_mb,
        )


@final
class Supervisor:
    """Runs periodic jobs until a signal or the end of a burst."""

    def __init__(self, app: TypedQ, options: WorkerOptions) -> None:
        self._app, self._options, broker, settings = app, options, app.broker, app.settings
        config = options.child_config(app)
        self._lock = HostLock(lambda: directory(broker.url, settings.namespace))
        self._status = Status(app, options.app)
        tallies = _tallies(app, config, options)
        self._pool = ChildPool(app, config, options.concurrency, self._lock, tallies)
        self._broadcasts = BroadcastConsumer(app, config.queues[0])
        cancels = CancellationConsumer(app, lambda: self._pool.children)
        streams = StreamReader(self._broadcasts, cancels)
        wake_keys = [broker.keys.supervisors]
        self._waiter = Waiter(broker, wake_keys, persistent=True, extra_request=streams.request)
        self._leases = LeaseRenewer(app, self._lock, config, self._pool.journals, cron=options.cron)
        self._ticker = Ticker(app, self._lock, config)
        jobs: list[PeriodicJob] = [
            self._ticker,
            streams,
            self._pool,
            self._leases,
            TimeoutMonitor(broker, lambda: self._pool.children, config.queues),
            Janitor(app, config),
            EvictionCheck(app),
            Summary(self._pool.journals),
        ]
        if options.max_mem_percent is not None:
            jobs.append(MemoryLimit(lambda: self._pool.children, options.max_mem_percent))
        self._pages: PageProcess | None = None
        if options.metrics and tallies:
            metrics = WorkerMetrics(tallies, self._status)
            pages = {**probes(self._status), "/metrics": metrics.page}
            self._pages = PageProcess(*options.metrics, pages, self._pool.orphans.keep)
            jobs.append(self._pages)
        if options.cron and app.declarations.cron_entries:
            jobs.append(CronJob(app))
        if options.burst:
            jobs.append(BurstMonitor(app, config.queues, self._pool.journals, self._end_burst))
        count = tallies.own.server_error if tallies else None
        self._scheduler = Scheduler(jobs, self._waiter, on_server_error=count)
        # Written by signal handlers, which do nothing else.
        self._stop_signals, self._child_signals = 0, 0
        self._seen_child_signals = 0
        self._is_burst_over = False
        self._stopped_at: float | None = None
        self._killed_at: float | None = None

    def run(self) -> int:
        """Work until stopped; return 0 if no task was interrupted, else 1."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._record)
        self._waiter.on_signals()
        adopt_orphans()
        event(
            logging.INFO,
            "worker started",
            pid=os.getpid(),
            children=self._options.concurrency,
            queues=",".join(self._options.queues),
        )
        _warn_of_threads()
        self._report()
        if self._pages:  # before any child, which would inherit the port
            self._pages.start()
        while not self._is_over():
            if self._child_signals != self._seen_child_signals:
                self._seen_child_signals = self._child_signals
                self._scheduler.wake(self._pool)
            self._scheduler.run_due()
            self._report()
            self._check_stop(time.monotonic())
            if not self._is_over():
                self._scheduler.wait()
        return self._leave()

    def _report(self) -> None:
        journals, is_stopping = self._pool.journals(), self._stopped_at is not None
        renewed, ticked = self._leases.renewed_at, self._ticker.ticked_at
        self._status.update(journals, renewed, ticked, stopping=is_stopping)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGCHLD:
            self._child_signals += 1
        else:
            self._stop_signals += 1

    def _end_burst(self) -> None:
        self._is_burst_over = True

    def _is_over(self) -> bool:
        """Return True if waiting longer would change nothing."""
        if self._stopped_at is None:
            return False
        if self._pool.is_gone:
            return True
        if self._killed_at is not None and time.monotonic() - self._killed_at > LEAVE_S:
            return True
        # Without the server, sessions end only with their leases. Wait for it, until the grace is
        # over, only while a session still has messages.
        held = self._pool.children or (self._pool.holds_messages and not self._pool.killing)
        return not held and self._scheduler.is_server_away(self._pool, self._stopped_at)

    def _check_stop(self, now: float) -> None:
        """First signal: drain. Second, or the end of the grace: interrupt and requeue."""
        if self._stopped_at is None:
            failure = self._pool.failure
            if failure:
                event(logging.CRITICAL, "giving up: children die at start", why=failure)
            if failure or self._stop_signals or self._is_burst_over:
                event(logging.INFO, "stopping: no new tasks, waiting for those that run")
                self._stopped_at = now
                self._pool.stop()
                self._scheduler.wake(self._pool)
        elif self._killed_at is None:
            is_late = now - self._stopped_at > self._options.grace_s
            if (is_late or self._stop_signals > 1) and self._pool.children:
                event(logging.WARNING, "stopping now: running tasks are interrupted and requeued")
            if is_late or self._stop_signals > 1:
                self._killed_at = now
                self._pool.kill()

    def _leave(self) -> int:
        pool = self._pool
        if pool.children:
            pids = [child.pid for child in pool.children]
            event(logging.ERROR, "leaving children that cannot be killed", pids=pids)
        sign_off(self._leases.sign_off, self._broadcasts.sign_off)
        self._lock.release()
        self._status.close()
        if self._pages:
            self._pages.stop()
        self._waiter.close()
        event(logging.INFO, "worker stopped", interrupted=pool.interrupted)
        ignore_stop_signals()
        return int(bool(pool.failure or pool.interrupted or pool.holds_messages))


def sign_off(*steps: Callable[[], object]) -> None:
    """Tell the server that this worker ends; log what fails, because it ends anyway."""
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001
            event(logging.WARNING, "could not sign off", why=str(error))


def ignore_stop_signals() -> None:
    """Ignore SIGTERM and SIGINT until the process exits.

    Python gives signals their default action back before it exits. A second signal in that moment
    would make a clean stop look like a death.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _tallies(app: TypedQ, config: ChildConfig, options: WorkerOptions) -> Tallies | None:
    if options.metrics is None:
        return None
    # The name of the broadcast queue has a random id, so the label is a fixed name.
    labels = Labels.of({n: t.aliases for n, t in app.tasks.items()}, [BROADCAST, *options.queues])
    return Tallies(labels, options.concurrency, config.slots)


def _warn_of_threads() -> None:
    """Warn of other threads: a lock that one holds at the fork is never released in the child."""
    names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    foreign = kernel_threads() - threading.active_count()
    names += [f"{foreign} that Python did not start"] if foreign > 0 else []
    if names:
        event(logging.WARNING, "threads run at the fork; they may break children", names=names)
