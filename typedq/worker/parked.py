"""Parked messages that this child can read: found every 2 s, then fetched like a queue."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import final

from typedq.broker import DedicatedClient
from typedq.broker.parking import Group, groups, split_format
from typedq.errors import ServerError
from typedq.message import FORMAT
from typedq.telemetry import event
from typedq.worker.readers import ContractReaders

FIND_S = 2.0


@final
class ParkedGroups:
    """The groups to fetch from, in turn with the queues, so that neither starves the other."""

    def __init__(
        self, client: DedicatedClient, readers: ContractReaders, queues: Sequence[str]
    ) -> None:
        self._client, self._readers, self._queues = client, readers, queues
        self.groups = deque[Group]()  # in which something may be left
        self.find_at = 0.0  # when to search again (monotonic)
        self._is_turn = False

    def next(self) -> Group | None:
        """Return a group to fetch from now, or None for the queues."""
        now = time.monotonic()
        if now >= self.find_at:
            self.find_at = now + FIND_S
            self._find()
        self._is_turn = not self._is_turn and bool(self.groups)
        if not self._is_turn:
            return None
        # Any of the first queue: one that is filled as fast as it is read must not hide the others.
        return random.choice([g for g in self.groups if g.queue == self.groups[0].queue])

    def leave_out(self, group: Group) -> None:
        """Leave a group out until the next search: it is empty, or its queue is paused."""
        self.groups.remove(group)

    def _find(self) -> None:
        try:
            found = self._client.call(groups(self._client.keys))
            readable = [group for group in found if self._can_read(group)]
        except ServerError:
            return  # the next `sync` says what is wrong
        if readable and not self.groups:
            names = ", ".join(map(str, readable))
            event(logging.INFO, "fetching parked messages: this worker reads them", groups=names)
        self.groups = deque(sorted(readable, key=lambda group: self._queues.index(group.queue)))

    def _can_read(self, group: Group) -> bool:
        contract, format = split_format(group.contract)
        if format > FORMAT or group.queue not in self._queues:
            return False
        return self._readers.of(contract.encode()) is not None
