"""What operators see and do: reads that change nothing, and moves on dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.script import Operation, in_groups, number, script, text


class Session(NamedTuple):
    """A running child process; `expires_ms` is the end of its lease on the server's clock."""

    name: str
    expires_ms: int


def sessions(keys: Keys) -> Operation[list[Session]]:
    """Every session that is not yet ended, the next to expire first."""
    return Operation(
        "ZRANGE",
        [keys.sessions],
        [0, -1, "WITHSCORES"],
        lambda reply: [Session(text(name), number(ms)) for name, ms in reply],
    )


def publish(keys: Keys, schemas: Mapping[str, bytes]) -> Operation[None]:
    """Make contracts known: contract id -> its schema as JSON."""
    words = [word for pair in schemas.items() for word in pair]
    return Operation("HSET", [keys.contracts], words, lambda _: None)


def schema(keys: Keys, contract: str) -> Operation[bytes | None]:
    """The schema of a contract id, or None if nobody published it."""
    return Operation("HGET", [keys.contracts], [contract], lambda reply: reply)


def contracts(keys: Keys) -> Operation[dict[str, bytes]]:
    """Every contract ever published: contract id -> its schema as JSON."""
    return Operation(
        "HGETALL",
        [keys.contracts],
        [],
        lambda reply: {text(id): schema for id, schema in reply.items()},
    )


class QueueStats(NamedTuple):
    """One queue; `oldest` is the header of the message at the head, b"" if none."""

    ready: int
    oldest: bytes
    delayed: int
    next_due_ms: int | None


class Stats(NamedTuple):
    """How much waits where; `counts` is by contract, `stats` since the server was empty."""

    now_ms: int
    in_flight: int
    dead: int
    stats: dict[str, int]
    counts: dict[str, int]
    workers: dict[str, bytes]
    queues: dict[str, QueueStats]


def survey(keys: Keys, queues: Sequence[str], sessions: Sequence[str]) -> Operation[Stats]:
    """Look at everything once; `sessions` are those whose messages in flight are counted."""

    def parse(reply: list[Any]) -> Stats:
        now, flying, dead, stats, counts, workers, *depths = reply
        return Stats(
            now,
            flying,
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
            *map(keys.flight, sessions),
            *keys.lines(queues),
        ],
        [len(sessions)],
        parse,
    )


class Grave(NamedTuple):
    """Where a dead letter lies."""

    id: str
    died_ms: int


def graves(keys: Keys, first: int = 0, last: int = 499) -> Operation[list[Grave]]:
    """Dead letters by place, youngest first."""
    return Operation(
        "ZRANGE",
        [keys.dead],
        [first, last, "REV", "WITHSCORES"],
        lambda reply: [Grave(text(id), number(ms)) for id, ms in reply],
    )


class Letter(NamedTuple):
    """A dead letter: `reason` is a line of JSON, `message` the bytes as they were."""

    reason: bytes
    message: bytes


def letters(keys: Keys, ids: Sequence[str]) -> Operation[list[Letter | None]]:
    """Dead letters by id, at least one; None for each that is no more."""
    return Operation(
        "HMGET",
        [keys.dead_letters],
        list(ids),
        lambda reply: [text and Letter(*text.split(b"\n", 1)) for text in reply],
    )


class Revived(NamedTuple):
    """How many live again, and the ids of those that are no message of a known queue."""

    revived: int
    impossible: list[str]


def requeue(keys: Keys, queues: Sequence[str], ids: Sequence[str]) -> Operation[Revived]:
    """Give at most 500 dead letters a new life."""
    return Operation(
        script("requeue"),
        [keys.dead, keys.dead_letters, keys.counts, *keys.lines(queues)],
        [len(queues), *queues, *ids],
        lambda reply: Revived(reply[0], [id.decode() for id in reply[1:]]),
    )


def delete(keys: Keys, ids: Sequence[str]) -> Operation[int]:
    """Drop 1 to 500 dead letters for good; answers how many."""
    return Operation(script("delete"), [keys.dead, keys.dead_letters], list(ids), int)


def purge(keys: Keys, queue: str) -> Operation[int]:
    """Drop at most 500 waiting messages of a queue; answers how many, 0 when it is empty."""
    ready, delayed, _ = keys.lines([queue])
    return Operation(script("purge"), [ready, delayed, keys.counts, keys.stats], [], int)


def pause(keys: Keys, queue: str) -> Operation[bool]:
    """Let workers take nothing more from a queue; answers whether that is new."""
    return Operation("SADD", [keys.paused], [keys.ready(queue)], bool)


def resume(keys: Keys, queue: str) -> Operation[bool]:
    """Let workers take from a queue again, within a second; answers whether it was paused."""
    return Operation("SREM", [keys.paused], [keys.ready(queue)], bool)


def paused(keys: Keys, queues: Sequence[str]) -> Operation[list[str]]:
    """Those of the queues that are paused."""
    lists = {keys.ready(queue).encode(): queue for queue in queues}
    return Operation(
        "SMEMBERS", [keys.paused], [], lambda reply: sorted(lists[r] for r in reply if r in lists)
    )


def peek(keys: Keys, queue: str, count: int) -> Operation[list[bytes]]:
    """The next messages of a queue, the next one first; they stay where they are."""
    return Operation("LRANGE", [keys.ready(queue)], [0, count - 1], list)


def workers(keys: Keys) -> Operation[dict[str, bytes]]:
    """What each worker last said of itself, as JSON."""
    return Operation(
        "HGETALL", [keys.workers], [], lambda reply: {text(k): v for k, v in reply.items()}
    )


def forget_worker(keys: Keys, name: str) -> Operation[int]:
    """Drop what a worker that is long gone said of itself."""
    return Operation("HDEL", [keys.workers], [name], int)
