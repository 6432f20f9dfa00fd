"""What a child may not do: run a task beyond its hard timeout, or hold what it does not come to."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import final

from typedq.broker import Broker
from typedq.broker.moves import Back, work
from typedq.telemetry import event
from typedq.worker.family import Member
from typedq.worker.journal import Entry, Phase, State

OVERRUN_S = 0.1
LOOK_S = 0.05


@final
class Watch:
    """Looks at the journals of the busy, 20 times a second."""

    def __init__(
        self, broker: Broker, members: Callable[[], Sequence[Member]], queues: Sequence[str]
    ) -> None:
        self._broker, self._members, self._queues = broker, members, list(queues)

    def step(self, now: float) -> float:
        """Kill what is beyond its hard timeout; hand back what waits behind a long task."""
        for member in self._members():
            if member.journal.phase == Phase.BUSY and not member.overdue:
                self._look(member, list(member.journal.entries()), time.monotonic())
            if member.owed:
                self._hand_back(member)
        return LOOK_S

    def _look(self, member: Member, entries: Sequence[Entry], now: float) -> None:
        overdue = [e for e in entries if e.state == State.RUNNING and now > e.deadline]
        if overdue:
            member.overdue = [e.id for e in overdue]
            member.kill_group()
        elif any(e.state == State.RUNNING and now - e.started > OVERRUN_S for e in entries) and any(
            e.state == State.HELD and not member.journal.is_marked(e.slot) for e in entries
        ):
            self._revoke(member)

    def _revoke(self, member: Member) -> None:
        """Mark what the child has not claimed.

        While it stands still it can claim nothing: what is not claimed now is marked before it
        goes on, and it looks at the mark after each claim.
        """
        os.kill(member.pid, signal.SIGSTOP)
        try:
            _, status = os.waitpid(member.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                member.status = status
                return
            held = [e for e in member.journal.entries() if e.state == State.HELD]
            for entry in sorted(held, key=lambda e: e.id, reverse=True):
                member.journal.mark(entry.slot)
                member.owed.append(Back(entry.id, self._queues[entry.queue]))
        finally:
            os.kill(member.pid, signal.SIGCONT)

    def _hand_back(self, member: Member) -> None:
        move = work(self._broker.keys, member.journal.session, self._queues, settle=member.owed)
        self._broker.call(move)
        event(logging.DEBUG, "handed back what waited behind a long task", n=len(member.owed))
        member.owed.clear()
