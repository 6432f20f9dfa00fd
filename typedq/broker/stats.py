"""Operations for administration: statistics, dead letters, pausing, worker reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.script import Operation, as_map, as_pairs, in_groups, number, script, text


class Session(NamedTuple):
    """The session of a child process; `expires_ms`: when its lease ends, on the server's clock."""

    name: str
    expires_ms: int


def sessions(keys: Keys) -> Operation[list[Session]]:
    """Return every session that has not ended, the next to expire first."""
    return Operation(
        "ZRANGE",
        [keys.sessions],
        [0, -1, "WITHSCORES"],
        lambda reply: [Session(text(name), number(ms)) for name, ms in as_pairs(reply)],
    )


def publish(keys: Keys, schemas: Mapping[str, bytes]) -> Operation[None]:
    """Publish contracts: contract id -> its schema as JSON."""
    words = [word for pair in schemas.items() for word in pair]
    return Operation("HSET", [keys.contracts], words, lambda _: None)


def schema(keys: Keys, contract: str) -> Operation[bytes | None]:
    """Return the schema of a contract id, or None if it was never published."""
    return Operation("HGET", [keys.contracts], [contract], lambda reply: reply)


def contracts(keys: Keys) -> Operation[dict[str, bytes]]:
    """Return every published contract: contract id -> its schema as JSON."""
    return Operation(
        "HGETALL",
        [keys.contracts],
        [],
        lambda reply: {text(id): schema for id, schema in as_map(reply).items()},
    )


class QueueStats(NamedTuple):
    """One queue; `oldest` is the header of the message at the head, b"" if none."""

    ready: int
    oldest: bytes
    delayed: int
    next_due_ms: int | None


class Stats(NamedTuple):
    """Message counts; `counts` is by contract, `stats` since the server was empty."""

    now_ms: int
    in_flight: int
    dead: int
    stats: dict[str, int]
    counts: dict[str, int]
    workers: dict[str, bytes]
    queues: dict[str, QueueStats]


def survey(keys: Keys, queues: Sequence[str], sessions: Sequence[str]) -> Operation[Stats]:
    """Count messages by state; `sessions` are those whose messages in flight are counted."""

    def parse(reply: list[Any]) -> Stats:
        now, in_flight, dead, stats, counts, workers, *depths = reply
        return Stats(
            now,
            in_flight,
            dead,
            {text(k): number(v) for k, v in in_groups(stats, 2)},
            {text(k): number(v) for k, v in in_groups(counts, 2)},
            {text(k): v for k, v in in_groups(workers, 2)},
            {
                queue: QueueStats(ready, oldest, delayed, number(due) if due else None)
                for queue, (ready, oldest, delayed, due) in zip(
                    queues, in_groups(depths, 4), strict=True
                )
            },
        )

    return Operation(
        script("survey"),
        [
            *(keys.sessions, keys.dead, keys.stats, keys.counts, keys.workers),
            *map(keys.in_flight, sessions),
            *keys.queue_keys(queues),
        ],
        [len(sessions)],
        parse,
    )


class DeadEntry(NamedTuple):
    """The id of a dead letter, and when it became one (server ms)."""

    id: str
    died_ms: int


def list_dead(keys: Keys, first: int = 0, last: int = 499) -> Operation[list[DeadEntry]]:
    """Return the ids of dead letters by index, newest first."""
    return Operation(
        "ZRANGE",
        [keys.dead],
        [first, last, "REV", "WITHSCORES"],
        lambda reply: [DeadEntry(text(id), number(ms)) for id, ms in as_pairs(reply)],
    )


class DeadMessage(NamedTuple):
    """A dead letter: `reason` is a line of JSON, `message` the unchanged bytes.

    An entry without a line break was not written by typedq: its reason is empty.
    """

    reason: bytes
    message: bytes


def read_dead(keys: Keys, ids: Sequence[str]) -> Operation[list[DeadMessage | None]]:
    """Return dead letters by id, at least one; None for each that is gone."""
    return Operation(
        "HMGET",
        [keys.dead_letters],
        list(ids),
        lambda reply: [None if raw is None else split_dead(raw) for raw in reply],
    )


def split_dead(raw: bytes) -> DeadMessage:
    """Return the reason and the message of a stored dead letter."""
    reason, line_break, message = raw.partition(b"\n")
    return DeadMessage(reason, message) if line_break else DeadMessage(b"", raw)


def died_at(keys: Keys, id: str) -> Operation[int | None]:
    """Return when a message became a dead letter (server ms); None if it is gone."""
    return Operation(
        "ZSCORE", [keys.dead], [id], lambda reply: None if reply is None else number(reply)
    )


class Requeued(NamedTuple):
    """How many were requeued, and the ids that are not a message of a known queue."""

    requeued: int
    rejected: list[str]


def requeue(keys: Keys, queues: Sequence[str], ids: Sequence[str]) -> Operation[Requeued]:
    """Make at most 500 dead letters ready again, with all counts reset."""
    return Operation(
        script("requeue"),
        [keys.dead, keys.dead_letters, keys.counts, *keys.queue_keys(queues)],
        [len(queues), *queues, *ids],
        lambda reply: Requeued(reply[0], [id.decode() for id in reply[1:]]),
    )


def delete(keys: Keys, ids: Sequence[str]) -> Operation[int]:
    """Delete 1 to 500 dead letters; return how many."""
    return Operation(script("delete"), [keys.dead, keys.dead_letters], list(ids), int)


def purge(keys: Keys, queue: str) -> Operation[int]:
    """Drop at most 500 waiting messages of a queue; return how many, 0 if it is empty."""
    ready, delayed, _ = keys.queue_keys([queue])
    return Operation(script("purge"), [ready, delayed, keys.counts, keys.stats], [], int)


def pause(keys: Keys, queue: str) -> Operation[bool]:
    """Stop workers from fetching from a queue; return False if it was paused already."""
    return Operation("SADD", [keys.paused], [keys.ready(queue)], bool)


def resume(keys: Keys, queue: str) -> Operation[bool]:
    """Let workers fetch from a queue again, within a second; return False if it was not paused."""
    return Operation("SREM", [keys.paused], [keys.ready(queue)], bool)


def paused(keys: Keys, queues: Sequence[str]) -> Operation[list[str]]:
    """Return those of the queues that are paused."""
    lists = {keys.ready(queue).encode(): queue for queue in queues}
    return Operation(
        "SMEMBERS", [keys.paused], [], lambda reply: sorted(lists[r] for r in reply if r in lists)
    )


def peek(keys: Keys, queue: str, count: int) -> Operation[list[bytes]]:
    """Return the next messages of a queue, the head first, without removing them."""
    return Operation("LRANGE", [keys.ready(queue)], [0, count - 1], list)


def workers(keys: Keys) -> Operation[dict[str, bytes]]:
    """Return the last report of each worker, as JSON."""
    return Operation(
        "HGETALL", [keys.workers], [], lambda reply: {text(k): v for k, v in as_map(reply).items()}
    )


def delete_worker(keys: Keys, name: str) -> Operation[int]:
    """Delete the report of a worker that ended long ago."""
    return Operation("HDEL", [keys.workers], [name], int)
