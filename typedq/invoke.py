"""Run one attempt of a task: its time limits, its context, the call.

Workers, `--solo` and `app.testing()` use it. `failure` handles exceptions, `process` restores what
a task changes in its process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeGuard, final

import msgspec

from typedq.contracts import Arguments
from typedq.failure import next_retry_delay as _delay
from typedq.message import Envelope
from typedq.middleware import MiddlewareStack, is_awaitable
from typedq.policy import TEN_YEARS, Context, decode_meta
from typedq.process import end_if_copy, owner
from typedq.task import Task

if TYPE_CHECKING:
    from typedq.settings import Settings

Shield = Callable[[], AbstractContextManager[None]]

# --- limits and context ---------------------------------------------------------------------------


class Limits(NamedTuple):
    """Seconds, or None for no limit."""

    soft: float | None
    hard: float | None


_Limit = Annotated[float, msgspec.Meta(gt=0, le=TEN_YEARS)]


class _CallOptions(msgspec.Struct):
    soft: _Limit | None = None
    hard: _Limit | None = None


_read_options = msgspec.json.Decoder(_CallOptions).decode


@final
class LimitRules:
    """Finds the time limits of a message: of its call, else of its task, its queue, the app."""

    def __init__(self, settings: Settings) -> None:
        self._app = Limits(settings.soft_timeout, settings.hard_timeout)
        self._queues = {
            queue.name.encode(): Limits(queue.soft_timeout, queue.hard_timeout)
            for queue in settings.queues
        }
        self._known: dict[tuple[str, bytes], Limits] = {}

    def of(self, envelope: Envelope, task: Task[..., Any]) -> Limits:
        """Return the limits of an attempt. Raises msgspec.MsgspecError for options not in JSON."""
        key = (task.name, envelope.queue)
        known = self._known.get(key) or self._decide(key, task)
        if envelope.options == b"-":
            return known
        own = _read_options(envelope.options)
        return _first(Limits(own.soft, own.hard), known)

    def _decide(self, key: tuple[str, bytes], task: Task[..., Any]) -> Limits:
        queue = self._queues.get(key[1], Limits(None, None))
        chosen = _first(Limits(task.soft_timeout, task.hard_timeout), _first(queue, self._app))
        return self._known.setdefault(key, chosen)


def _first(a: Limits, b: Limits) -> Limits:
    return Limits(b.soft if a.soft is None else a.soft, b.hard if a.hard is None else a.hard)


def make_context(
    envelope: Envelope, task: Task[..., Any], limits: Limits, shield: Shield = nullcontext
) -> Context:
    """Return the context of a message for its task."""
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
        meta=decode_meta(envelope.options),
        _will_retry=lambda error: _delay(task, error, envelope.attempt + 1, 0.0) is not None,
        _shield=shield,
        _arguments=lambda: task.masked(envelope.contract.decode(), envelope.body),
    )


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


# --- calling --------------------------------------------------------------------------------------


class Target(Protocol):
    """What attempts of one message kind share."""

    @property
    def task(self) -> Task[..., Any]: ...
    @property
    def limits(self) -> Limits: ...


class Attempt(Protocol):
    """A message with decoded arguments."""

    @property
    def kind(self) -> Target: ...
    @property
    def arguments(self) -> Arguments: ...
    def context(self, shield: Shield) -> Context: ...


class Timer(Protocol):
    """Raises the soft timeout in a sync task. `is_set`: call `start` even without a limit."""

    @property
    def is_set(self) -> bool: ...
    def shield(self) -> AbstractContextManager[None]: ...
    def start(self, limit: float | None, /) -> None: ...
    def stop(self) -> None: ...
    def awaiting(self, limit: float | None, /) -> AbstractContextManager[AsyncTimer]: ...


class AsyncTimer(AbstractContextManager[None], Protocol):
    """Cancels a coroutine task at its soft timeout; what is awaited inside may be interrupted."""

    def shield(self) -> AbstractContextManager[None]: ...
    def limited(self, awaitable: Awaitable[Any], /) -> Awaitable[Any]: ...


def invoke(
    attempt: Attempt, middleware: MiddlewareStack, timer: Timer, context: Context | None = None
) -> bool:
    """Run a task outside of the event loop. Raises what the task raises.

    An awaitable that it returns is awaited on the loop. Return True if there was one. The context
    variables must be in a copy that `copies_of` made for this attempt. A soft timeout or a
    cancellation is raised only below this frame.

    context: the one that the middleware was given
    """
    if middleware.layers and context is None:
        return _invoke_inside(attempt, middleware, timer)
    kind, (args, kwargs) = attempt.kind, attempt.arguments
    task, soft = kind.task, kind.limits.soft
    if task.contract.takes_context:
        args = (context or attempt.context(timer.shield), *args)
    if soft is not None or timer.is_set:
        timer.start(soft)
    try:
        result = task.fn(*args, **kwargs)
    except BaseException as error:
        timer.stop()
        end_if_copy(error)
        raise
    if soft is not None:
        timer.stop()
    if not owner.mark[0]:
        end_if_copy()
    return result is not None and _finish_sync(result, soft, middleware, timer)


def _invoke_inside(attempt: Attempt, middleware: MiddlewareStack, timer: Timer) -> bool:
    context, was_awaited = attempt.context(timer.shield), False

    def call() -> None:
        nonlocal was_awaited
        was_awaited = invoke(attempt, middleware, timer, context)

    middleware.call(context, call)
    return was_awaited


def _finish_sync(
    result: object, soft: float | None, middleware: MiddlewareStack, timer: Timer
) -> bool:
    """Await what a sync task returned, if that can be awaited; return True if so."""
    if not is_awaitable(result):
        _refuse_generator(result)
        return False
    with timer.awaiting(soft) as limit:
        finishing = _finish(result, limit)
        try:
            middleware.wait(finishing)
        finally:  # Python warns about coroutines that are never awaited
            finishing.close()
            if _is_coroutine(result):
                result.close()
    return True


def ainvoke(
    attempt: Attempt, middleware: MiddlewareStack, timer: AsyncTimer
) -> Coroutine[Any, Any, None]:
    """Return what runs a sync or coroutine task on the event loop. It raises what the task raises.

    Call it where it is awaited: in the context of the attempt.
    """
    if not middleware.layers:
        return _acall_attempt(attempt, None, timer)
    context = attempt.context(timer.shield)
    return middleware.acall(context, lambda: _acall_attempt(attempt, context, timer))


def _acall_attempt(
    attempt: Attempt, context: Context | None, timer: AsyncTimer
) -> Coroutine[Any, Any, None]:
    task, (args, kwargs) = attempt.kind.task, attempt.arguments
    if task.contract.takes_context:
        args = (context or attempt.context(timer.shield), *args)
    return _finish(task.fn(*args, **kwargs), timer)


async def _finish(result: object, timer: AsyncTimer) -> None:
    """Await what a task returned, and the coroutine or future that this returns in turn."""
    try:
        if is_awaitable(result):
            with timer:
                result = await timer.limited(result)
                while result is not None and _is_pending(result):
                    result = await timer.limited(result)  # the task forgot an `await`
    except BaseException as error:
        end_if_copy(error)
        raise
    end_if_copy()
    _refuse_generator(result)


def _is_coroutine(result: object) -> TypeGuard[Coroutine[Any, Any, object]]:
    return type(result) is CoroutineType  # `isinstance` would read its `__class__`


def _is_pending(result: object) -> TypeGuard[Awaitable[object]]:
    import asyncio  # an event loop runs, so it is loaded

    # Not every awaitable: some return themselves, so this would never end.
    return _is_coroutine(result) or issubclass(type(result), asyncio.Future)


def _refuse_generator(result: object) -> None:
    if type(result) in (GeneratorType, AsyncGeneratorType):
        raise TypeError(
            "the task returned a generator; nothing was run, because nobody iterates it"
        )
