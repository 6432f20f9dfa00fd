"""Broadcasts: a supervisor copies each into the queue that only its children serve."""

from __future__ import annotations

import logging
import os
from typing import final

from typedq.app import TypedQ
from typedq.broker.cron import BROADCAST_TTL_MS, MAX_DELIVERED, BroadcastCursor, abandon, deliver
from typedq.message import BROADCAST
from typedq.telemetry import event

CHECK_S = 30.0


def own_queue() -> str:
    """Return a new name for the queue of one supervisor's broadcasts."""
    return f"{BROADCAST}.{os.urandom(4).hex()}"


@final
class BroadcastConsumer:
    """Copies broadcasts into the queue that this supervisor's children serve first."""

    def __init__(self, app: TypedQ, queue: str) -> None:
        self._broker, self._queue = app.broker, queue
        self._cursor = BroadcastCursor()

    @property
    def place(self) -> tuple[str, str]:
        """Return the stream to wait for, and the cursor there."""
        return self._broker.keys.broadcasts, self._cursor.id

    def step(self, now: float) -> float:
        """Copy new broadcasts, and keep the queue from expiring."""
        self._cursor = self._broker.call(deliver(self._broker.keys, self._queue, self._cursor))
        if self._cursor.missed:
            text = "missed broadcasts: this worker was away for longer than they are kept"
            kept_s = BROADCAST_TTL_MS // 1000
            event(logging.WARNING, text, missed=self._cursor.missed, kept_s=kept_s)
        return 0.0 if self._cursor.delivered == MAX_DELIVERED else CHECK_S

    def sign_off(self) -> None:
        """Drop the broadcasts that this worker has not run."""
        self._broker.call(abandon(self._broker.keys, self._queue))
