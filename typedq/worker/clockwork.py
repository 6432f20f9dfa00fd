"""The duties that come round: keep leases, keep time for everybody, end what has died elsewhere.

A role is called with the time and answers how many seconds it may sleep. None runs user code.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol, final

import msgspec

from typedq.broker import Broker, DeadBounds
from typedq.broker.moves import reap, renew, tick
from typedq.telemetry import event
from typedq.worker.journal import Journal
from typedq.worker.locks import HostLock

TICK_S = 1.0
GRACE_S = 3.0  # nobody ticked for longer: then time did not pass for the workers either


class Role(Protocol):
    """One duty."""

    def step(self, now: float) -> float:
        """Do what is due; answer how many seconds until the next time. Raises ServerError."""
        ...


@final
class Keeper:
    """Renews the leases of the sessions of this host's children, and says that they live."""

    def __init__(
        self,
        broker: Broker,
        journals: Callable[[], Sequence[Journal]],
        lock: HostLock,
        *,
        name: str,
        queues: Sequence[str],
        reads: Sequence[str],
        lease_s: float,
    ) -> None:
        self._broker, self._journals, self._lock = broker, journals, lock
        self._name, self._queues, self._lease_s = name, queues, lease_s
        self._about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_ms": time.time_ns() // 1_000_000,
            "queues": list(queues),
            "reads": list(reads),
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
        ended: list[str] = self._broker.call(move)
        for journal in journals:
            journal.fence(0.0 if journal.session in ended else before + self._lease_s)
        return min(self._lease_s / 10, 0.2 if ended else self._lease_s)

    def sign_off(self) -> None:
        """Leave the list of the living."""
        self._broker.call(renew(self._broker.keys, [], 0, self._name, b""))


@final
class Ticker:
    """Makes due messages ready, and ends the sessions whose leases ran out."""

    def __init__(
        self,
        broker: Broker,
        lock: HostLock,
        *,
        queues: Sequence[str],
        lease_s: float,
        bounds: DeadBounds,
    ) -> None:
        self._broker, self._lock, self._queues = broker, lock, queues
        self._lease_s, self._bounds = lease_s, bounds

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
        move = reap(self._broker.keys, session, queues, owner=owner, bounds=self._bounds)
        reaped = self._broker.call(move)
        if reaped.back or reaped.buried:
            event(
                logging.WARNING,
                "ended a session that its worker left behind",
                session=session,
                handed_back=reaped.back,
                buried=reaped.buried,
            )
