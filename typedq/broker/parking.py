"""Operations of parked messages: set aside by queue and contract until a worker can read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.operations import DEFAULT_BOUNDS, DeadBounds
from typedq.broker.script import Argument, Operation, as_map, number, script, text
from typedq.broker.settlements import Fetched, fetched
from typedq.reasons import CROWDED, EXPIRED, NO_MESSAGE

MAX_GROUPS = 1_000


class Group(NamedTuple):
    """Parked messages of one queue and contract (`contract#2`: of message format 2)."""

    queue: str
    contract: str

    def __str__(self) -> str:
        return f"{self.queue} {self.contract}"


def split_format(contract: str) -> tuple[str, int]:
    """Return the contract of a group, and the format of its messages: 1 unless it says so.

    What is no number from 1 to 999 is a format that nobody reads.
    """
    contract, mark, format = contract.partition("#")
    if not mark:
        return contract, 1
    return contract, int(format) if format.isdecimal() and len(format) <= 3 else 1_000


class Parked(NamedTuple):
    """A message to be parked."""

    group: Group
    id: bytes


def park(keys: Keys, session: str, parked: Sequence[Parked], bounds: DeadBounds) -> Operation[int]:
    """Park messages of a session; return how many it still held."""
    places: dict[Group, int] = {}
    words: list[Argument] = []
    for group, id in parked:
        words += (places.setdefault(group, len(places) + 1), str(group), id)
    return Operation(
        script("park"),
        [
            *(keys.in_flight(session), keys.parked_groups, keys.counts, keys.dead),
            *(keys.dead_letters, keys.stats, *(keys.parked(*group) for group in places)),
        ],
        [MAX_GROUPS, bounds.count, bounds.age_ms, CROWDED, *words],
        int,
    )


def unpark(
    keys: Keys, session: str, group: Group, max_messages: int, bounds: DeadBounds = DEFAULT_BOUNDS
) -> Operation[Fetched]:
    """Fetch up to `max_messages` parked messages of a group, none while its queue is paused."""
    return Operation(
        script("unpark"),
        [
            *(keys.sessions, keys.in_flight(session), keys.parked_groups, keys.parked(*group)),
            *(keys.paused, keys.dead, keys.dead_letters, keys.stats),
        ],
        [
            *(session, max_messages, str(group), keys.ready(group.queue)),
            *(bounds.count, bounds.age_ms, NO_MESSAGE),
        ],
        fetched,
    )


class Released(NamedTuple):
    """How many left the group, and how many are still parked."""

    released: int
    left: int


def release(
    keys: Keys,
    group: Group,
    fate: Literal["ready", "dead", "purged"],
    *,
    before_ms: int = 1 << 52,
    bounds: DeadBounds = DEFAULT_BOUNDS,
) -> Operation[Released]:
    """End the parking of at most 500 messages, those due before `before_ms` (server ms)."""
    return Operation(
        script("release"),
        [
            *(keys.parked(*group), keys.parked_groups, keys.counts, keys.dead),
            *(keys.dead_letters, keys.stats, *keys.queue_keys([group.queue])),
        ],
        [str(group), fate, before_ms, bounds.count, bounds.age_ms, EXPIRED],
        lambda reply: Released(*reply),
    )


def groups(keys: Keys) -> Operation[dict[Group, int]]:
    """Return every group that is not empty, with the server ms at which it was created."""
    return Operation(
        "HGETALL",
        [keys.parked_groups],
        [],
        lambda reply: {
            Group(*text(field).split(" ", 1)): number(ms)
            for field, ms in as_map(reply).items()
            if b" " in field
        },
    )


def parked(keys: Keys, group: Group, first: int = 0, last: int = 499) -> Operation[list[bytes]]:
    """Return parked messages of a group by index, oldest first."""
    return Operation("LRANGE", [keys.parked(*group)], [first, last], list)


class DelayedStats(NamedTuple):
    """The last due time of each queue (server ms), and the size of each parked group."""

    last_due_ms: dict[str, int | None]
    parked: dict[Group, int]


def delayed_stats(
    keys: Keys, queues: Sequence[str], groups: Collection[Group]
) -> Operation[DelayedStats]:
    """Return the last due time of queues and the size of groups; at least one key in all."""

    def parse(reply: list[bytes | int]) -> DelayedStats:
        dues, counts = reply[: len(queues)], reply[len(queues) :]
        return DelayedStats(
            {q: number(due) if due else None for q, due in zip(queues, dues, strict=True)},
            {group: number(n) for group, n in zip(groups, counts, strict=True)},
        )

    lists = [*map(keys.delayed, queues), *(keys.parked(*group) for group in groups)]
    return Operation(script("delayed_stats"), lists, [len(queues)], parse)
