"""Operations of sessions and producers. Each runs the Lua script of the same name.

Times are in ms on the server's clock. Delays are sent as delays. Messages are opaque bytes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from typedq.broker.keys import Keys
from typedq.broker.script import Argument, Operation, in_groups, script, text
from typedq.message import Destination, OutgoingMessage
from typedq.reasons import CRASHED, LOST, NO_QUEUE

SEQUENCE_TTL_S, WAKE_WORKER_TTL_S = 3_600, 60


@dataclass(frozen=True, slots=True)
class DeadBounds:
    """How many dead letters are kept, and for how long (ms)."""

    count: int = 100_000
    age_ms: int = 30 * 86_400_000


DEFAULT_BOUNDS = DeadBounds()


class Accepted(NamedTuple):
    """Reply to enqueue; `unknown` are the contracts to publish first.

    duplicates: id of a message that was not accepted -> id of the one that holds its unique key
    """

    status: Literal["accepted", "seen", "unknown"]
    unknown: tuple[str, ...] = ()
    duplicates: Mapping[str, str] = {}


_ACCEPTED, _destination = Accepted("accepted"), attrgetter("destination")


def _due(destination: Destination) -> tuple[str, int]:
    if destination.delay_ms is not None:
        return "delay", destination.delay_ms
    return ("now", 0) if destination.eta_ms is None else ("eta", destination.eta_ms)


def enqueue(
    keys: Keys,
    producer: str,
    seq: int,
    batch: Sequence[OutgoingMessage],
    schemas: Mapping[str, bytes],
    *,
    general: bool = False,
) -> Operation[Accepted]:
    """Enqueue a batch, all or none; `schemas` are the contracts to publish with it.

    general: use the general form of the arguments, even if the short one would do
    """
    is_short = len(batch) == 1 and not (schemas or general) and batch[0].destination.is_plain
    if is_short:
        to = batch[0].destination
        places = _keys_of_one(keys, producer, to.queue)
        words: Sequence[Argument] = (to.contract, batch[0].message)
    else:
        queues, words = _groups(keys, batch, schemas)
        places = (keys.sequence(producer), *keys.of_enqueue, *queues)
    args = (seq, SEQUENCE_TTL_S, *words)
    return Operation(script("enqueue"), places, args, accepted, is_short)


@lru_cache(maxsize=1_000)  # once for each connection and queue, not for each message
def _keys_of_one(keys: Keys, producer: str, queue: str) -> tuple[str, ...]:
    return (keys.sequence(producer), *keys.of_enqueue, *keys.queue_keys((queue,)))


def _groups(
    keys: Keys, batch: Sequence[OutgoingMessage], schemas: Mapping[str, bytes]
) -> tuple[list[str], list[Argument]]:
    """Return the keys of queues and unique keys, and the schemas and groups of messages."""
    published = [part for pair in schemas.items() for part in pair]
    words: list[Argument] = [len(schemas), *published]
    places: dict[str, int] = {}
    uniques: dict[str, int] = {}
    for destination, group in groupby(batch, _destination):
        messages = [out.message for out in group]
        if destination.unique:
            key, ttl_ms = destination.unique
            words += ("unique", uniques.setdefault(keys.unique(key), len(uniques)), ttl_ms)
        if destination.expires_ms is not None:
            words += ("expires", destination.expires_ms)
        place = places.setdefault(destination.queue, len(places) + 1)
        words += (place, *_due(destination), destination.contract, len(messages), *messages)
    return [*keys.queue_keys(places), *reversed(uniques)], words


def accepted(reply: list[bytes]) -> Accepted:
    """Parse the reply of the scripts enqueue and broadcast."""
    if reply == [b"accepted"]:
        return _ACCEPTED
    status: Any = reply[0].decode()
    words = [word.decode() for word in reply[1:]]
    if status == "unknown":
        return Accepted(status, tuple(words))
    if status not in ("accepted", "seen"):
        raise ValueError(status)
    return Accepted(status, duplicates=dict(in_groups("".join(words).split(), 2)))


def wake_worker(token: str) -> Operation[None]:
    """End the BLPOP of the one worker that waits for this token."""
    return Operation(script("wake_worker"), [token], [WAKE_WORKER_TTL_S], lambda _: None)


def open(
    keys: Keys, sessions: Sequence[str], queues: Sequence[str], lease_ms: int
) -> Operation[int]:
    """Start sessions that serve `queues`; return how many are new."""
    return Operation(
        script("open"),
        [keys.sessions, keys.session_queues],
        [lease_ms, " ".join(queues), *sessions],
        int,
    )


def renew(
    keys: Keys, sessions: Sequence[str], lease_ms: int, supervisor: str, report: bytes
) -> Operation[tuple[bool, list[str]]]:
    """Extend leases and record that a supervisor is alive.

    report: a JSON object that is not empty; b"" removes the supervisor from the list of workers

    Return True if the supervisor was not in that list, and the sessions that others have ended.
    """
    return Operation(
        script("renew"),
        [keys.sessions, keys.lease_extended, keys.workers],
        [lease_ms, supervisor, report, *sessions],
        lambda reply: (bool(reply[0]), [session.decode() for session in reply[1:]]),
    )


class Replaced(NamedTuple):
    """Reply to replace_session; `kept` is False if others had ended the old session."""

    kept: bool
    messages: list[bytes]


def replace_session(
    keys: Keys, old: str, fresh: str, queues: Sequence[str], lease_ms: int
) -> Operation[Replaced]:
    """Continue under a fresh session id after a lost reply; return everything in flight."""
    return Operation(
        script("replace_session"),
        [
            keys.sessions,
            keys.session_queues,
            keys.in_flight(old),
            keys.in_flight(fresh),
            keys.lease_extended,
        ],
        [old, fresh, lease_ms, " ".join(queues)],
        lambda reply: Replaced(reply[0] == b"kept", reply[1:]),
    )


# What recover_session does with a message of a process that died.
# done   it had succeeded: acknowledge it
# crash  it ran alone, or beyond its hard timeout: count a crash; it runs alone from now on
# lost   it ran beside others, or that is unknown: count a loss; it runs alone from the second on
# back   it had not started, or another message caused the death: return it uncounted
Fate = Literal["done", "crash", "lost", "back"]


class Recovered(NamedTuple):
    """Reply to recover_session; if `alive`, the lease has not ended and nothing was done.

    done: how many messages were acknowledged; the others were dead-lettered or requeued
    """

    alive: bool
    done: int = 0
    dead_lettered: int = 0
    requeued: int = 0


def recover_session(
    keys: Keys,
    session: str,
    queues: Sequence[str],
    *,
    owner: bool,
    fates: Mapping[bytes, Fate] | None = None,
    others: Literal["back", "lost"] = "lost",
    crashes: int = 3,
    losses: int = 10,
    crashed: bytes = CRASHED,
    bounds: DeadBounds = DEFAULT_BOUNDS,
) -> Operation[Recovered]:
    """End a session. `fates`: by message id, from its journal; `others`: the fate of the rest.

    crashes, losses: how many of them make a message a dead letter, for the reasons `crashed` and
        `LOST`. A poison message kills at most two processes beside others and `crashes` alone.
    """
    named = [word for id, fate in (fates or {}).items() for word in (fate, id)]
    return Operation(
        script("recover_session"),
        [
            *(keys.sessions, keys.session_queues, keys.in_flight(session), keys.counts, keys.dead),
            *(keys.dead_letters, keys.stats, keys.lease_extended, *keys.queue_keys(queues)),
        ],
        [
            *(session, "owner" if owner else "expired", crashes, losses, bounds.count),
            *(bounds.age_ms, crashed, LOST, NO_QUEUE, others, len(queues), *queues, *named),
        ],
        lambda reply: Recovered(True) if reply[0] == b"alive" else Recovered(False, *reply[1:]),
    )


class Ticked(NamedTuple):
    """Reply to tick; `expired` are (session, its queues)."""

    next_due_ms: int | None
    moved: int
    expired: list[tuple[str, list[str]]]


def tick(keys: Keys, queues: Sequence[str], *, grace_ms: int, lease_ms: int) -> Operation[Ticked]:
    """Make at most 500 due messages ready; return the sessions whose lease has ended."""
    return Operation(
        script("tick"),
        [
            keys.sessions,
            keys.session_queues,
            keys.lease_extended,
            keys.last_tick,
            *keys.queue_keys(queues),
        ],
        [grace_ms, lease_ms],
        lambda reply: Ticked(
            None if reply[0] < 0 else reply[0],
            reply[1],
            [(text(s), text(q).split()) for s, q in in_groups(reply[2:], 2)],
        ),
    )
