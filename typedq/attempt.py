"""One attempt, whoever runs it: its limits, what it may know, and whether another follows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, final

import msgspec

from typedq.errors import Reject, RetryIn
from typedq.message import Envelope
from typedq.policy import Context
from typedq.task import Task

if TYPE_CHECKING:
    from typedq.settings import Settings

Shield = Callable[[], AbstractContextManager[None]]


class Limits(NamedTuple):
    """Seconds, or None for no limit."""

    soft: float | None
    hard: float | None


_Limit = Annotated[float, msgspec.Meta(gt=0, le=315_360_000)]


class _Given(msgspec.Struct):
    soft: _Limit | None = None
    hard: _Limit | None = None


_read_given = msgspec.json.Decoder(_Given).decode


@final
class Rules:
    """Which limits hold for a message: the call's, else the task's, the queue's, the app's."""

    def __init__(self, settings: Settings) -> None:
        self._app = Limits(settings.soft_timeout, settings.hard_timeout)
        self._queues = {
            queue.name.encode(): Limits(queue.soft_timeout, queue.hard_timeout)
            for queue in settings.queues
        }
        self._known: dict[tuple[str, bytes], Limits] = {}

    def of(self, envelope: Envelope, task: Task[..., Any]) -> Limits:
        """The limits of this attempt. Raises msgspec.MsgspecError for options that are no JSON."""
        key = (task.name, envelope.queue)
        known = self._known.get(key) or self._decide(key, task)
        if envelope.options == b"-":
            return known
        given = _read_given(envelope.options)
        return _first(Limits(given.soft, given.hard), known)

    def _decide(self, key: tuple[str, bytes], task: Task[..., Any]) -> Limits:
        queue = self._queues.get(key[1], Limits(None, None))
        chosen = _first(Limits(task.soft_timeout, task.hard_timeout), _first(queue, self._app))
        return self._known.setdefault(key, chosen)


def _first(a: Limits, b: Limits) -> Limits:
    return Limits(b.soft if a.soft is None else a.soft, b.hard if a.hard is None else a.hard)


def context(
    envelope: Envelope,
    task: Task[..., Any],
    limits: Limits,
    shield: Shield = nullcontext,
) -> Context:
    """What the task may know of its message."""
    id, hard, attempt = envelope.id.decode(), limits.hard, envelope.runs + 1
    return Context(
        id=id,
        task=task.name,
        queue=envelope.queue.decode(),
        attempt=attempt,
        enqueued_at=_instant(envelope.enqueued_ms),
        due=_instant(envelope.due_ms or envelope.enqueued_ms),
        deadline=None if hard is None else datetime.now(UTC) + timedelta(seconds=hard),
        fence=f"{id}:{attempt:04d}",
        _shield=shield,
    )


def again(task: Task[..., Any], error: BaseException, attempt: int, roll: float) -> float | None:
    """Seconds until the next attempt after `error`, or None to bury the message.

    attempt: the one that failed, 1 for the first; roll: a random number in [0, 1).
    """
    if isinstance(error, RetryIn):
        return error.seconds
    if isinstance(error, Reject) or task.retry is None:
        return None
    return task.retry.next(error, attempt, roll)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
