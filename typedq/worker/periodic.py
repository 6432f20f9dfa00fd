"""The duties that come round: keep leases, keep time for everybody, end what has died elsewhere.

A role is called with the time and answers how many seconds it may sleep. None runs user code.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, final

import msgspec

from typedq.app import TypedQ
from typedq.broker.cron import abandon
from typedq.broker.operations import recover_session, renew, tick
from typedq.broker.parking import groups, release
from typedq.broker.server_checks import eviction, info
from typedq.broker.stats import forget_worker, publish, workers
from typedq.errors import ServerRefused
from typedq.telemetry import event
from typedq.worker.child import Plan
from typedq.worker.journal import Journal
from typedq.worker.locks import HostLock
from typedq.worker.schedule import is_own

TICK_S = 1.0
PARKED_LOOK_S = 60.0
EVICTION_LOOK_S = 600.0
GONE_S = 3_600.0  # so long the list of workers shows one that died
GRACE_S = 3.0  # nobody ticked for longer: then time did not pass for the workers either


class PeriodicJob(Protocol):
    """One duty."""

    def step(self, now: float) -> float:
        """Do what is due; answer how many seconds until the next time. Raises ServerError."""
        ...


@final
class LeaseRenewer:
    """Renews the leases of the sessions of this host's children, and says that they live."""

    def __init__(
        self, app: TypedQ, lock: HostLock, plan: Plan, journals: Callable[[], Sequence[Journal]]
    ) -> None:
        self._broker, self._lock, self._journals = app.broker, lock, journals
        self._queues, self._lease_s = plan.queues, plan.lease_s
        self._name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        contracts = [task.contract for task in app.tasks.values()]
        self._schemas = {contract.id: contract.schema_json() for contract in contracts}
        self._published = False
        self._about: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_ms": time.time_ns() // 1_000_000,
            "queues": [queue for queue in plan.queues if not is_own(queue)],
            "reads": [
                f"{name}@{task.contract.fingerprint}"
                for task in app.tasks.values()
                for name in (task.name, *task.aliases)
            ],
        }

    def step(self, now: float) -> float:
        """Renew; a session that others have ended fences its child off."""
        journals = self._journals()
        names = [name for j in journals for name in (j.session, j.fresh) if name]
        self._lock.record(names, self._queues)
        self._about["children"] = len(journals)
        self._about["seen_ms"] = time.time_ns() // 1_000_000
        before = time.monotonic()
        about = msgspec.json.encode(self._about)
        move = renew(self._broker.keys, names, round(self._lease_s * 1000), self._name, about)
        is_new, ended = self._broker.call(move)
        self._published = self._published and not is_new  # new again: the server was emptied
        if self._schemas and not self._published:
            self._broker.call(publish(self._broker.keys, self._schemas))
            self._published = True
        for journal in journals:
            journal.set_lease_deadline(0.0 if journal.session in ended else before + self._lease_s)
        return min(self._lease_s / 10, 0.2 if ended else self._lease_s)

    def sign_off(self) -> None:
        """Leave the list of the living."""
        self._broker.call(renew(self._broker.keys, [], 0, self._name, b""))


@final
class EvictionCheck:
    """Says once that the server would delete messages when its memory is short."""

    def __init__(self, app: TypedQ) -> None:
        self._broker, self._said = app.broker, False

    def step(self, now: float) -> float:
        """Look at its eviction policy; who may not ask says nothing."""
        with suppress(ServerRefused):
            (policy,) = eviction(self._broker.call(info("memory")))
            if policy.level == "problem" and not self._said:
                event(logging.WARNING, "eviction policy", found=policy.found, fix=policy.fix)
                self._said = True
        return EVICTION_LOOK_S


@final
class Janitor:
    """Buries what was parked for longer than the app allows, and forgets workers long dead."""

    def __init__(self, app: TypedQ, plan: Plan) -> None:
        self._broker, self._bounds = app.broker, plan.bounds
        self._most_ms = app.settings.parked_max_age * 1000

    def step(self, now: float) -> float:
        """Look at the oldest of every group; at most 500 of each go at once."""
        keys, before_ms = self._broker.keys, round(time.time() * 1000 - self._most_ms)
        for group, since_ms in self._broker.call(groups(keys)).items():
            if since_ms < before_ms:
                move = release(keys, group, "dead", before_ms=before_ms, bounds=self._bounds)
                if buried := self._broker.call(move).released:
                    event(logging.WARNING, "buried what was parked too long", messages=buried)
        for name, about in self._broker.call(workers(keys)).items():
            if _seen_ms(about) < (time.time() - GONE_S) * 1000:
                self._broker.call(forget_worker(keys, name))
        return PARKED_LOOK_S


@final
class Ticker:
    """Makes due messages ready, and ends the sessions whose leases ran out."""

    def __init__(self, app: TypedQ, lock: HostLock, plan: Plan) -> None:
        self._broker, self._lock, self._bounds = app.broker, lock, plan.bounds
        # Its own too: what is retried there is due some day.
        declared = [queue.name for queue in app.settings.queues]
        self._queues = list(dict.fromkeys([*plan.queues, *declared]))
        self._lease_s = plan.lease_s

    def step(self, now: float) -> float:
        """Tick until nothing more is due, and sleep until something is."""
        grace = round(min(GRACE_S, self._lease_s / 2) * 1000)
        keys, lease_ms = self._broker.keys, round(self._lease_s * 1000)
        ticked = self._broker.call(tick(keys, self._queues, grace_ms=grace, lease_ms=lease_ms))
        for session, queues in ticked.expired:
            self._end(session, queues, owner=False)
        for sessions, queues in self._lock.orphans():
            for session in sessions:
                self._end(session, queues, owner=True)
        tick_s = min(TICK_S, self._lease_s / 10)
        if ticked.next_due_ms is None:
            return tick_s
        return min(tick_s, ticked.next_due_ms / 1000)

    def _end(self, session: str, queues: Sequence[str], *, owner: bool) -> None:
        keys = self._broker.keys
        gone = [queue for queue in queues if is_own(queue) and queue not in self._queues]
        for queue in gone:
            self._broker.call(abandon(keys, queue))
        left = [queue for queue in queues if queue not in gone]
        move = recover_session(keys, session, left, owner=owner, bounds=self._bounds)
        reaped = self._broker.call(move)
        if reaped.back or reaped.buried:
            event(
                logging.WARNING,
                "ended a session that its worker left behind",
                session=session,
                handed_back=reaped.back,
                buried=reaped.buried,
            )


class _About(msgspec.Struct):
    seen_ms: int = 0


def _seen_ms(about: bytes) -> int:
    try:
        return msgspec.json.decode(about, type=_About).seen_ms
    except msgspec.MsgspecError:
        return 0
