"""Notify the children whose messages were cancelled."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import final

from typedq.app import TypedQ
from typedq.broker.script import Operation
from typedq.broker.search import cancellations
from typedq.worker.broadcasts import CHECK_S, BroadcastConsumer
from typedq.worker.child_process import ChildProcess
from typedq.worker.journal import Entry, State
from typedq.worker.processes import send_signal
from typedq.worker.sync_tasks import CANCEL

AGAIN_S, MAX_AGAIN_S = 0.05, 1.0  # a task may be shielded, or its child may not have it yet
PENDING_S = 5.0
_Attempt = tuple[int, int, float]  # pid, slot, start; 0 before it
_NOT_ENDED = {State.HELD, State.WAITING, State.RUNNING}


@final
class CancellationConsumer:
    """Marks cancelled messages in the journals, and sends their children a signal.

    The signal is repeated, with backoff, until the message has ended: a task that is shielded, or
    inside an enqueue, is interrupted by a later one. A message that no child holds is forgotten
    after 5 s, since the reply that brings it to one may still be on its way.
    """

    def __init__(self, app: TypedQ, children: Callable[[], Sequence[ChildProcess]]) -> None:
        self._broker, self._children, self._cursor = app.broker, children, ""
        self._pending: dict[bytes, float] = {}  # id -> when it is forgotten (monotonic)
        self._notified = dict[bytes, _Attempt]()
        self._sessions = deque[str](maxlen=1000)  # a lost reply may have just replaced one
        self._again_s = AGAIN_S

    @property
    def place(self) -> tuple[str, str]:
        """Return the stream to wait for, and the cursor there."""
        return self._broker.keys.cancellations, self._cursor

    def step(self, now: float) -> float:
        """Read what was cancelled since the last time, and notify the children."""
        self._sessions.extend(child.journal.session for child in self._children())
        news = cancellations(self._broker.keys, self._cursor, self._sessions)
        ids, self._cursor = self._broker.call(news)
        if not ids and not self._pending:
            return CHECK_S
        self._again_s = AGAIN_S if ids else min(2 * self._again_s, MAX_AGAIN_S)
        self._pending |= dict.fromkeys(ids, now + PENDING_S)
        held = {id: at for child in self._children() for id, at in self._notify(child).items()}
        self._pending = {
            id: now + PENDING_S if id in held else until
            for id, until in self._pending.items()
            if id in held or (until > now and id not in self._notified)
        }
        self._notified = held
        return self._again_s

    def _notify(self, child: ChildProcess) -> dict[bytes, _Attempt]:
        """Notify a child of the cancelled messages that it holds; return their attempts by id."""
        held = [e for e in child.journal.entries() if self._is_cancelled(child.pid, e)]
        for entry in held:
            child.journal.cancel(entry.slot, entry.id)
        if held:
            send_signal(child.pid, CANCEL)
        return {e.id: (child.pid, e.slot, e.started) for e in held}

    def _is_cancelled(self, pid: int, entry: Entry) -> bool:
        if entry.id not in self._pending or entry.state not in _NOT_ENDED:
            return False
        # Another attempt of the same id is that of a dead letter which was retried.
        waited = pid, entry.slot, 0.0
        return self._notified.get(entry.id, waited) in (waited, (pid, entry.slot, entry.started))


@final
class StreamReader:
    """Consumes broadcasts and cancellations, and waits for both with one request."""

    def __init__(self, broadcasts: BroadcastConsumer, cancels: CancellationConsumer) -> None:
        self._broadcasts, self._cancels, self._is_listening = broadcasts, cancels, False

    def request(self) -> Operation[bool] | None:
        """Return what blocks until a stream has something new; None to ask for nothing."""
        if not self._is_listening:
            return None
        streams = [self._broadcasts.place, self._cancels.place]
        keys, cursors = zip(*streams, strict=True)
        options = ("COUNT", 1, "BLOCK", 5000)
        return Operation("XREAD", (), [*options, "STREAMS", *keys, *cursors], bool)

    def step(self, now: float) -> float:
        """Consume what is new. If one of both fails, the other is consumed all the same."""
        # While the server refuses this, waiting for the next would not block.
        self._is_listening, pause = False, 0.0
        try:
            pause = self._broadcasts.step(now)
        finally:
            next_cancel = self._cancels.step(time.monotonic())
        self._is_listening = True
        return min(pause, next_cancel)
