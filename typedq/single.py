"""One message by its id: where it is, and its cancellation.

A search is a generator of operations, so that sync and async callers share it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Protocol, TypeVar

import msgspec

from typedq.errors import BadMessage, InvalidId, SearchLimit
from typedq.message import decode_message, is_broadcast, uncancelled, wrong_digits
from typedq.policy import decode_meta

if TYPE_CHECKING:
    from typedq.broker import Broker, Keys, Operation
    from typedq.broker.search import Found, Part, Places

    Look = Callable[[Keys, str, Places, tuple[int, int]], Operation[Part]]

T = TypeVar("T")
Steps = Generator["Operation[Any]", Any, T]
Progress = Callable[[int], object]
LIMIT = 1_000_000
_PASSES = 3


class MessageInfo(msgspec.Struct, frozen=True):
    """Where a message is, and its header. Times are aware, in UTC.

    state: "unknown" if it was not found: it has ended, was dropped, or was never accepted
    task, contract, queue, enqueued: None if unknown
    due: when it is or was due; None for at once
    expires: when it expires: it does not begin from then on; None for never
    attempts, crashes, losses: failures, deaths of its process alone, and beside others, so far
    meta: the metadata it was enqueued with
    worker: the name of the worker that holds it in flight, if that is known
    cancelled: it was cancelled in flight: it will not wait again
    kind, reason: why it is parked or dead
    body: its arguments as JSON, which may be confidential; left out of the repr
    """

    id: str
    state: Literal["ready", "delayed", "in flight", "parked", "dead", "unknown"]
    task: str | None = None
    contract: str | None = None
    queue: str | None = None
    enqueued: datetime | None = None
    due: datetime | None = None
    expires: datetime | None = None
    attempts: int = 0
    crashes: int = 0
    losses: int = 0
    meta: dict[str, str] = {}
    worker: str | None = None
    cancelled: bool = False
    kind: str | None = None
    reason: str | None = None
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<MessageInfo {self.id}: {self.state}, task {self.task}, queue {self.queue}>"


class Cancellation(msgspec.Struct, frozen=True):
    """What `cancel` did with a message.

    outcome:
        "dropped"  it waited (ready, delayed or parked), is gone and will never run
        "told"     a worker holds it: if it runs, it meets `Cancelled`; it will not wait again
        "dead"     nothing: it is a dead letter
        "unknown"  nothing: it has ended, was dropped before, or was never accepted
    message: what it was before
    """

    outcome: Literal["dropped", "told", "dead", "unknown"]
    message: MessageInfo

    @property
    def id(self) -> str:
        """Return the id of the message."""
        return self.message.id

    @property
    def done(self) -> bool:
        """Return True if the message was dropped or its worker was told."""
        return self.outcome in ("dropped", "told")


class Query(NamedTuple):
    """What to search for, in an app's queues and those that workers serve.

    limit: how many waiting messages to look at; progress: called with how many were looked at
    """

    keys: Keys
    queues: Sequence[str]
    id: str
    limit: int
    progress: Progress | None


class LocalMessages(Protocol):
    """Where messages are inside `app.testing()`."""

    def get(self, id: str, /) -> MessageInfo: ...
    def cancel(self, id: str, /) -> Cancellation: ...


def run(broker: Broker, steps: Steps[T]) -> T:
    """Run the operations of a search, and return its result. Raises ServerError."""
    reply: Any = None
    while True:
        try:
            operation = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        reply = broker.call(operation)


async def arun(broker: Broker, steps: Steps[T]) -> T:
    """As `run`, without blocking the event loop."""
    reply: Any = None
    while True:
        try:
            operation = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        reply = await broker.acall(operation)


def check_id(id: object) -> str:
    """Return the id of a message. Raises InvalidId."""
    if isinstance(id, str) and len(id) == 26 and id.isascii() and not wrong_digits(id.encode()):
        return id
    raise InvalidId(id, "a message id has 26 hexadecimal digits, as in a receipt or the log")


def get(query: Query) -> Steps[MessageInfo]:
    """Find a message. Raises SearchLimit."""
    from typedq.broker.search import find

    found = yield from _search(find, query)
    return (yield from _describe(query, found))


def cancel(query: Query) -> Steps[Cancellation]:
    """Cancel a message. Raises SearchLimit, and InvalidId for a broadcast."""
    from typedq.broker.search import cancel

    found = yield from _search(cancel, query)
    before = yield from _describe(query, found)
    if found is None:
        return Cancellation("unknown", before)
    if is_broadcast(before.queue or ""):
        refuse_broadcast(query.id)
    if found.state == "dead":
        return Cancellation("dead", before)
    return Cancellation("told" if found.state == "in flight" else "dropped", before)


def refuse_broadcast(id: str) -> NoReturn:
    """Raise InvalidId: a broadcast has a copy for each worker."""
    raise InvalidId(id, "it is a broadcast, which every worker has; it cannot be cancelled")


def _search(look: Look, query: Query) -> Steps[Found | None]:
    """Look at all that waits, twice if that takes more than one call: it may move meanwhile."""
    from typedq.broker.parking import groups as parked_groups
    from typedq.broker.search import Places, session_queues

    keys, id = query.keys, query.id
    for turn in range(_PASSES):
        sessions = yield session_queues(keys)
        groups = yield parked_groups(keys)
        names = [*query.queues, *(queue for served in sessions.values() for queue in served)]
        names += (group.queue for group in groups)
        places = Places([*sessions], [*dict.fromkeys(names)], [*groups])
        at: tuple[int, int] | None = (0, 0)
        calls = looked = 0
        while at is not None:
            if looked >= query.limit:
                raise SearchLimit(id, query.limit)
            part: Part = yield look(keys, id, places, at)
            calls, looked, at = calls + 1, looked + part.looked, part.after
            if query.progress:
                query.progress(looked)
            if part.found:
                return part.found
        now = yield session_queues(keys)
        if now.keys() == sessions.keys() and (calls == 1 or turn):
            break
    return None


class _Reason(msgspec.Struct):
    kind: str = "unknown"
    error: str = ""
    attempts: object = None


class _Report(msgspec.Struct):
    sessions: tuple[str, ...] = ()


def _describe(query: Query, found: Found | None) -> Steps[MessageInfo]:
    id = query.id
    if found is None:
        return MessageInfo(id, "unknown")
    before = uncancelled(found.message)
    about: dict[str, Any] = {"cancelled": before is not None, "queue": found.queue}
    try:
        envelope = decode_message(before or found.message)
        about |= {
            "task": envelope.task,
            "contract": envelope.contract.decode(),
            "queue": envelope.queue.decode(),
            "enqueued": _instant(envelope.enqueued_ms),
            "due": _instant(envelope.due_ms) if envelope.due_ms else None,
            "expires": None if envelope.expires_ms is None else _instant(envelope.expires_ms),
            "attempts": envelope.attempt,
            "crashes": int(envelope.crashes),
            "losses": int(envelope.losses),
            "meta": dict(decode_meta(envelope.options)),
            "body": envelope.body,
        }
    except (BadMessage, ValueError, OverflowError):
        about["body"] = found.message  # a dead letter that is no message
    if found.session is not None:
        about["worker"] = yield from _worker(query.keys, found.session)
    if found.group is not None:
        about["kind"], about["reason"] = "unreadable", _why_parked(found.group.contract)
    if found.state == "dead":
        why = _why_dead(found.reason)
        about |= {"kind": why.kind, "reason": why.error}
        if isinstance(why.attempts, int):  # with the last one, which is not in the message
            about["attempts"] = why.attempts
    return MessageInfo(id, found.state, **about)


def _worker(keys: Keys, session: str) -> Steps[str | None]:
    from typedq.broker.stats import workers

    reports = yield workers(keys)
    return next((n for n, line in reports.items() if session in _sessions(line)), None)


def _sessions(report: bytes) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(report, type=_Report).sessions
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ()


def _why_parked(contract: str) -> str:
    known, _, format = contract.partition("#")
    too_old = f"is too old for message format {format}, or " if format else ""
    return f"the worker that met it {too_old}cannot read {known}"


def _why_dead(line: bytes) -> _Reason:
    try:
        return msgspec.json.decode(line, type=_Reason)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _Reason(error=line.decode(errors="backslashreplace"))


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
