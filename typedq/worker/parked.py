"""Parked messages that this child can read: looked for every 2 s, then fetched like a queue."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import final

from typedq.broker import Broker
from typedq.broker.parking import Group, groups
from typedq.errors import ServerError
from typedq.telemetry import event
from typedq.worker.readers import ContractReaders

LOOK_S = 2.0


@final
class ParkedGroups:
    """The groups to fetch from, in turn with the queues, so that neither starves the other."""

    def __init__(self, broker: Broker, readings: ContractReaders, queues: Sequence[str]) -> None:
        self._broker, self._readings, self._queues = broker, readings, queues
        self._groups = deque[Group]()
        self._look_at = 0.0
        self._turn = False

    def __bool__(self) -> bool:
        """Whether something may be left there."""
        return bool(self._groups)

    def next(self) -> Group | None:
        """A group to fetch from now, or None for the queues."""
        self.look()
        self._turn = not self._turn and bool(self._groups)
        if not self._turn:
            return None
        # Any of the first queue: one that is filled as fast as it is read must not hide the others.
        return random.choice([g for g in self._groups if g.queue == self._groups[0].queue])

    def look(self, early: float = 0.0) -> None:
        """Ask the server what there is, if it is time, or will be within `early` seconds."""
        now = time.monotonic()
        if now >= self._look_at - early:
            self._look_at = now + LOOK_S
            self._look()

    def is_empty(self, group: Group) -> None:
        """Nothing was left there, or its queue is paused: not before the next look."""
        self._groups.remove(group)

    def _look(self) -> None:
        try:
            found = self._broker.call(groups(self._broker.keys))
            readable = [group for group in found if self._can_read(group)]
        except ServerError:
            return  # the next exchange says what is wrong
        if readable and not self._groups:
            event(logging.INFO, "can read what was parked", groups=", ".join(map(str, readable)))
        self._groups = deque(sorted(readable, key=lambda g: self._queues.index(g.queue)))

    def _can_read(self, group: Group) -> bool:
        newer_format = "#" in group.contract
        if newer_format or group.queue not in self._queues:
            return False
        return self._readings.of(group.contract.encode()) is not None
