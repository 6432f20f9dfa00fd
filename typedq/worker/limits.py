"""What a child may not do to others: hold messages that it does not come round to."""

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
class Overruns:
    """Hands back what waits behind a task that runs long, uncounted and without a race."""

    def __init__(
        self, broker: Broker, members: Callable[[], Sequence[Member]], queues: Sequence[str]
    ) -> None:
        self._broker, self._members, self._queues = broker, members, list(queues)

    def step(self, now: float) -> float:
        """Look at every journal; a child is stopped for a moment only if it must be."""
        for member in self._members():
            busy = member.journal.phase == Phase.BUSY
            if busy and any(_overrun(entry) for entry in member.journal.entries()):
                held = [e for e in member.journal.entries() if e.state == State.HELD]
                if held and not member.journal.is_marked(held[0].slot):
                    self._hand_back(member)
        return LOOK_S

    def _hand_back(self, member: Member) -> None:
        # While it stands still it can claim nothing: what is not claimed now is marked before it
        # goes on, and it looks at the mark after each claim.
        os.kill(member.pid, signal.SIGSTOP)
        try:
            _, status = os.waitpid(member.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                member.status = status
                return
            held = [e for e in member.journal.entries() if e.state == State.HELD]
            for entry in held:
                member.journal.mark(entry.slot)
        finally:
            os.kill(member.pid, signal.SIGCONT)
        session = member.journal.session
        back = [Back(e.id, self._queues[e.queue]) for e in sorted(held, key=_id, reverse=True)]
        self._broker.call(work(self._broker.keys, session, self._queues, settle=back))
        event(logging.DEBUG, "handed back what waited behind a long task", messages=len(back))


def _overrun(entry: Entry) -> bool:
    return entry.state == State.RUNNING and time.monotonic() - entry.started > OVERRUN_S


def _id(entry: Entry) -> bytes:
    return entry.id
