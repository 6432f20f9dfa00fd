"""Operations of cron entries and of broadcasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.operations import SEQUENCE_TTL_S, Accepted, accepted
from typedq.broker.script import Argument, Operation, as_map, in_groups, number, script, text
from typedq.message import OutgoingMessage

BROADCAST_TTL_MS = 3_600_000
COPIES_TTL_S = 3_600
MAX_DELIVERED = 500


class Firing(NamedTuple):
    """A slot of a cron entry (ms since the epoch) and its message; without one, only read."""

    entry: str
    slot_ms: int = 0
    outgoing: OutgoingMessage | None = None


class Fired(NamedTuple):
    """Reply to cron: for each firing the time after which slots of its entry fire.

    That is its last slot, its resume, or now while it is paused; True if this call fired the slot.
    """

    now_ms: int
    slots: list[tuple[int, bool]]


def cron(keys: Keys, firings: Sequence[Firing], schemas: Mapping[str, bytes]) -> Operation[Fired]:
    """Fire slots, oldest first within an entry; `schemas`: contract id -> its schema as JSON."""
    places: dict[str, int] = {}
    words: list[Argument] = []
    for entry, slot_ms, out in firings:
        if out is None:
            words += (entry, 0, 0, "", "")
        else:
            place = places.setdefault(out.destination.queue, len(places) + 1)
            words += (entry, slot_ms, place, out.destination.contract, out.message)
    published = [part for pair in schemas.items() for part in pair]
    return Operation(
        script("cron"),
        [keys.cron, keys.contracts, keys.counts, keys.cron_paused, *keys.queue_keys(places)],
        [len(schemas), *published, *words],
        lambda reply: Fired(reply[0], [(ms, bool(now)) for ms, now in in_groups(reply[1:], 2)]),
    )


def last_slots(keys: Keys) -> Operation[dict[str, int]]:
    """Return the last slot (ms since the epoch) of every cron entry that a worker loaded, by name.

    It is 0 or less for one that has not fired.
    """
    return Operation(
        "HGETALL",
        [keys.cron],
        [],
        lambda reply: {text(name): number(ms) for name, ms in as_map(reply).items()},
    )


def switch_cron(keys: Keys, entry: str, act: Literal["pause", "resume"]) -> Operation[bool]:
    """Pause a cron entry or resume it; return False if it was so already."""
    return Operation(script("switch_cron"), [keys.cron_paused], [entry, act], bool)


def paused_cron(keys: Keys) -> Operation[dict[str, int]]:
    """Return since when (server ms) each paused cron entry has been so, by name."""
    return Operation(
        "HGETALL",
        [keys.cron_paused],
        [],
        lambda reply: {
            text(name): -number(ms) for name, ms in as_map(reply).items() if number(ms) < 0
        },
    )


def broadcast(
    keys: Keys,
    producer: str,
    seq: int,
    batch: Sequence[OutgoingMessage],
    schemas: Mapping[str, bytes],
) -> Operation[Accepted]:
    """Broadcast a message to every supervisor, with the guarantees of `enqueue`."""
    (message,) = batch
    contract = message.destination.contract
    published = [part for pair in schemas.items() for part in pair]
    return Operation(
        script("broadcast"),
        [keys.sequence(producer), keys.contracts, keys.stats, keys.broadcasts],
        [seq, SEQUENCE_TTL_S, BROADCAST_TTL_MS, contract, message.message, *published],
        accepted,
    )


class BroadcastCursor(NamedTuple):
    """The last broadcast of a supervisor: the entry's id, "" for none yet, and its number.

    delivered, missed: how many by the operation that returned this
    """

    id: str = ""
    number: int = 0
    delivered: int = 0
    missed: int = 0


def deliver(keys: Keys, queue: str, cursor: BroadcastCursor) -> Operation[BroadcastCursor]:
    """Copy new broadcasts into a supervisor's own queue, at most `MAX_DELIVERED`."""
    return Operation(
        script("deliver"),
        [keys.broadcasts, keys.broadcast_cursor(queue), keys.stats, *keys.queue_keys([queue])],
        [queue, cursor.id, cursor.number, COPIES_TTL_S],
        lambda reply: BroadcastCursor(reply[0].decode(), *reply[1:]),
    )


def abandon(keys: Keys, queue: str) -> Operation[None]:
    """Delete the queue of a supervisor that has ended, with broadcasts that did not run."""
    return Operation(
        "UNLINK", [*keys.queue_keys([queue]), keys.broadcast_cursor(queue)], [], lambda _: None
    )
