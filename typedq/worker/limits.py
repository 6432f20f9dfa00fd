"""What a child may not do: run a task beyond its hard timeout, or hold what it does not come to."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import final

from typedq.broker import Broker, settlements
from typedq.broker.operations import recover_session, settle_and_fetch
from typedq.telemetry import event
from typedq.worker.children import ChildProcess
from typedq.worker.journal import Entry, Phase, State

OVERRUN_S = 0.1
STOP_S = 0.05  # a process in the middle of a long system call does not stop at once
LOOK_S = 0.05
IDLE_LOOK_S = 0.2  # each look would delay a message that comes just then
STILL_S, STILL_AGAIN_S = 10.0, 60.0  # an idle child is heard of every second


@final
class TimeoutMonitor:
    """Looks at the journals: while somebody is busy, 20 times a second."""

    def __init__(
        self, broker: Broker, members: Callable[[], Sequence[ChildProcess]], queues: Sequence[str]
    ) -> None:
        self._broker, self._members, self._queues = broker, members, list(queues)

    def step(self, now: float) -> float:
        """Kill what is beyond its hard timeout; hand back what waits behind a long task."""
        pause = IDLE_LOOK_S
        for member in self._members():
            gone = member.overdue or member.status is not None
            if member.journal.phase == Phase.BUSY and not gone:
                pause = LOOK_S
                self._look(member, list(member.journal.entries()), time.monotonic())
            if member.journal.phase == Phase.IDLE and not gone:
                self._look_at_idle(member, time.monotonic())
        return pause

    def _look_at_idle(self, member: ChildProcess, now: float) -> None:
        """The server may have given messages to one that stands still, as in a debugger."""
        journal = member.journal
        if now - journal.last_heartbeat < STILL_S:
            return
        # It may not begin with them; when it goes on, it finds its session gone and opens another.
        journal.set_lease_deadline(0.0)
        move = recover_session(
            self._broker.keys, journal.session, self._queues, owner=True, others="back"
        )
        back = self._broker.call(move).back
        journal.last_heartbeat = now + STILL_AGAIN_S
        event(logging.WARNING, "an idle child stands still", pid=member.pid, handed_back=back)

    def _look(self, member: ChildProcess, entries: Sequence[Entry], now: float) -> None:
        overdue = [e for e in entries if e.state == State.RUNNING and now > e.deadline]
        if overdue:
            member.overdue = [e.id for e in overdue]
            member.kill_group()
        elif any(e.state == State.RUNNING and now - e.started > OVERRUN_S for e in entries) and any(
            e.state == State.HELD and not member.journal.is_revoked(e.slot) for e in entries
        ):
            self._hand_back(member)

    def _hand_back(self, member: ChildProcess) -> None:
        session, held = member.journal.session, self._revoke(member)
        if not held:
            return
        # If this is lost, the child hands them back itself, once it comes round to the marks.
        back = [settlements.Release(e.id, self._queues[e.queue]) for e in held]
        self._broker.call(settle_and_fetch(self._broker.keys, session, self._queues, settle=back))
        event(logging.DEBUG, "handed back what waited behind a long task", messages=len(back))

    def _revoke(self, member: ChildProcess) -> list[Entry]:
        """Mark what is held but not claimed, while the child stands still and can claim nothing.

        It looks at the mark after each claim. Nothing is marked if it does not stop.
        """
        held = list[Entry]()
        os.kill(member.pid, signal.SIGSTOP)
        if _stops(member):
            journal = member.journal
            found = (e for e in journal.entries() if e.state == State.HELD)
            fresh = (e for e in found if not journal.is_revoked(e.slot))
            held = sorted(fresh, key=lambda entry: entry.id, reverse=True)
            for entry in held:
                member.journal.revoke(entry.slot)
        if member.status is None:
            os.kill(member.pid, signal.SIGCONT)
        return held


def _stops(member: ChildProcess) -> bool:
    """Wait for it to stand still; whoever died instead is left to the family with its status."""
    until = time.monotonic() + STOP_S
    while time.monotonic() < until:
        pid, status = os.waitpid(member.pid, os.WUNTRACED | os.WNOHANG)
        if pid and os.WIFSTOPPED(status):
            return True
        if pid:
            member.status = status
            return False
        time.sleep(0.0005)
    return False
