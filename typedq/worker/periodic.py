"""The periodic jobs of a worker: leases, ticks, dead sessions, expired messages, the summary."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, final

import msgspec

from typedq.app import TypedQ
from typedq.broker.cron import abandon
from typedq.broker.operations import recover_session, renew, tick
from typedq.broker.parking import groups, release
from typedq.broker.server_checks import eviction, info
from typedq.broker.stats import delete_worker, paused, publish, survey
from typedq.errors import ServerRefused
from typedq.message import FORMAT, PROTOCOL, is_broadcast
from typedq.telemetry import event
from typedq.worker.child import ChildConfig
from typedq.worker.journal import Journal, Phase
from typedq.worker.locks import HostLock

TICK_S = 1.0
MAX_SILENCE_S = 3.0  # if no supervisor ticked for longer, extend leases instead of expiring them
PARKED_CHECK_S = 60.0
EVICTION_CHECK_S = 600.0
SUMMARY_S = 10.0
DRAINED_CHECK_S = 0.05
GONE_S = 3_600.0  # how long the list of workers shows one that died

Journals = Callable[[], Sequence[Journal]]


@final
class LeaseRenewer:
    """Renews the leases of the children's sessions, and lists this worker as alive."""

    def __init__(
        self, app: TypedQ, lock: HostLock, config: ChildConfig, journals: Journals, *, cron: bool
    ) -> None:
        """`cron`: whether this worker fires the cron entries of the app."""
        self._broker, self._lock, self._journals = app.broker, lock, journals
        self._queues, self._lease_s = config.queues, config.lease_s
        self._name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        contracts = [task.contract for task in app.tasks.values()]
        self._schemas = {contract.id: contract.schema_json() for contract in contracts}
        schedules = app.declarations.schedules() if cron else {}
        self._published = False
        self.renewed_at = 0.0  # monotonic; 0 if never
        self._report: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "format": FORMAT,
            "started_ms": time.time_ns() // 1_000_000,
            "queues": [queue for queue in config.queues if not is_broadcast(queue)],
            "reads": [
                f"{name}@{task.contract.fingerprint}"
                for task in app.tasks.values()
                for name in (task.name, *task.aliases)
            ],
            "cron": schedules,
            "croniter": int(version("croniter").partition(".")[0]) if schedules else 0,
            "protocols": [PROTOCOL],
            "default_queue": app.settings.default_queue,
            "task_queues": {task.name: task.queue for task in app.tasks.values() if task.queue},
        }

    def step(self, now: float) -> float:
        """Renew all leases. A child whose session others have ended may start no more messages."""
        journals = self._journals()
        names = [name for j in journals for name in (j.session, j.fresh) if name]
        self._lock.record(names, self._queues)
        self._report |= {"children": len(journals), "sessions": names}
        before = time.monotonic()
        report = msgspec.json.encode(self._report)
        operation = renew(self._broker.keys, names, round(self._lease_s * 1000), self._name, report)
        is_new, ended = self._broker.call(operation)
        self.renewed_at = time.monotonic()
        for journal in journals:
            journal.set_lease_deadline(0.0 if journal.session in ended else before + self._lease_s)
        self._published = self._published and not is_new  # if new again, the server was emptied
        if self._schemas and not self._published:
            self._broker.call(publish(self._broker.keys, self._schemas))
            self._published = True
        return min(self._lease_s / 10, 0.2 if ended else self._lease_s)

    def sign_off(self) -> None:
        """Leave the list of workers."""
        self._broker.call(renew(self._broker.keys, [], 0, self._name, b""))


@final
class EvictionCheck:
    """Warns once if the server would delete messages when its memory is full."""

    def __init__(self, app: TypedQ) -> None:
        self._broker, self._has_warned = app.broker, False

    def step(self, now: float) -> float:
        """Check the eviction policy, if this user may."""
        with suppress(ServerRefused):
            (policy,) = eviction(self._broker.call(info("memory")))
            if policy.level == "problem" and not self._has_warned:
                event(logging.WARNING, "eviction policy", found=policy.found, fix=policy.fix)
                self._has_warned = True
        return EVICTION_CHECK_S


@final
class Janitor:
    """Dead-letters messages parked for too long, and forgets workers that died long ago."""

    def __init__(self, app: TypedQ, config: ChildConfig) -> None:
        self._broker, self._bounds = app.broker, config.bounds
        self._max_ms = round(app.settings.parked_max_age * 1000)

    def step(self, now: float) -> float:
        """Check the oldest message of every group; dead-letter at most 500 of each at once."""
        keys = self._broker.keys
        seen = self._broker.call(survey(keys, [], []))  # ages are by the server's clock
        before_ms = seen.now_ms - self._max_ms
        for group, since_ms in self._broker.call(groups(keys)).items():
            if since_ms < before_ms:
                expire = release(keys, group, "dead", before_ms=before_ms, bounds=self._bounds)
                if expired := self._broker.call(expire).released:
                    text = "messages were parked for too long; dead-lettered"
                    event(logging.WARNING, text, messages=expired)
        for name, report in seen.workers.items():
            if _seen_ms(report) < seen.now_ms - GONE_S * 1000:
                self._broker.call(delete_worker(keys, name))
        return PARKED_CHECK_S


@final
class Ticker:
    """Makes due messages ready, and recovers the sessions of workers that died."""

    def __init__(self, app: TypedQ, lock: HostLock, config: ChildConfig) -> None:
        self._broker, self._lock, self._bounds = app.broker, lock, config.bounds
        # Also this worker's broadcast queue, where its retried broadcasts become due.
        declared = [queue.name for queue in app.settings.queues]
        self._queues = list(dict.fromkeys([*config.queues, *declared]))
        self._lease_s = config.lease_s
        self.ticked_at = 0.0  # monotonic; 0 if never

    def step(self, now: float) -> float:
        """Tick; sleep until the next message is due."""
        grace = round(min(MAX_SILENCE_S, self._lease_s / 2) * 1000)
        keys, lease_ms = self._broker.keys, round(self._lease_s * 1000)
        ticked = self._broker.call(tick(keys, self._queues, grace_ms=grace, lease_ms=lease_ms))
        self.ticked_at = time.monotonic()
        for session, queues in ticked.expired:
            self._recover(session, queues, owner=False)
        for sessions, queues in self._lock.dead_groups():
            for session in sessions:
                self._recover(session, queues, owner=True)
        tick_s = min(TICK_S, self._lease_s / 10)
        if ticked.next_due_ms is None:
            return tick_s
        return min(tick_s, ticked.next_due_ms / 1000)

    def _recover(self, session: str, queues: Sequence[str], *, owner: bool) -> None:
        keys = self._broker.keys
        # No other worker runs the broadcasts of a worker that died.
        abandoned = [queue for queue in queues if is_broadcast(queue) and queue not in self._queues]
        for queue in abandoned:
            self._broker.call(abandon(keys, queue))
        shared = [queue for queue in queues if queue not in abandoned]
        recovered = self._broker.call(
            recover_session(keys, session, shared, owner=owner, bounds=self._bounds)
        )
        if recovered.requeued or recovered.dead_lettered:
            event(
                logging.WARNING,
                "recovered the session of a worker that died",
                session=session,
                requeued=recovered.requeued,
                dead_lettered=recovered.dead_lettered,
            )


@final
class Summary:
    """Logs every 10 s how many messages the children have done and failed, if any."""

    def __init__(self, journals: Journals) -> None:
        self._journals, self._last = journals, (0, 0)

    def step(self, now: float) -> float:
        """Log what the children that are alive did since the last time."""
        totals = [journal.totals for journal in self._journals()]
        now_done, now_failed = sum(d for d, _ in totals), sum(f for _, f in totals)
        done, failed = max(0, now_done - self._last[0]), max(0, now_failed - self._last[1])
        self._last = now_done, now_failed
        if done or failed:
            event(logging.INFO, "worked", done=done, failed=failed, seconds=SUMMARY_S)
        return SUMMARY_S


@final
class BurstMonitor:
    """Calls `stop` when the queues that are not paused are empty and no child runs anything."""

    def __init__(
        self, app: TypedQ, queues: Sequence[str], journals: Journals, stop: Callable[[], None]
    ) -> None:
        self._broker, self._queues = app.broker, queues
        self._journals, self._stop = journals, stop

    def step(self, now: float) -> float:
        """Check once."""
        if self._is_drained(self._journals()):
            self._stop()
        return DRAINED_CHECK_S

    def _is_drained(self, journals: Sequence[Journal]) -> bool:
        # An idle child has also checked for parked messages that it can read.
        if not journals or any(journal.phase != Phase.IDLE for journal in journals):
            return False
        paused_queues = self._broker.call(paused(self._broker.keys, self._queues))
        sessions = [name for j in journals for name in (j.session, j.fresh) if name]
        stats = self._broker.call(survey(self._broker.keys, self._queues, sessions))
        ready = any(q.ready for name, q in stats.queues.items() if name not in paused_queues)
        return not stats.in_flight and not ready


class _Report(msgspec.Struct):
    seen_ms: int = 0


def _seen_ms(report: bytes) -> int:
    try:
        return msgspec.json.decode(report, type=_Report).seen_ms
    except (ValueError, RecursionError):  # another program wrote it
        return 0
