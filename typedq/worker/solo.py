"""`--solo`: one process without forks, for a debugger; the periodic jobs run in a thread."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

from typedq.app import TypedQ
from typedq.broker import operations
from typedq.telemetry import event, restore
from typedq.worker.broadcasts import BroadcastConsumer
from typedq.worker.cancellations import CancellationConsumer, StreamReader
from typedq.worker.child import Child, ChildConfig
from typedq.worker.child_process import ChildProcess
from typedq.worker.children import end_sessions
from typedq.worker.cron import CronJob
from typedq.worker.journal import Journal
from typedq.worker.locks import HostLock, directory
from typedq.worker.periodic import BurstMonitor, EvictionCheck, Janitor, LeaseRenewer, Ticker
from typedq.worker.scheduler import PeriodicJob, Scheduler
from typedq.worker.status import Status
from typedq.worker.supervisor import WorkerOptions, ignore_stop_signals, sign_off
from typedq.worker.waiting import Waiter


def run_solo(app: TypedQ, options: WorkerOptions) -> int:
    """Run the app's tasks in this process until a signal or the end of a burst; return 0.

    It holds one message at a time, because no other process could requeue what waits behind a long
    task. Raises ServerError if the server cannot be reached at the start.
    """
    broker, settings = app.broker, app.settings
    config = options.child_config(app, prefetch=1)
    lock = HostLock(lambda: directory(broker.url, settings.namespace))
    status = Status(app, options.app)
    try:
        journal = _open_session(app, config, lock)
        child = Child(app, journal, config)
        leases = LeaseRenewer(app, lock, config, lambda: [journal], cron=options.cron)
        broadcasts = BroadcastConsumer(app, config.queues[0])
        process = ChildProcess(os.getpid(), journal)
        streams = StreamReader(broadcasts, CancellationConsumer(app, lambda: [process]))
        ticker = Ticker(app, lock, config)
        jobs: list[PeriodicJob] = [ticker, streams, leases]
        jobs += [Janitor(app, config), EvictionCheck(app)]
        if options.cron and app.declarations.cron_entries:
            jobs.append(CronJob(app))
        if options.burst:
            jobs.append(BurstMonitor(app, config.queues, lambda: [journal], child.stop))
        waiter = Waiter(
            broker, [broker.keys.supervisors], persistent=True, extra_request=streams.request
        )
        _log_start(options)
        try:
            scheduler = Scheduler(jobs, waiter)

            def step() -> None:
                scheduler.run_due()
                status.update(
                    [journal], leases.renewed_at, ticker.ticked_at, stopping=child.stopping
                )

            scheduler.run_due()  # before it fetches, so that it knows of cancellations
            _run(child, scheduler, step, waiter)
        finally:
            sign_off(
                lambda: _end_session(app, config, journal), leases.sign_off, broadcasts.sign_off
            )
            waiter.close()
    finally:
        lock.release()
        status.close()
    event(logging.INFO, "worker stopped")
    ignore_stop_signals()
    return 0


def _log_start(options: WorkerOptions) -> None:
    event(logging.INFO, "worker started", pid=os.getpid(), solo=True)
    if options.metrics:
        what = "--solo serves no pages: metrics_port in the settings is ignored"
        event(logging.WARNING, what, port=options.metrics[1])


def _open_session(app: TypedQ, config: ChildConfig, lock: HostLock) -> Journal:
    journal, broker = Journal(config.slots), app.broker
    session = journal.begin_session(config.lease_s)
    # Listed before it can take anything, as those of children.
    lock.record([session], config.queues)
    lease_ms = round(config.lease_s * 1000)
    broker.call(operations.open(broker.keys, [session], config.queues, lease_ms))
    return journal


def _end_session(app: TypedQ, config: ChildConfig, journal: Journal) -> None:
    fates = ChildProcess(os.getpid(), journal).fates([*journal.entries()], stopped=True)
    end_sessions(app.broker, journal, config, fates)


def _run(child: Child, scheduler: Scheduler, step: Callable[[], None], waiter: Waiter) -> None:
    """Run tasks in this thread and periodic jobs in another until the child has stopped."""
    done = threading.Event()

    def run_jobs() -> None:
        try:
            while not done.is_set():
                step()
                scheduler.wait()
        except BaseException as error:
            event(logging.CRITICAL, "periodic jobs ended; stopping", error=error)
            child.stop()
            raise

    jobs = threading.Thread(target=run_jobs, name="typedq-jobs")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, child.on_signal)
    child.waiter.on_signals()
    jobs.start()
    try:
        child.begin()
        restore()
        child.run()
        child.end()
    finally:
        done.set()
        waiter.wake()
        jobs.join()
