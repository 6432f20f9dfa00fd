"""The moves of the state machine, each built as a value; the Lua file of the same name runs it.

Times are in ms, on the server's clock; delays travel as delays. Messages are opaque bytes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple

import msgspec

from typedq.broker import settlements
from typedq.broker.keys import Keys
from typedq.broker.script import Argument, Operation, in_groups, script, text

LANE_TTL_S, CALLED_BACK_TTL_S = 3_600, 60
NO_MESSAGE = b'{"kind":"garbage","error":"these bytes are not a message; see docs/protocol.md"}'
NO_QUEUE = b'{"kind":"unknown_queue","error":"the session that held it did not serve its queue"}'
CRASHED = b'{"kind":"crashed","error":"the process died while it ran this task alone, too often"}'
LOST = b'{"kind":"lost","error":"its worker was lost while it held this message, too often"}'


class Destination(NamedTuple):
    """Where messages go, and when: `delay_ms` and `eta_ms` (since the epoch) exclude each other.

    broadcast_to_all: a broadcast, alone in its batch
    """

    queue: str
    contract: str
    delay_ms: int | None = None
    eta_ms: int | None = None
    broadcast_to_all: bool = False


# A Struct, because a NamedTuple takes four times as long to make.
class OutgoingMessage(msgspec.Struct, frozen=True, gc=False):
    """A message on its way in; those of a kind best share the object that is their way."""

    id: str
    way: Destination
    message: bytes


@dataclass(frozen=True, slots=True)
class DeadBounds:
    """How many dead letters are kept, and for how long (ms)."""

    count: int = 100_000
    age_ms: int = 30 * 86_400_000


DEFAULT_BOUNDS = DeadBounds()


class Accepted(NamedTuple):
    """Answer to enqueue; `unknown` are the contracts to publish first."""

    status: Literal["accepted", "seen", "unknown"]
    unknown: tuple[str, ...] = ()


_ACCEPTED, _NO_WAY = Accepted("accepted"), Destination("", "")


def _due(way: Destination) -> tuple[str, int]:
    if way.delay_ms is not None:
        return "delay", way.delay_ms
    return ("now", 0) if way.eta_ms is None else ("eta", way.eta_ms)


def enqueue(
    keys: Keys, lane: str, seq: int, batch: Sequence[OutgoingMessage], schemas: Mapping[str, bytes]
) -> Operation[Accepted]:
    """Accept a batch, all or none; `schemas` are the contracts to publish with it."""
    places: dict[str, int] = {}
    groups: list[Argument] = []
    way, first = _NO_WAY, 0
    for out in batch:
        if out.way is not way and out.way != way:
            if first:  # the group before is complete: how many it has
                groups[first - 1] = len(groups) - first
            way = out.way
            groups += (places.setdefault(way.queue, len(places) + 1), *_due(way), way.contract, 0)
            first = len(groups)
        groups.append(out.message)
    if first:
        groups[first - 1] = len(groups) - first
    published = [part for pair in schemas.items() for part in pair]
    return Operation(
        script("enqueue"),
        [keys.lane(lane), keys.contracts, keys.counts, keys.supervisors, *keys.lines(places)],
        [seq, LANE_TTL_S, len(schemas), *published, *groups],
        accepted,
    )


def accepted(reply: list[bytes]) -> Accepted:
    """Read what `enqueue` and `broadcast` answer."""
    if reply == [b"accepted"]:
        return _ACCEPTED
    status: Any = reply[0].decode()
    return Accepted(status, tuple([contract.decode() for contract in reply[1:]]))


class Worked(NamedTuple):
    """Answer to work and look; `alive` is False when the session was ended by others.

    settled: None where nothing was done: what is in flight differs from `AckAll`; or it was a look,
        which leaves all else than the plain case to `work`, also a session that has ended
    """

    alive: bool
    settled: int | None
    messages: list[bytes]


def settle_and_fetch(
    keys: Keys,
    session: str,
    queues: Sequence[str],
    *,
    settle: Iterable[settlements.Settlement | settlements.AckAll] = (),
    want: int = 0,
    token: str | None = None,
    bounds: DeadBounds = DEFAULT_BOUNDS,
) -> Operation[Worked]:
    """Settle, then fetch up to `want`; `token` is the queue whose wake token was taken."""

    def place(queue: str) -> int:
        return queues.index(queue) + 1

    words = [word for s in settle for word in s.words(place)]
    return Operation(
        script("settle_and_fetch"),
        [
            *(keys.sessions, keys.flight(session), keys.counts, keys.dead, keys.dead_letters),
            *(keys.stats, keys.supervisors, keys.paused, *keys.lines(queues)),
        ],
        [
            session,
            want,
            place(token) if token else 0,
            bounds.count,
            bounds.age_ms,
            NO_MESSAGE,
            *words,
        ],
        worked,
    )


def fetch_idle(keys: Keys, session: str, queues: Sequence[str], want: int) -> Operation[Worked]:
    """Fetch up to `want` for an idle worker, asked before it is known whose token will be taken."""
    return Operation(
        script("fetch_idle"),
        [keys.sessions, keys.flight(session), keys.paused, *keys.lines(queues)],
        [session, want],
        worked,
    )


def wake_worker(token: str) -> Operation[None]:
    """End a wait for tokens that include this one, which nobody else waits for."""
    return Operation(script("wake_worker"), [token], [CALLED_BACK_TTL_S], lambda _: None)


def worked(reply: list[Any]) -> Worked:
    """Read what `work`, `look` and `unpark` answer."""
    if reply[0] != b"ok":
        return Worked(False, 0, []) if reply[0] == b"gone" else Worked(True, None, [])
    lists: list[list[bytes]] = reply[2:]
    return Worked(True, reply[1], lists[0] if len(lists) == 1 else list(chain(*lists)))


def open(
    keys: Keys, sessions: Sequence[str], queues: Sequence[str], lease_ms: int
) -> Operation[int]:
    """Start sessions that serve `queues`; answers how many are new."""
    return Operation(
        script("open"),
        [keys.sessions, keys.session_queues],
        [lease_ms, " ".join(queues), *sessions],
        int,
    )


def renew(
    keys: Keys, sessions: Sequence[str], lease_ms: int, supervisor: str, about: bytes
) -> Operation[tuple[bool, list[str]]]:
    """Extend leases; answers if the supervisor was unknown, and sessions that others have ended."""
    return Operation(
        script("renew"),
        [keys.sessions, keys.pardoned, keys.workers],
        [lease_ms, supervisor, about, *sessions],
        lambda reply: (bool(reply[0]), [session.decode() for session in reply[1:]]),
    )


class Rotated(NamedTuple):
    """Answer to rotate; `kept` is False when the old session had been ended by others."""

    kept: bool
    messages: list[bytes]


def replace_session(
    keys: Keys, old: str, fresh: str, queues: Sequence[str], lease_ms: int
) -> Operation[Rotated]:
    """Go on under a fresh session id after a lost reply; answers everything in flight."""
    return Operation(
        script("replace_session"),
        [keys.sessions, keys.session_queues, keys.flight(old), keys.flight(fresh), keys.pardoned],
        [old, fresh, lease_ms, " ".join(queues)],
        lambda reply: Rotated(reply[0] == b"kept", reply[1:]),
    )


Fate = Literal["done", "crash", "lost", "back"]


class Reaped(NamedTuple):
    """Answer to reap; `alive` means that the lease still runs and nothing was done."""

    alive: bool
    done: int = 0
    buried: int = 0
    back: int = 0


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
) -> Operation[Reaped]:
    """End a session; `fates` (by message id) come from its journal, `others` is for the rest."""
    named = [word for id, fate in (fates or {}).items() for word in (fate, id)]
    return Operation(
        script("recover_session"),
        [
            *(keys.sessions, keys.session_queues, keys.flight(session), keys.counts, keys.dead),
            *(keys.dead_letters, keys.stats, keys.pardoned, *keys.lines(queues)),
        ],
        [
            *(session, "owner" if owner else "expired", crashes, losses, bounds.count),
            *(bounds.age_ms, crashed, LOST, NO_QUEUE, others, len(queues), *queues, *named),
        ],
        lambda reply: Reaped(True) if reply[0] == b"alive" else Reaped(False, *reply[1:]),
    )


class Ticked(NamedTuple):
    """Answer to tick; `expired` are (session, its queues)."""

    next_due_ms: int | None
    moved: int
    expired: list[tuple[str, list[str]]]


def tick(keys: Keys, queues: Sequence[str], *, grace_ms: int, lease_ms: int) -> Operation[Ticked]:
    """Keep time for everybody; at most 500 messages become ready."""
    return Operation(
        script("tick"),
        [keys.sessions, keys.session_queues, keys.pardoned, keys.last_tick, *keys.lines(queues)],
        [grace_ms, lease_ms],
        lambda reply: Ticked(
            None if reply[0] < 0 else reply[0],
            reply[1],
            [(text(s), text(q).split()) for s, q in in_groups(reply[2:], 2)],
        ),
    )
