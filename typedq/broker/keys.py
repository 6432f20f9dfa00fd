"""Every key typedq uses in Redis, and the only file that spells one.

All keys of a namespace share the hash tag `{namespace}`, so that a namespace is one slot of a
Cluster and every script runs there as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
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
        self.broadcasts = f"{tag}:broadcasts"
        self.supervisors = f"{tag}:wake_supervisors"

    def ready(self, queue: str) -> str:
        """List of whole messages; the head is next."""
        return f"{self.tag}:ready:{queue}"

    def delayed(self, queue: str) -> str:
        """Sorted set: due time in server ms -> message."""
        return f"{self.tag}:delayed:{queue}"

    def wake(self, queue: str) -> str:
        """List of 0 or 1 wake tokens, on which idle workers block."""
        return f"{self.tag}:wake:{queue}"

    def parked(self, queue: str, group: str) -> str:
        """List of messages of one queue that wait for a worker that can read their contract."""
        return f"{self.tag}:parked:{queue}:{group}"

    def in_flight(self, session: str) -> str:
        """Hash: id -> message, of one session."""
        return f"{self.tag}:flight:{session}"

    def broadcast_cursor(self, queue: str) -> str:
        """The last broadcast of one supervisor, by its own queue; expires."""
        return f"{self.tag}:heard:{queue}"

    def lane(self, producer: str) -> str:
        """Last sequence number of one producer connection; expires."""
        return f"{self.tag}:lane:{producer}"

    def queue_keys(self, queues: Iterable[str]) -> list[str]:
        """Ready, delayed and wake of each queue: the order in which every script takes them."""
        found: list[str] = []
        for queue in queues:
            found += _queue_keys(self, queue)
        return found


@lru_cache(maxsize=1_000)  # an enqueue would spend a tenth of its time on this
def _queue_keys(keys: Keys, queue: str) -> tuple[str, str, str]:
    return keys.ready(queue), keys.delayed(queue), keys.wake(queue)
