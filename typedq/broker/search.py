"""Operations that look for one message by its id, and cancel it.

No index is kept: a search reads what waits, in parts of at most 2,000 messages or about 4 MiB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.parking import Group
from typedq.broker.script import Argument, Operation, as_map, script, text
from typedq.broker.stats import split_dead

State = Literal["ready", "delayed", "in flight", "parked", "dead"]
CANCELLATIONS_TTL_S = 3_600


class Places(NamedTuple):
    """Where a message may be: sessions, queues, and parked groups."""

    sessions: Sequence[str]
    queues: Sequence[str]
    groups: Sequence[Group]


class Found(NamedTuple):
    """A message: its bytes, and where it is. `reason` is that of a dead letter, a line of JSON."""

    state: State
    message: bytes
    session: str | None = None
    queue: str | None = None
    group: Group | None = None
    reason: bytes = b""


class Part(NamedTuple):
    """What one part of a search found, and where the next begins: (key's place, offset) or None.

    looked: how many waiting messages it looked at
    """

    found: Found | None
    after: tuple[int, int] | None
    looked: int


_START = (0, 0)


def find(keys: Keys, id: str, places: Places, at: tuple[int, int] = _START) -> Operation[Part]:
    """Look for a message from `at` on; a call for which `after` is None ends the search."""
    return Operation(
        script("find"),
        [keys.dead_letters, *_keys(keys, places)],
        _arguments(id, places, at),
        lambda reply: _part(places, 1, reply),
    )


def cancel(keys: Keys, id: str, places: Places, at: tuple[int, int] = _START) -> Operation[Part]:
    """Look for a message as `find` does. Drop it if it waits; mark it if it is in flight."""
    own = [keys.dead_letters, keys.counts, keys.stats, keys.parked_groups, keys.cancellations]
    return Operation(
        script("cancel"),
        [*own, *_keys(keys, places)],
        [*_arguments(id, places, at), CANCELLATIONS_TTL_S, *map(str, places.groups)],
        lambda reply: _part(places, len(own), reply),
    )


def _keys(keys: Keys, places: Places) -> list[str]:
    return [
        *map(keys.in_flight, places.sessions),
        *map(keys.delayed, places.queues),
        *map(keys.ready, places.queues),
        *(keys.parked(*group) for group in places.groups),
    ]


def _arguments(id: str, places: Places, at: tuple[int, int]) -> list[Argument]:
    return [id, len(places.sessions), len(places.queues), *at]


def _part(places: Places, base: int, reply: list[Any]) -> Part:
    key, raw, place, offset, looked = reply
    found = _found(places, key - base - 1, raw) if key else None
    return Part(found, (place, offset) if place else None, looked)


def _found(places: Places, place: int, raw: bytes) -> Found:
    sessions, queues, groups = places
    if place < 0:
        dead = split_dead(raw)
        return Found("dead", dead.message, reason=dead.reason)
    if place < len(sessions):
        return Found("in flight", raw, session=sessions[place])
    place -= len(sessions)
    if place < 2 * len(queues):
        state: State = "delayed" if place < len(queues) else "ready"
        return Found(state, raw, queue=queues[place % len(queues)])
    group = groups[place - 2 * len(queues)]
    return Found("parked", raw, queue=group.queue, group=group)


def session_queues(keys: Keys) -> Operation[Mapping[str, Sequence[str]]]:
    """Return the queues of every session that has not ended."""
    return Operation(
        "HGETALL",
        [keys.session_queues],
        [],
        lambda reply: {text(name): text(qs).split() for name, qs in as_map(reply).items()},
    )


class Cancellations(NamedTuple):
    """Ids of messages that were cancelled while in flight; `cursor` is where to go on."""

    ids: list[bytes]
    cursor: str


def cancellations(
    keys: Keys, after: str, sessions: Collection[str] = ()
) -> Operation[Cancellations]:
    """Return the cancellations after a cursor, at most 1,000; "" starts behind the last one.

    Only those of messages that these sessions held: a dead letter that is retried has the same id.
    """
    if not after:
        return Operation(
            "XREVRANGE",
            [keys.cancellations],
            ["+", "-", "COUNT", 1],
            lambda reply: Cancellations([], text(reply[0][0]) if reply else "0-0"),
        )
    held = {keys.in_flight(name).encode() for name in sessions}

    def parse(reply: list[Any]) -> Cancellations:
        # Older versions did not say of which session.
        ids = [f[1] for _, f in reply if len(f) == 2 or f[3] in held]
        return Cancellations(ids, text(reply[-1][0]) if reply else after)

    return Operation("XRANGE", [keys.cancellations], [f"({after}", "+", "COUNT", 1000], parse)
