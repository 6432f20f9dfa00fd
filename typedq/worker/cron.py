"""Cron: a supervisor enqueues the calls of the app's cron entries when they are due."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import final

from msgspec import structs

from typedq.app import TypedQ
from typedq.broker.cron import Firing, cron
from typedq.encoder import MessageEncoder
from typedq.message import OutgoingMessage, with_expiry
from typedq.policy.cron import LATE
from typedq.task import Call
from typedq.telemetry import event

CHECK_S = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@final
class CronJob:
    """Fires the app's cron entries by the server's clock; the server accepts each slot once.

    Raises what is wrong with an entry's call: InvalidArguments, InvalidOptions.
    """

    def __init__(self, app: TypedQ) -> None:
        self._app, self._broker = app, app.broker
        self._entries = dict(app.declarations.cron_entries)
        contracts = [app.tasks[entry.call.task].contract for entry in self._entries.values()]
        self._schemas = {contract.id: contract.schema_json() for contract in contracts}
        self._last = dict[str, datetime]()
        self._due = dict[str, datetime]()
        self._skipped = dict[str, datetime]()  # entry -> the last slot whose loss was logged
        self._monotonic_zero, self._check_at = _EPOCH, 0.0  # the server's time at monotonic 0
        self._encoder = MessageEncoder(app.declarations, app.settings)
        self._encoder.encode([entry.call for entry in self._entries.values()])

    def step(self, now: float) -> float:
        """Fire what is due, and sleep until something is."""
        if now >= self._check_at:
            self._send([Firing(name) for name in self._entries])
            self._check_at = now + CHECK_S
        server = self._clock()
        self._log_skipped(server)
        due = {n: e for n, e in self._entries.items() if self._due.get(n, server) <= server}
        self._send(
            [
                Firing(name, (slot - _EPOCH) // _MS, self._encode(entry.call, server))
                for name, entry in due.items()
                for slot in entry.cron.pending(self._last[name], server)
            ]
        )
        # If the server's clock was set back, the slots that it refused are still to come.
        until = min(server, self._clock())
        for name, entry in due.items():
            self._due[name] = entry.cron.after(until)
        pause = (min(self._due.values()) - self._clock()).total_seconds()
        return max(0.0, min(pause, CHECK_S))

    def _encode(self, call: Call, now: datetime) -> OutgoingMessage:
        (outgoing,) = self._encoder.encode([call]).messages
        if (expires_ms := outgoing.destination.expires_ms) is None:
            return outgoing
        until_ms = (now - _EPOCH) // _MS + expires_ms
        return structs.replace(outgoing, message=with_expiry(outgoing.message, until_ms))

    def _log_skipped(self, now: datetime) -> None:
        """Warn once of slots that are too late to fire, if the entry does not catch up."""
        for name, entry in self._entries.items():
            late, cron = now - LATE, entry.cron
            is_due = self._due.get(name, now) <= now
            if is_due and cron.catch_up == "skip" and cron.after(self._last[name]) <= late:
                slot = cron.last(late)
                if slot > self._skipped.get(name, _EPOCH):
                    self._skipped[name] = slot
                    text = "cron slot missed; skipped"
                    event(logging.WARNING, text, entry=name, slot=slot.isoformat())

    def _send(self, firings: Sequence[Firing]) -> None:
        if not firings:
            return
        fired = self._broker.call(cron(self._broker.keys, firings, self._schemas))
        # Without the time that the reply took: our copy of that clock must never be ahead.
        server = _EPOCH + fired.now_ms * _MS
        self._monotonic_zero = server - timedelta(seconds=time.monotonic())
        for firing, (last_ms, now) in zip(firings, fired.slots, strict=True):
            self._last[firing.entry] = _EPOCH + last_ms * _MS
            if now:
                slot = self._last[firing.entry].isoformat()
                event(logging.DEBUG, "cron fired", entry=firing.entry, slot=slot)

    def _clock(self) -> datetime:
        return self._monotonic_zero + timedelta(seconds=time.monotonic())
