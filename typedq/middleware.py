"""Declare middleware and hooks; run middleware around tasks, and hooks of a process."""

from __future__ import annotations

import contextvars
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from types import GeneratorType
from typing import Any, TypeGuard, TypeVar, final

from typedq.async_steps import AsyncSteps, RunCoroutine, within_context
from typedq.errors import ConfigurationError
from typedq.layers import acall_inside, call_inside
from typedq.outgoing import EnqueueHook
from typedq.policy import Context
from typedq.process import ProcessState, end_if_copy, kept_signals, own_process
from typedq.telemetry import event

Middleware = Callable[[Context], Generator[None] | AsyncGenerator[None]]
Hook = Callable[[], Coroutine[Any, Any, None] | None]
M = TypeVar("M", bound=Middleware)
E = TypeVar("E", bound=EnqueueHook)
H = TypeVar("H", bound=Hook)


class Hooks:
    """Middleware and hooks as declared; the first one is the outermost."""

    def __init__(self) -> None:
        self.middlewares = list[Middleware]()
        self.enqueue_hooks = list[EnqueueHook]()
        self.start_hooks = list[Hook]()
        self.stop_hooks = list[Hook]()

    def middleware(self, fn: M, /) -> M:
        """See `TypedQ.middleware`. Raises ConfigurationError."""
        _check_generator(fn, "middleware", "where the task runs")
        self.middlewares.append(fn)
        return fn

    def on_enqueue(self, fn: E, /) -> E:
        """See `TypedQ.on_enqueue`. Raises ConfigurationError."""
        _check_generator(fn, "on_enqueue hook", "where the messages are sent")
        self.enqueue_hooks.append(fn)
        return fn

    def on_process_start(self, fn: H, /) -> H:
        """See `TypedQ.on_process_start`."""
        _check_callable(fn, "on_process_start")
        self.start_hooks.append(fn)
        return fn

    def on_process_stop(self, fn: H, /) -> H:
        """See `TypedQ.on_process_stop`."""
        _check_callable(fn, "on_process_stop")
        self.stop_hooks.append(fn)
        return fn


@final
class MiddlewareStack:
    """Runs the middleware and process hooks of an app, and keeps the context that tasks start with.

    base: its context variables; new_context: makes a copy of it for an attempt
    """

    def __init__(self, hooks: Hooks, run: RunCoroutine) -> None:
        self._hooks, self._run = hooks, run
        self.layers = tuple(hooks.middlewares)
        self.is_async = any(map(inspect.isasyncgenfunction, self.layers))
        self.base = contextvars.copy_context()
        self.new_context = copies_of(self.base)
        self.process: ProcessState | None = None

    def start(self) -> None:
        """Run the start hooks. Attempts start from the state they leave. Raises what they raise.

        Call it in the main thread only.
        """
        own_process(has_handlers=True)
        with kept_signals():
            for hook in self._hooks.start_hooks:
                self._call_hook(hook)
        self.new_context = copies_of(self.base)
        self.process = ProcessState()

    def stop(self) -> None:
        """Run all stop hooks. One that fails is logged: no work is lost, and the others count."""
        for hook in self._hooks.stop_hooks:
            try:
                self._call_hook(hook)
            except BaseException as error:  # noqa: BLE001 - as sys.exit() in a hook
                name = getattr(hook, "__qualname__", type(hook).__name__)
                event(logging.ERROR, "stop hook failed", hook=name, error=error)

    def _call_hook(self, hook: Hook) -> None:
        try:
            result: Any = self.base.run(hook)
            if is_awaitable(result):
                self._run(within_context(self.base, result))
        except BaseException as error:
            end_if_copy(error)
            raise
        end_if_copy()

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Await something on the event loop from outside, with the current context variables."""
        steps = AsyncSteps(self._run)
        try:
            return steps.run(lambda: awaitable)
        finally:
            steps.close()

    def call(self, context: Context, task: Callable[[], None]) -> None:
        """Call a sync task inside all layers. Raises what the outermost layer raises."""
        call_inside(self.layers, context, task, self._run)

    async def acall(self, context: Context, task: Callable[[], Awaitable[None]]) -> None:
        """Await a task inside all layers. Raises what the outermost layer raises."""
        await acall_inside(self.layers, context, task)


def _check_generator(fn: Callable[..., Any], what: str, where: str) -> None:
    if not inspect.isgeneratorfunction(fn) and not inspect.isasyncgenfunction(fn):
        name = repr(getattr(fn, "__qualname__", fn))
        raise ConfigurationError([f"{what} {name} is not a generator; it must yield once, {where}"])


def _check_callable(fn: Any, what: str) -> None:
    if not callable(fn):
        raise ConfigurationError([f"{what} takes a function without parameters, not {fn!r}"])


def copies_of(context: contextvars.Context) -> Callable[[], contextvars.Context]:
    """Return what makes the context of an attempt: a copy that shares no decimal context."""
    if not any(variable.name == "decimal_context" for variable in context):
        return context.copy
    from decimal import getcontext, setcontext  # by names of our own, because a task may patch them

    def copy() -> contextvars.Context:
        copied = context.copy()
        copied.run(lambda: setcontext(getcontext().copy()))
        return copied

    return copy


def is_awaitable(result: object) -> TypeGuard[Awaitable[Any]]:
    """Return True for coroutines, futures and whatever else has `__await__`. Never raises."""
    try:
        if type(result) is GeneratorType:  # of `types.coroutine`
            return bool(result.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
        return result is not None and hasattr(type(result), "__await__")
    except Exception:  # noqa: BLE001 - a metaclass may raise
        return False
