"""Messages that nobody enqueues for one worker: slots of cron entries, and broadcasts to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.operations import LANE_TTL_S, Accepted, OutgoingMessage, accepted
from typedq.broker.script import Argument, Operation, in_groups, number, script, text

KEPT_MS = 3_600_000
OWN_TTL_S = 3_600
MOST_DELIVERED = 500


class Firing(NamedTuple):
    """A slot of a cron entry, in ms since the epoch, and its message; without one it only asks."""

    entry: str
    slot_ms: int = 0
    outgoing: OutgoingMessage | None = None


class Fired(NamedTuple):
    """Answer to cron: for each firing the last slot of its entry, and whether it was fired now."""

    now_ms: int
    slots: list[tuple[int, bool]]


def cron(keys: Keys, firings: Sequence[Firing], schemas: Mapping[str, bytes]) -> Operation[Fired]:
    """Fire slots, those of one entry in their order; `schemas` are the contracts of all."""
    places: dict[str, int] = {}
    words: list[Argument] = []
    for entry, slot_ms, out in firings:
        if out is None:
            words += (entry, 0, 0, "", "")
        else:
            place = places.setdefault(out.way.queue, len(places) + 1)
            words += (entry, slot_ms, place, out.way.contract, out.message)
    published = [part for pair in schemas.items() for part in pair]
    return Operation(
        script("cron"),
        [keys.cron, keys.contracts, keys.counts, *keys.lines(places)],
        [len(schemas), *published, *words],
        lambda reply: Fired(reply[0], [(ms, bool(now)) for ms, now in in_groups(reply[1:], 2)]),
    )


def last_slots(keys: Keys) -> Operation[dict[str, int]]:
    """Every cron entry that ever fired: name -> its last slot, in ms since the epoch."""
    return Operation(
        "HGETALL",
        [keys.cron],
        [],
        lambda reply: {text(name): number(ms) for name, ms in reply.items() if number(ms) > 0},
    )


def broadcast(
    keys: Keys, lane: str, seq: int, message: OutgoingMessage, schemas: Mapping[str, bytes]
) -> Operation[Accepted]:
    """Accept a message for every supervisor, as `enqueue` accepts one for a queue."""
    published = [part for pair in schemas.items() for part in pair]
    return Operation(
        script("broadcast"),
        [keys.lane(lane), keys.contracts, keys.stats, keys.broadcasts],
        [seq, LANE_TTL_S, KEPT_MS, message.way.contract, message.message, *published],
        accepted,
    )


class Heard(NamedTuple):
    """A supervisor's place among the broadcasts: the entry's id, "" for none yet, and its number.

    delivered, missed: by the move that answered this
    """

    id: str = ""
    number: int = 0
    delivered: int = 0
    missed: int = 0


def deliver(keys: Keys, queue: str, heard: Heard) -> Operation[Heard]:
    """Put what is new into a supervisor's own queue, at most `MOST_DELIVERED`."""
    return Operation(
        script("deliver"),
        [keys.broadcasts, keys.heard(queue), keys.stats, *keys.lines([queue])],
        [queue, heard.id, heard.number, OWN_TTL_S],
        lambda reply: Heard(reply[0].decode(), *reply[1:]),
    )


def abandon(keys: Keys, queue: str) -> Operation[None]:
    """Drop the queue of a supervisor that is gone, with what it did not come to."""
    return Operation("UNLINK", [*keys.lines([queue]), keys.heard(queue)], [], lambda _: None)
