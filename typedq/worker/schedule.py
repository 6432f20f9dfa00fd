"""What nobody enqueues for this supervisor alone: slots of cron entries, and broadcasts to all."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import final

from typedq.app import TypedQ
from typedq.batch import MessageEncoder
from typedq.broker.cron import KEPT_MS, MOST_DELIVERED, Firing, Heard, abandon, cron, deliver
from typedq.broker.script import Argument
from typedq.message import BROADCAST
from typedq.telemetry import event

LOOK_S = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def own_queue() -> str:
    """A name for one supervisor's queue of broadcasts, never used before."""
    return f"{BROADCAST}.{os.urandom(4).hex()}"


def is_own(queue: str) -> bool:
    """Whether a queue is that of one supervisor, and ends with it."""
    return queue.startswith(BROADCAST)


@final
class Deliver:
    """Takes over what is broadcast into the queue that this supervisor's children serve first."""

    def __init__(self, app: TypedQ, queue: str) -> None:
        self._broker, self._queue = app.broker, queue
        self._heard, self._listens = Heard(), False

    def news(self) -> Sequence[Argument] | None:
        """The request that blocks until there is something new."""
        place = (self._broker.keys.broadcasts, self._heard.id)
        return ("XREAD", "COUNT", 1, "BLOCK", 5000, "STREAMS", *place) if self._listens else None

    def step(self, now: float) -> float:
        """Take over what is new; else see that the queue does not expire."""
        # News is not waited for while it cannot be taken.
        self._listens = False
        self._heard = self._broker.call(deliver(self._broker.keys, self._queue, self._heard))
        self._listens = True
        if self._heard.missed:
            event(
                logging.WARNING,
                "missed broadcasts: this worker was away for longer than they are kept",
                missed=self._heard.missed,
                kept_s=KEPT_MS // 1000,
            )
        return 0.0 if self._heard.delivered == MOST_DELIVERED else LOOK_S

    def sign_off(self) -> None:
        """What was not come to ends with this worker."""
        self._broker.call(abandon(self._broker.keys, self._queue))


@final
class Cron:
    """Fires the app's cron entries by the server's clock; the server lets each slot through once.

    Raises what is wrong with an entry's call: InvalidArguments, InvalidOptions.
    """

    def __init__(self, app: TypedQ) -> None:
        self._app, self._broker = app, app.broker
        self._entries = dict(app.entries)
        contracts = [app.find(entry.call.task).contract for entry in self._entries.values()]
        self._schemas = {contract.id: contract.schema_json() for contract in contracts}
        self._last = dict[str, datetime]()
        self._due = dict[str, datetime]()
        self._zero, self._look_at = _EPOCH, 0.0
        self._sealer = MessageEncoder(app.find, app.settings)
        self._sealer.encode_message([entry.call for entry in self._entries.values()])

    def step(self, now: float) -> float:
        """Fire what is due, and sleep until something is."""
        if now >= self._look_at:
            self._send([Firing(name) for name in self._entries])
            self._look_at = now + LOOK_S
        server = self._clock()
        due = {n: e for n, e in self._entries.items() if self._due.get(n, server) <= server}
        self._send(
            [
                Firing(
                    name, (slot - _EPOCH) // _MS, self._sealer.encode_message([entry.call]).batch[0]
                )
                for name, entry in due.items()
                for slot in entry.cron.pending(self._last[name], server)
            ]
        )
        # If that clock was set back, what it refused is still to come.
        until = min(server, self._clock())
        for name, entry in due.items():
            self._due[name] = entry.cron.after(until)
        pause = (min(self._due.values()) - self._clock()).total_seconds()
        return max(0.0, min(pause, LOOK_S))

    def _send(self, firings: Sequence[Firing]) -> None:
        if not firings:
            return
        fired = self._broker.call(cron(self._broker.keys, firings, self._schemas))
        # Of the time on the way nothing is counted, so that our idea of that clock is never ahead.
        self._zero = _EPOCH + fired.now_ms * _MS - timedelta(seconds=time.monotonic())
        for firing, (last_ms, now) in zip(firings, fired.slots, strict=True):
            self._last[firing.entry] = _EPOCH + last_ms * _MS
            if now:
                slot = self._last[firing.entry].isoformat()
                event(logging.DEBUG, "cron fired", entry=firing.entry, slot=slot)

    def _clock(self) -> datetime:
        return self._zero + timedelta(seconds=time.monotonic())
