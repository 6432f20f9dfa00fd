"""Enforce hard timeouts, and requeue messages that wait in a child behind a long task."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import final

from typedq.broker import Broker
from typedq.broker.settlements import Release, settle_and_fetch
from typedq.errors import ServerError
from typedq.telemetry import event
from typedq.worker.child_process import ChildProcess
from typedq.worker.journal import Entry, Phase, State
from typedq.worker.processes import CHECK_AGAIN_S, KILL_AGAIN_S, KILL_PATIENCE_S, send_signal

OVERRUN_S = 0.1  # when a task has run this long, messages that wait behind it are requeued
STOP_S = 0.05  # how long to wait for a SIGSTOP, which a long system call delays
STOP_CHECK_S = 0.001
BUSY_CHECK_S = 0.05
IDLE_CHECK_S = 0.2  # rarely, because a check delays a message that arrives at that moment


@final
class TimeoutMonitor:
    """Reads the journals, 20 times a second while a child is busy. It never waits for a child.

    An error with one child is logged once, and does not delay the checks of the others.
    """

    def __init__(
        self, broker: Broker, children: Callable[[], Sequence[ChildProcess]], queues: Sequence[str]
    ) -> None:
        self._broker, self._children, self._queues = broker, children, list(queues)
        self._stopping: dict[int, float] = {}  # pid of a child that was sent SIGSTOP -> when
        self._killed: dict[int, bool] = {}  # pid -> was it logged that it does not die
        self._logged = set[tuple[int, type[Exception]]]()  # pid, kind of error
        self._server_error: ServerError | None = None

    def step(self, now: float) -> float:
        """Kill children beyond a hard timeout; then requeue messages that wait behind long tasks.

        Raises ServerError, after all children were checked.
        """
        self._server_error = None
        pauses, now = [IDLE_CHECK_S], time.monotonic()
        alive = [child for child in self._children() if child.status is None]
        pids = {child.pid for child in alive}
        self._killed = {pid: logged for pid, logged in self._killed.items() if pid in pids}
        self._logged = {kind for kind in self._logged if kind[0] in pids}
        self._stopping = {pid: at for pid, at in self._stopping.items() if pid in pids}
        for child in alive:  # first, because this needs no answer from the server
            with self._guarded(child):
                pauses.append(self._check_overdue(child, now))
        for child in alive:
            with self._guarded(child):
                pauses.append(self._check_waiting(child, now))
        if self._server_error is not None:
            raise self._server_error
        return min(pauses)

    @contextmanager
    def _guarded(self, child: ChildProcess) -> Generator[None]:
        try:
            yield
        except ServerError as error:
            self._server_error = error
        except Exception as error:  # noqa: BLE001 - the other children are checked all the same
            if (kind := (child.pid, type(error))) not in self._logged:
                self._logged.add(kind)
                event(logging.ERROR, "cannot check a child; retrying", error=error, pid=child.pid)

    def _check_overdue(self, child: ChildProcess, now: float) -> float:
        if child.pid in self._killed:
            if not self._killed[child.pid] and now - (child.killed_at or now) > 2 * KILL_PATIENCE_S:
                self._killed[child.pid] = True
                event(logging.ERROR, "killed child does not end; still waiting", pid=child.pid)
            return CHECK_AGAIN_S
        if not child.overdue and child.journal.phase == Phase.BUSY:
            running = child.journal.entries_in(State.RUNNING)
            child.overdue = [e.id for e in running if now > e.deadline]
        if not child.overdue:
            return IDLE_CHECK_S
        if not child.kill(now):
            return KILL_AGAIN_S
        self._killed[child.pid] = False
        return CHECK_AGAIN_S

    def _check_waiting(self, child: ChildProcess, now: float) -> float:
        if child.overdue or child.killed_at is not None:
            return IDLE_CHECK_S
        if child.pid in self._stopping:
            return self._requeue_when_stopped(child, now)
        if child.journal.phase != Phase.BUSY:
            return IDLE_CHECK_S
        journal = child.journal
        running, held = journal.entries_in(State.RUNNING), journal.entries_in(State.HELD)
        if any(now - e.started > OVERRUN_S for e in running) and any(
            not journal.is_revoked(e.slot) for e in held
        ):
            # A message may be revoked only while the child can claim none.
            os.kill(child.pid, signal.SIGSTOP)
            self._stopping[child.pid] = now
            return self._requeue_when_stopped(child, now)
        return BUSY_CHECK_S

    def _requeue_when_stopped(self, child: ChildProcess, now: float) -> float:
        stopped = _has_stopped(child)
        if not stopped and child.status is None and now - self._stopping[child.pid] < STOP_S:
            return STOP_CHECK_S
        # The session as it is now: when the child continues, it may replace its session and fetch
        # the messages again, and what it runs then must not be released.
        session, held = child.journal.session, self._revoke(child) if stopped else []
        del self._stopping[child.pid]
        if child.status is None:
            send_signal(child.pid, signal.SIGCONT)
        if held:
            # If this request is lost, the child releases them when it finds them revoked.
            releases = [Release(e.id, self._queues[e.queue]) for e in held]
            keys = self._broker.keys
            self._broker.call(settle_and_fetch(keys, session, self._queues, settle=releases))
            event(logging.DEBUG, "requeued messages behind a long task", messages=len(releases))
        return BUSY_CHECK_S

    def _revoke(self, child: ChildProcess) -> list[Entry]:
        """Revoke the messages that are held but not claimed; the child checks after each claim."""
        journal = child.journal
        fresh = (e for e in journal.entries_in(State.HELD) if not journal.is_revoked(e.slot))
        held = sorted(fresh, key=lambda entry: entry.id, reverse=True)
        for entry in held:
            journal.revoke(entry.slot)
        return held


def _has_stopped(child: ChildProcess) -> bool:
    """Return True if the child stopped since the last call. If it died, `poll` reads its status."""
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG) is not None
    return False
