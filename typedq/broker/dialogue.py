"""What is said to the server, in which order, and what is said again: without any I/O.

A dialogue is a generator. It yields a command or a `Pause`; the reply is sent in, an error of the
connection or the server is thrown in. `client` drives it over a sync or an async link.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from redis import exceptions as redis_errors

from typedq.broker import moves
from typedq.broker.keys import Keys
from typedq.broker.link import Lane, Lost, NotTaken
from typedq.broker.schedule import broadcast
from typedq.broker.script import Argument, Move
from typedq.errors import EnqueueUncertain, ServerError, ServerRefused, ServerUnavailable

T = TypeVar("T")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


class Pause(NamedTuple):
    """Wait before going on."""

    seconds: float


Dialogue = Generator[Sequence[Argument] | Pause, Any, T]


def perform(move: Move[T]) -> Dialogue[T]:
    """Make one move; a server that does not know the script is given its source."""
    try:
        reply = yield move.by_sha()
    except redis_errors.NoScriptError:
        reply = yield move.by_source()
    return move.parse(reply)


def enqueue(
    keys: Keys,
    lane: Lane,
    batch: Sequence[moves.Outgoing],
    schema: Callable[[str], bytes],
    *,
    url: str,
    deadline_s: float,
    patient: bool,
) -> Dialogue[None]:
    """Enqueue a batch exactly once, through lost connections, until the deadline.

    `patient` is False before the first connection ever: a wrong URL is then reported at once.
    Raises `EnqueueUncertain` if an answer is outstanding, else `ServerUnavailable`.
    """
    until = time.monotonic() + deadline_s
    pause, sent, schemas = FIRST_PAUSE_S, False, dict[str, bytes]()
    while True:
        try:
            move = _way_in(keys, lane, batch, schemas)
            answer = yield from perform(move)
        except redis_errors.AuthenticationError:
            raise
        except NotTaken as error:
            patient = patient or isinstance(error.__cause__, redis_errors.BusyLoadingError)
            if not sent and (not patient or time.monotonic() + pause > until):
                raise unavailable(url, error) from error
        except Lost:
            sent = True
        else:
            if answer.status == "unknown":
                schemas = {contract: schema(contract) for contract in answer.unknown}
                continue
            if answer.status == "seen" and not sent:
                # Somebody else used this lane: never success, since it was not us.
                lane.retire()
                continue
            lane.seq += 1
            return
        if time.monotonic() + pause > until:
            lane.retire()
            raise EnqueueUncertain(url, [m.id for m in batch], deadline_s)
        yield Pause(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _way_in(
    keys: Keys, lane: Lane, batch: Sequence[moves.Outgoing], schemas: dict[str, bytes]
) -> Move[moves.Accepted]:
    if batch and batch[0].to_all:
        return broadcast(keys, lane.lane, lane.seq, batch[0], schemas)
    return moves.enqueue(keys, lane.lane, lane.seq, batch, schemas)


def unavailable(url: str, error: BaseException) -> ServerUnavailable:
    """The error for a server that does not answer."""
    ask = "is it running, and is the URL right?"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        ask = "is its authority named by ssl_ca_certs=, and the host as in its certificate?"
    elif url.startswith(("rediss", "valkeys")):
        ask = "does it speak TLS, and want a client's certificate: ssl_certfile=, ssl_keyfile=?"
    return ServerUnavailable(url, f"no answer from the server ({error}); {ask}")


_ADVICE: dict[type[BaseException], str] = {
    redis_errors.AuthenticationError: "wrong or missing user name or password in the URL",
    redis_errors.NoPermissionError: "this user may not do that; see the ACLs in the documentation",
    redis_errors.OutOfMemoryError: "the server is out of memory; raise maxmemory or drain queues",
    redis_errors.ReadOnlyError: "this server is a read-only replica; use the URL of the primary",
}


def failure(url: str, error: BaseException) -> ServerError:
    """What the user is told when the server did not answer, or said no; with what to do."""
    advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), None)
    if advice:
        return ServerRefused(url, f"{advice} ({error})")
    if isinstance(error, (*Lost, NotTaken)):
        return unavailable(url, error)
    return ServerRefused(url, str(error))
