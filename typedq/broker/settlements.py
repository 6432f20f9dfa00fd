"""Settle what a session finished and fetch its next messages: one round trip a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from typedq.broker.keys import Keys
from typedq.broker.operations import DEFAULT_BOUNDS, DeadBounds
from typedq.broker.script import Argument, Operation, script
from typedq.reasons import NO_MESSAGE

ANY_QUEUE = "*"  # as `token`: the server may have taken the token of any of the queues


class Ack(NamedTuple):
    """Acknowledge messages of one contract, or broadcasts (contract b"")."""

    contract: bytes
    ids: Sequence[bytes]

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        return ("ack", self.contract, len(self.ids), *self.ids) if self.ids else ()


class AckAll(NamedTuple):
    """Acknowledge all messages of the session, by contract; the only settlement of its batch.

    witness: the id of one of them. If it is not in flight, or their number differs, the server
        changes nothing and `Fetched.settled` is None.
    """

    counts: Mapping[bytes, int]
    witness: bytes

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        pairs = [word for pair in self.counts.items() for word in pair]
        total = sum(self.counts.values())
        return ("ack_all", total, 1 + len(pairs), self.witness, *pairs) if total else ()


class Retry(NamedTuple):
    """Run it again after `delay_ms`; `attempts` is the new count."""

    id: bytes
    queue: str
    attempts: int
    delay_ms: int

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        place, attempts = _place(queues, self.queue), f"{self.attempts:03d}"
        return ("retry", place, self.id, attempts, self.delay_ms)


class DeadLetter(NamedTuple):
    """Make it a dead letter; `reason` is one line of JSON."""

    id: bytes
    reason: bytes

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        return ("dead_letter", self.id, self.reason)


class Discard(NamedTuple):
    """Drop it uncounted: a broadcast that this worker cannot read."""

    id: bytes

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        return ("discard", self.id)


class Cancel(NamedTuple):
    """Drop it, and count it as cancelled."""

    id: bytes

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        return ("cancel", self.id)


class Expire(NamedTuple):
    """Drop it, and count it as expired."""

    id: bytes

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        return ("expire", self.id)


class Release(NamedTuple):
    """Return it to the head of its queue, uncounted."""

    id: bytes
    queue: str

    def words(self, queues: Sequence[str]) -> Sequence[Argument]:
        """Return the arguments of the script for this settlement."""
        return ("release", _place(queues, self.queue), self.id)


Settlement = Ack | Retry | DeadLetter | Discard | Cancel | Expire | Release


class Fetched(msgspec.Struct, frozen=True):
    """Reply to settle_and_fetch and unpark; `alive` is False if others ended the session.

    settled: how many messages; None if nothing was done because `AckAll` does not match the
        messages in flight
    """

    alive: bool
    settled: int | None
    messages: list[bytes]


def settle_and_fetch(
    keys: Keys,
    session: str,
    queues: Sequence[str],
    *,
    settle: Iterable[Settlement | AckAll] = (),
    max_messages: int = 0,
    token: str | None = None,
    bounds: DeadBounds = DEFAULT_BOUNDS,
) -> Operation[Fetched]:
    """Settle, then fetch up to `max_messages`.

    token: the queue whose wake token was taken; `ANY_QUEUE` if it is pipelined after a `BLPOP`,
        whose reply is not known yet
    """
    return Operation(
        script("settle_and_fetch"),
        _keys(keys, session, tuple(queues)),
        [
            session,
            max_messages,
            -1 if token == ANY_QUEUE else _place(queues, token) if token else 0,
            bounds.count,
            bounds.age_ms,
            NO_MESSAGE,
            *[word for settlement in settle for word in settlement.words(queues)],
        ],
        fetched,
    )


@lru_cache(maxsize=100)  # once for each session, not for each batch
def _keys(keys: Keys, session: str, queues: tuple[str, ...]) -> list[str]:
    return [
        *(keys.sessions, keys.in_flight(session), keys.counts, keys.dead, keys.dead_letters),
        *(keys.stats, keys.supervisors, keys.paused, *keys.queue_keys(queues)),
    ]


def _place(queues: Sequence[str], queue: str) -> int:
    return queues.index(queue) + 1


def fetched(reply: list[Any]) -> Fetched:
    """Parse the reply of the scripts settle_and_fetch and unpark."""
    if reply[0] != b"ok":
        return Fetched(False, 0, []) if reply[0] == b"ended" else Fetched(True, None, [])
    lists: list[list[bytes]] = reply[2:]
    return Fetched(True, reply[1], lists[0] if len(lists) == 1 else list(chain(*lists)))
