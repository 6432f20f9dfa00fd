"""All keys that typedq uses in Redis. No other file builds one.

All keys of a namespace share the hash tag `{namespace}`, so one node of a Cluster holds them all
and scripts can use any of them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final


@final
class Keys:
    """The keys of one namespace. `docs/protocol.md` says what each holds."""

    def __init__(self, namespace: str) -> None:
        tag = f"{{{namespace}}}"
        self.tag = tag
        self.sessions = f"{tag}:sessions"
        self.session_queues = f"{tag}:session_queues"
        self.lease_extended = f"{tag}:pardoned"
        self.last_tick = f"{tag}:last_tick"
        self.contracts = f"{tag}:contracts"
        self.counts = f"{tag}:counts"
        self.dead = f"{tag}:dead"
        self.dead_letters = f"{tag}:dead_letters"
        self.stats = f"{tag}:stats"
        self.workers = f"{tag}:workers"
        self.paused = f"{tag}:paused"
        self.parked_groups = f"{tag}:parked"
        self.cron = f"{tag}:cron"
        self.cron_paused = f"{tag}:cron_paused"
        self.broadcasts = f"{tag}:broadcasts"
        self.cancellations = f"{tag}:cancellations"
        self.supervisors = f"{tag}:wake_supervisors"

    @property
    def of_enqueue(self) -> tuple[str, str, str]:
        """Return the keys of every enqueue, beside those of its queue."""
        return self.contracts, self.counts, self.supervisors

    def ready(self, queue: str) -> str:
        """Return the key of a list of messages; the head is next."""
        return f"{self.tag}:ready:{queue}"

    def delayed(self, queue: str) -> str:
        """Return the key of a sorted set of messages by due time (server ms)."""
        return f"{self.tag}:delayed:{queue}"

    def wake(self, queue: str) -> str:
        """Return the key of a list of 0 or 1 wake tokens; idle workers block on it."""
        return f"{self.tag}:wake:{queue}"

    def parked(self, queue: str, group: str) -> str:
        """Return the key of a list of messages that wait for a worker that can read them."""
        return f"{self.tag}:parked:{queue}:{group}"

    def in_flight(self, session: str) -> str:
        """Return the key of a hash of the messages of one session by id."""
        return f"{self.tag}:flight:{session}"

    def broadcast_cursor(self, queue: str) -> str:
        """Return the key of the last broadcast that a supervisor copied; it expires."""
        return f"{self.tag}:heard:{queue}"

    def sequence(self, producer: str) -> str:
        """Return the key of the last sequence number of a producer id; it expires."""
        return f"{self.tag}:sequence:{producer}"

    def unique(self, key: str) -> str:
        """Return the key of the id of the message that holds a unique key; it expires."""
        return f"{self.tag}:unique:{key}"

    def queue_keys(self, queues: Iterable[str]) -> list[str]:
        """Return ready, delayed and wake of each queue, in the order that scripts expect."""
        found: list[str] = []
        for queue in queues:
            found += (self.ready(queue), self.delayed(queue), self.wake(queue))
        return found
