"""What is said to the server, in which order, and what is said again: without any I/O.

A dialogue is a generator. It yields a command or a `Pause`; the reply is sent in, an error of the
connection or the server is thrown in. `client` drives it over a sync or an async link.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeVar

from typedq.broker import operations
from typedq.broker.cron import broadcast
from typedq.broker.keys import Keys
from typedq.broker.link import Lane
from typedq.broker.script import Argument, Operation
from typedq.broker.wire import Lost, NotSent, Refused
from typedq.errors import EnqueueUncertain, ServerError, ServerRefused, ServerUnavailable

T = TypeVar("T")
Batch = Sequence[operations.OutgoingMessage]
Schema = Callable[[str], bytes]
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_WAIT_S = 0.05, 1.0, 1.0
Durability = Literal["memory", "replica", "fsync"]
_WAITS: dict[str, tuple[Argument, ...]] = {"replica": ("WAIT", 1), "fsync": ("WAITAOF", 1, 0)}
_FSYNC = "durability fsync needs Redis or Valkey 7.2, appendonly yes and appendfsync always"


class Pause(NamedTuple):
    """Wait before going on."""

    seconds: float


class Terms(NamedTuple):
    """What all enqueues of a broker have in common; `url` is for errors."""

    keys: Keys
    url: str
    deadline_s: float
    durability: Durability


Dialogue = Generator[Sequence[Argument] | Pause, Any, T]


def perform(move: Operation[T]) -> Dialogue[T]:
    """Make one move; a server that does not know the script is given its source."""
    try:
        reply = yield move.evalsha()
    except Refused as error:
        if error.code != "NOSCRIPT":
            raise
        reply = yield move.eval_source()
    return move.parse(reply)


def enqueue(
    terms: Terms, lane: Lane, batch: Batch, schema: Schema, *, patient: bool
) -> Dialogue[None]:
    """Enqueue a batch exactly once, through lost connections, until the deadline.

    `patient` is False before the first answer ever: a wrong URL is then reported at once.
    Raises `EnqueueUncertain` once it may have been accepted, else `ServerUnavailable`.
    """
    keys, url, deadline_s, durability = terms
    until, pause = time.monotonic() + deadline_s, FIRST_PAUSE_S
    sent, lacking = False, ""
    cause: BaseException | None = None
    while True:
        try:
            if lane.seq == 1 and not sent:
                yield from _check(durability, url)
            was_there = yield from _put(keys, lane, batch, schema, again=sent)
            sent, lacking = True, durability
            unwritten = keys.lane(lane.lane) if was_there else ""
            if durability == "memory" or (
                yield from _kept(durability, unwritten, until, min(LONGEST_WAIT_S, deadline_s / 2))
            ):
                lane.seq += 1
                return
        except NotSent as error:
            # Who says "not here" or "not now" is the server that was meant.
            patient = patient or isinstance(error.__cause__, Refused)
            if not sent and (not patient or time.monotonic() + pause > until):
                raise unavailable(url, error) from error
            cause = error
        except Refused as error:
            if not sent:
                raise
            cause = error
        except Lost as error:
            sent, cause = True, error
        if time.monotonic() + pause > until:
            lane.retire()
            raise EnqueueUncertain(url, [m.id for m in batch], deadline_s, lacking) from cause
        yield Pause(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _put(keys: Keys, lane: Lane, batch: Batch, schema: Schema, *, again: bool) -> Dialogue[bool]:
    """Send a batch, with what schemas the server asks for; answers whether it was there already."""
    schemas: dict[str, bytes] = {}
    while True:
        if batch and batch[0].way.broadcast_to_all:
            move = broadcast(keys, lane.lane, lane.seq, batch[0], schemas)
        else:
            move = operations.enqueue(keys, lane.lane, lane.seq, batch, schemas)
        answer = yield from perform(move)
        if answer.status == "unknown":
            schemas = {contract: schema(contract) for contract in answer.unknown}
        elif answer.status == "seen" and not again:
            # Somebody else used this lane: never success, since it was not us.
            lane.retire()
        else:
            return answer.status == "seen"


def _check(durability: Durability, url: str) -> Dialogue[None]:
    """Refuse, before anything is sent, what this server could not keep."""
    policy = {b"": b"always"}
    try:
        if durability != "memory":
            yield (*_WAITS[durability], 1)
        if durability == "fsync":
            with suppress(Refused):
                policy = yield ("CONFIG", "GET", "appendfsync")
    except Refused as error:
        # A replica says so of the write too, and is understood there.
        if error.code in _ADVICE or "replica" in str(error):
            raise
        raise ServerRefused(url, f"{_FSYNC} ({error})") from error
    except Lost as error:
        raise NotSent(str(error)) from error
    # With everysec, Valkey 9.1 and others answer WAITAOF up to a second before the fsync.
    if b"always" not in policy.values():
        raise ServerRefused(url, f"{_FSYNC} (here it is {b''.join(policy.values()).decode()})")


def _kept(
    durability: Durability, unwritten: str | None, until: float, step_s: float
) -> Dialogue[bool]:
    """Wait until what was accepted is where it must be; False if it is not in time."""
    # They wait for the last write of their own connection, and a resend that was seen wrote none:
    # without one, a replica that is far behind would be taken for one that has it.
    if unwritten and not (yield ("EXPIRE", unwritten, operations.LANE_TTL_S)):
        return False
    while (left := until - time.monotonic()) > 0:
        # Never 0 ms, which is for ever; and shorter than what a link waits for a reply.
        reply = yield (*_WAITS[durability], max(1, round(min(left, step_s) * 1000)))
        if (reply[0] if durability == "fsync" else reply) > 0:
            return True
    return False


_UNREADABLE = ("No such file", "Permission denied", "PEM lib", "key values mismatch")


def unavailable(url: str, error: BaseException) -> ServerUnavailable:
    """The error for a server that does not answer."""
    ask, told = "is it running, and is the URL right?", str(error)
    if "certificate has expired" in told:
        ask = "is its certificate to be renewed, or is the clock wrong here?"
    elif "CERTIFICATE_VERIFY_FAILED" in told:
        ask = "is its authority named by ssl_ca_certs=, and the host as in its certificate?"
    elif "ssl_" in url and any(sign in told for sign in _UNREADABLE):
        ask = "are the files of ssl_*= there, with a key that fits and its ssl_password=?"
    elif url.startswith(("rediss", "valkeys")):
        ask = "does it speak TLS, and want a client's certificate: ssl_certfile=, ssl_keyfile=?"
    elif "reset by peer" in told or "closed by server" in told:
        ask = "is the URL right, and does it want TLS: rediss://?"
    return ServerUnavailable(url, f"no answer from the server ({error}); {ask}")


_ADVICE = {
    "WRONGPASS": "wrong or missing user name or password in the URL",
    "NOAUTH": "wrong or missing user name or password in the URL",
    "NOPERM": "this user may not do that; see the ACLs in the documentation",
    "OOM": "the server is out of memory; raise maxmemory or drain queues",
    "WRONGTYPE": "a key is not of its type: ask typedq doctor",
    "READONLY": "this server is a read-only replica; use the URL of the primary",
}


def failure(url: str, error: BaseException) -> ServerError:
    """What the user is told when the server did not answer, or said no; with what to do."""
    if not isinstance(error, Refused):
        return unavailable(url, error)
    advice = _ADVICE.get(error.code)
    return ServerRefused(url, f"{advice} ({error})" if advice else str(error))
