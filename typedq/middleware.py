"""Declare and run middleware around tasks, and hooks at the start and end of a process."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, final

from typedq.errors import ConfigurationError
from typedq.escort import Escort, RunCoroutine, within_context
from typedq.policy import Context
from typedq.process import ProcessState, end_if_copy, own_process

Middleware = Callable[[Context], Generator[None] | AsyncGenerator[None]]
Hook = Callable[[], Coroutine[Any, Any, None] | None]
M = TypeVar("M", bound=Middleware)
H = TypeVar("H", bound=Hook)


class Hooks:
    """Middleware and process hooks as declared; the first middleware is the outermost."""

    def __init__(self) -> None:
        self.middlewares = list[Middleware]()
        self.start_hooks = list[Hook]()
        self.stop_hooks = list[Hook]()

    def middleware(self, fn: M, /) -> M:
        """Wrap every attempt of every task: a generator of the context that yields once.

        It may be async; both kinds wrap sync and coroutine tasks alike. The task's exception is
        raised at the yield; a middleware that does not raise it again has handled it. A soft
        timeout never interrupts it. Raises ConfigurationError.
        """
        if not inspect.isgeneratorfunction(fn) and not inspect.isasyncgenfunction(fn):
            name = repr(getattr(fn, "__qualname__", fn))
            raise ConfigurationError(
                [f"middleware {name} is not a generator; it must yield once, where the task runs"]
            )
        self.middlewares.append(fn)
        return fn

    def on_process_start(self, fn: H, /) -> H:
        """Run in every child before its first task; may be async. If it fails, the child ends.

        Tasks start from the context variables and the process state that these hooks leave.
        """
        self.start_hooks.append(fn)
        return fn

    def on_process_stop(self, fn: H, /) -> H:
        """Run in every child that ends normally, after its last task; may be async."""
        self.stop_hooks.append(fn)
        return fn


@final
class MiddlewareStack:
    """Runs the middleware and hooks of an app; keeps the context variables that tasks start with.

    It does not use `contextlib`, which sets `__traceback__` on the exception of a task: a frozen
    exception refuses that.
    """

    def __init__(self, hooks: Hooks, run: RunCoroutine) -> None:
        self._hooks, self._run = hooks, run
        self.layers = tuple(hooks.middlewares)
        self.is_async = any(map(inspect.isasyncgenfunction, self.layers))
        self.base = contextvars.copy_context()
        self.shares_decimal = _has_decimal(self.base)
        self.process: ProcessState | None = None

    def start(self) -> None:
        """Run the start hooks. Attempts start from the state they leave. Raises what they raise.

        Call it in the main thread only.
        """
        own_process(has_handlers=True)
        for hook in self._hooks.start_hooks:
            self._call_hook(hook)
        self.shares_decimal = _has_decimal(self.base)
        self.process = ProcessState()

    def stop(self) -> None:
        """Run the stop hooks. Raises what they raise."""
        for hook in self._hooks.stop_hooks:
            self._call_hook(hook)

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
        escort = Escort(self._run)
        try:
            return escort.run(lambda: awaitable)
        finally:
            escort.close()

    def call(self, context: Context, task: Callable[[], None]) -> None:
        """Call a sync task inside all layers. Raises what the outermost layer raises."""
        escort = Escort(self._run)

        async def within(step: Callable[[], Awaitable[Any]]) -> Any:
            return escort.run(step)

        error: BaseException | None = None
        try:
            self._run_layers(context, task, within).send(None)  # it never waits
        except StopIteration as returned:
            error = returned.value
        finally:
            escort.close()
        _raise(error)

    async def acall(self, context: Context, task: Callable[[], Awaitable[None]]) -> None:
        """Await a task inside all layers. Raises what the outermost layer raises."""
        _raise(await self._run_layers(context, task, lambda step: step()))

    async def _run_layers(
        self,
        context: Context,
        task: Callable[[], Awaitable[None] | None],
        within: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> BaseException | None:
        """Run the task inside all layers; return the exception, or None.

        within: awaits one step of async middleware
        """
        entered: list[Generator[None] | AsyncGenerator[None]] = []
        error: BaseException | None = None
        try:
            for layer in self.layers:
                generator = layer(context)
                if isinstance(generator, Generator):
                    _start(generator)
                else:
                    await within(partial(_astart, generator))
                end_if_copy()
                entered.append(generator)
            if (awaitable := task()) is not None:
                await awaitable
        except BaseException as raised:  # noqa: BLE001 - the outer layers handle it
            end_if_copy(raised)
            error = raised
        while entered:
            generator = entered.pop()
            if isinstance(generator, Generator):
                error = _leave(generator, error)
            else:
                error = await within(partial(_aleave, generator, error))
            end_if_copy(error)
        return error


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


def _has_decimal(context: contextvars.Context) -> bool:
    return any(variable.name == "decimal_context" for variable in context)


def is_awaitable(result: object) -> bool:
    """Return True for coroutines, futures and whatever else has `__await__`. Never raises."""
    try:
        return result is not None and hasattr(type(result), "__await__")
    except Exception:  # noqa: BLE001 - a metaclass may raise
        return False


# --- one layer: as `contextlib.contextmanager`, but nothing is set on an exception ----------------


def _start(generator: Generator[None]) -> None:
    try:
        next(generator)
    except StopIteration:
        raise RuntimeError("generator didn't yield") from None


def _leave(generator: Generator[None], error: BaseException | None) -> BaseException | None:
    try:
        if error is None:
            next(generator)
        else:
            generator.throw(error)
    except StopIteration as stop:
        return stop if stop is error else None
    except BaseException as raised:  # noqa: BLE001 - returned to the next layer
        return _unwrapped(raised, error)
    with suppress(BaseException):
        generator.close()
    return RuntimeError("generator didn't stop")


async def _astart(generator: AsyncGenerator[None]) -> None:
    try:
        await anext(generator)
    except StopAsyncIteration:
        raise RuntimeError("generator didn't yield") from None


async def _aleave(
    generator: AsyncGenerator[None], error: BaseException | None
) -> BaseException | None:
    try:
        if error is None:
            await anext(generator)
        else:
            await generator.athrow(error)
    except StopAsyncIteration as stop:
        return stop if stop is error else None
    except BaseException as raised:  # noqa: BLE001 - returned to the next layer
        return _unwrapped(raised, error)
    with suppress(BaseException):
        await generator.aclose()
    return RuntimeError("generator didn't stop")


def _unwrapped(raised: BaseException, error: BaseException | None) -> BaseException:
    """Return the exception of a layer; Python wraps a StopIteration, which is unwrapped here."""
    # Not isinstance: it reads `__class__` of the error, which may raise.
    stops = issubclass(type(error), StopIteration | StopAsyncIteration)
    wrapped = stops and type(raised) is RuntimeError and raised.__cause__ is error
    return error if wrapped and error is not None else raised
