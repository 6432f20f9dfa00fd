"""One attempt, whoever runs it: its limits, its context, and what its task is called with.

Used by workers, by `--solo` and by `app.testing()`. What an exception means is in `failure`, what
a task may change of its process in `process`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeGuard, final

import msgspec

from typedq.message import Envelope
from typedq.middleware import MiddlewareStack, is_awaitable
from typedq.policy import Context
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


_Limit = Annotated[float, msgspec.Meta(gt=0, le=315_360_000)]


class _CallOptions(msgspec.Struct):
    soft: _Limit | None = None
    hard: _Limit | None = None


_read_options = msgspec.json.Decoder(_CallOptions).decode


@final
class LimitRules:
    """Which limits a message has: the call's, else the task's, the queue's, the app's."""

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
        given = _read_options(envelope.options)
        return _first(Limits(given.soft, given.hard), known)

    def _decide(self, key: tuple[str, bytes], task: Task[..., Any]) -> Limits:
        queue = self._queues.get(key[1], Limits(None, None))
        chosen = _first(Limits(task.soft_timeout, task.hard_timeout), _first(queue, self._app))
        return self._known.setdefault(key, chosen)


def _first(a: Limits, b: Limits) -> Limits:
    return Limits(b.soft if a.soft is None else a.soft, b.hard if a.hard is None else a.hard)


def make_context(
    envelope: Envelope, task: Task[..., Any], limits: Limits, shield: Shield = nullcontext
) -> Context:
    """Return what the task may know of its message."""
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


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


# --- calling --------------------------------------------------------------------------------------


class Target(Protocol):
    """What attempts of one kind share."""

    @property
    def task(self) -> Task[..., Any]: ...
    @property
    def limits(self) -> Limits: ...


class Attempt(Protocol):
    """A message whose arguments were read."""

    @property
    def kind(self) -> Target: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> dict[str, Any]: ...
    def context(self, shield: Shield) -> Context: ...


class Timer(Protocol):
    """How a sync task meets its soft timeout. `is_set`: it must hear of the next task."""

    @property
    def is_set(self) -> bool: ...
    def shield(self) -> AbstractContextManager[None]: ...
    def start(self, limit: float | None, /) -> None: ...
    def stop(self) -> None: ...
    def limited(self, awaitable: Awaitable[Any], limit: float | None, /) -> Awaitable[Any]: ...


class AsyncTimer(Protocol):
    """How a coroutine task meets its soft timeout."""

    def shield(self) -> AbstractContextManager[None]: ...
    async def run(self, awaitable: Awaitable[Any], /) -> Any: ...


def call_task(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a sync task: a soft timeout is raised only in frames that this one called."""
    return fn(*args, **kwargs)


def invoke(attempt: Attempt, middleware: MiddlewareStack, timer: Timer) -> bool:
    """Run a task outside of the event loop. Raises what the task does.

    An awaitable that it returns is awaited on the loop. Return True if there was one. The current
    context must be a copy made for this attempt.
    """
    if middleware.shares_decimal:
        _copy_decimal()
    if not middleware.layers:
        return _call(attempt, None, middleware, timer)
    context, was_awaited = attempt.context(timer.shield), False

    def call() -> None:
        nonlocal was_awaited
        was_awaited = _call(attempt, context, middleware, timer)

    middleware.call(context, call)
    return was_awaited


def _call(
    attempt: Attempt, context: Context | None, middleware: MiddlewareStack, timer: Timer
) -> bool:
    kind, args = attempt.kind, attempt.args
    task, soft = kind.task, kind.limits.soft
    if task.contract.takes_context:
        args = (context or attempt.context(timer.shield), *args)
    if soft is not None or timer.is_set:
        timer.start(soft)
    try:
        if soft is None:
            result = task.fn(*args, **attempt.kwargs)
        else:
            result = call_task(task.fn, args, attempt.kwargs)
    except BaseException as error:
        timer.stop()
        end_if_copy(error)
        raise
    if soft is not None:
        timer.stop()
    if owner.is_copy:
        end_if_copy()
    if result is None:
        return False
    if is_awaitable(result):
        finishing = _finish(result)
        try:
            middleware.wait(timer.limited(finishing, soft))
        finally:  # of what could not be awaited, Python would warn
            finishing.close()
            if _is_coroutine(result):
                result.close()
        return True
    _refuse_generator(result)
    return False


async def ainvoke(attempt: Attempt, middleware: MiddlewareStack, timer: AsyncTimer) -> None:
    """Run a task on the event loop, whether or not it is a coroutine. Raises what the task does."""
    if middleware.shares_decimal:
        _copy_decimal()
    task, args, context = attempt.kind.task, attempt.args, None
    if task.contract.takes_context or middleware.layers:
        context = attempt.context(timer.shield)
    if task.contract.takes_context:
        args = (context, *args)

    async def call() -> None:
        result = task.fn(*args, **attempt.kwargs)
        if is_awaitable(result):
            await timer.run(_finish(result))
        else:
            end_if_copy()
            _refuse_generator(result)

    if middleware.layers and context:
        await middleware.acall(context, call)
    else:
        await call()


def _copy_decimal() -> None:
    # The copy of a context holds the same decimal context, which a task may change.
    import decimal

    decimal.setcontext(decimal.getcontext().copy())


async def _finish(awaitable: Awaitable[object]) -> None:
    """Await it, and the coroutine that it may return in turn."""
    try:
        result = await awaitable
        while _is_coroutine(result):
            result = await result
    except BaseException as error:
        end_if_copy(error)
        raise
    end_if_copy()
    _refuse_generator(result)


def _is_coroutine(result: object) -> TypeGuard[Coroutine[Any, Any, object]]:
    return type(result) is CoroutineType  # `isinstance` would ask the result for its `__class__`


def _refuse_generator(result: object) -> None:
    if type(result) in (GeneratorType, AsyncGeneratorType):
        raise TypeError("the task returned a generator, which nobody iterates: nothing was run")
