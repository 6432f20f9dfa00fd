"""One process without forks, for a debugger; the duties of the supervisor run in a thread."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence

from typedq.app import TypedQ
from typedq.broker import operations
from typedq.errors import ServerError
from typedq.telemetry import event, label_records
from typedq.worker.burst import is_drained
from typedq.worker.child import Child
from typedq.worker.journal import Journal
from typedq.worker.locks import HostLock, directory
from typedq.worker.periodic import EvictionCheck, Janitor, LeaseRenewer, PeriodicJob, Ticker
from typedq.worker.schedule import Cron, Deliver
from typedq.worker.session import new_session
from typedq.worker.supervisor import WorkerOptions
from typedq.worker.waiting import Waiter


def run_solo(app: TypedQ, orders: WorkerOptions) -> int:
    """Run the app's tasks in this process until a signal, or the end of the burst; answers 0.

    A message at a time is held, because nobody could hand back what waits behind a long task.
    """
    broker, settings = app.broker, app.settings
    plan = orders.plan(app, prefetch=1)
    journal = Journal(plan.slots)
    journal.session = new_session()
    journal.set_lease_deadline(time.monotonic() + settings.lease)
    lease_ms = round(settings.lease * 1000)
    broker.call(operations.open(broker.keys, [journal.session], plan.queues, lease_ms))
    lock = HostLock(directory(broker.url, settings.namespace))
    child = Child(app, journal, plan)
    keeper, ticker = LeaseRenewer(app, lock, plan, lambda: [journal]), Ticker(app, lock, plan)
    deliver = Deliver(app, plan.queues[0])
    roles: list[PeriodicJob] = [ticker, deliver, keeper, Janitor(app, plan), EvictionCheck(app)]
    if orders.cron and app.entries:
        roles.append(Cron(app))
    if orders.burst:
        roles.append(_Drained(app, plan.queues, journal, child))
    waiter = Waiter(broker, [broker.keys.supervisors], insist=True, news=deliver.news)
    done = threading.Event()
    clock = threading.Thread(target=_keep, args=(roles, waiter, done), name="typedq-clockwork")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, child.on_signal)
    child.waiter.on_signals()
    event(logging.INFO, "worker started", pid=os.getpid(), solo=True)
    clock.start()
    label_records()
    try:
        child.begin()
        child.run()
        child.end()
    finally:
        done.set()
        waiter.poke()
        clock.join()
        broker.call(
            operations.recover_session(
                broker.keys, journal.session, plan.queues, owner=True, others="back"
            )
        )
        keeper.sign_off()
        deliver.sign_off()
        lock.release()
    event(logging.INFO, "worker stopped")
    return 0


class _Drained:
    """Stops the child when nothing is ready and nothing runs."""

    def __init__(self, app: TypedQ, queues: Sequence[str], journal: Journal, child: Child) -> None:
        self._broker, self._queues = app.broker, queues
        self._journal, self._child = journal, child

    def step(self, now: float) -> float:
        if is_drained(self._broker, [self._journal], self._queues):
            self._child.stop()
        return 0.05


def _keep(roles: list[PeriodicJob], waiter: Waiter, done: threading.Event) -> None:
    due = [0.0] * len(roles)
    while not done.is_set():
        for place, role in enumerate(roles):
            if due[place] <= time.monotonic():
                try:
                    pause = role.step(time.monotonic())
                except ServerError as error:
                    event(logging.ERROR, "server does not answer, trying again", why=str(error))
                    pause = 0.3
                due[place] = time.monotonic() + pause
        woken = waiter.wait(max(0.0, min(due) - time.monotonic()))
        if woken is not None:
            due[woken] = 0.0
