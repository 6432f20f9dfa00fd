"""What an app declares around its tasks: middleware, and hooks of the process; and its driver."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, final

from typedq.errors import ConfigurationError
from typedq.policy import Context
from typedq.process import ProcessState, end_if_copy, own_process

Middleware = Callable[[Context], Generator[None] | AsyncGenerator[None]]
Hook = Callable[[], Coroutine[Any, Any, None] | None]
M = TypeVar("M", bound=Middleware)
H = TypeVar("H", bound=Hook)
# Runs a coroutine on the event loop of the process, from outside of it, and returns its result.
RunCoroutine = Callable[[Coroutine[Any, Any, Any]], Any]
_UNSET: Final = object()


class Hooks:
    """Kept in the order of declaration; the first middleware is the outermost."""

    def __init__(self) -> None:
        self.middlewares = list[Middleware]()
        self.start_hooks = list[Hook]()
        self.stop_hooks = list[Hook]()

    def middleware(self, fn: M, /) -> M:
        """Wrap every attempt of every task: a generator of the context that yields once.

        It may be async; both kinds wrap sync and coroutine tasks alike. The task's exception is
        raised at the yield; a middleware that does not raise it again has dealt with it. A soft
        timeout never interrupts it. Raises ConfigurationError.
        """
        if not inspect.isgeneratorfunction(fn) and not inspect.isasyncgenfunction(fn):
            name = repr(getattr(fn, "__qualname__", fn))
            raise ConfigurationError(
                [f"middleware {name} is no generator: it must yield once, where the task runs"]
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
        """Run in every child that ends in good order, after its last task; may be async."""
        self.stop_hooks.append(fn)
        return fn


@final
class MiddlewareStack:
    """An app's middleware around its tasks; its hooks; the context variables that tasks start with.

    It drives the generators itself: `contextlib` sets `__traceback__` of what a task raised, which
    a frozen exception refuses.
    """

    def __init__(self, hooks: Hooks, run: RunCoroutine) -> None:
        self._hooks, self._run = hooks, run
        self.layers = tuple(hooks.middlewares)
        self.is_async = any(map(inspect.isasyncgenfunction, self.layers))
        self.base = contextvars.copy_context()
        self.process: ProcessState | None = None

    def start(self) -> None:
        """Run the hooks of the start. Attempts start from what they leave. Raises what they raise.

        Main thread only.
        """
        for hook in self._hooks.start_hooks:
            self._call_hook(hook)
        own_process(has_handlers=True)
        self.process = ProcessState()

    def stop(self) -> None:
        """Run the hooks of the end. Raises what they raise."""
        for hook in self._hooks.stop_hooks:
            self._call_hook(hook)

    def _call_hook(self, hook: Hook) -> None:
        result: Any = self.base.run(hook)
        if is_awaitable(result):
            self._run(_within(self.base, result))

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Await something on the event loop, from outside of it; context variables go along."""
        escort = _Escort(self._run)
        try:
            return escort.run(lambda: awaitable)
        finally:
            escort.close()

    def call(self, context: Context, task: Callable[[], None]) -> None:
        """Call a sync task inside all layers. Raises what the outermost layer lets pass."""
        escort = _Escort(self._run)

        async def within(step: Callable[[], Awaitable[Any]]) -> Any:
            return escort.run(step)

        error: BaseException | None = None
        try:
            self._around(context, task, within).send(None)  # it never waits
        except StopIteration as returned:
            error = returned.value
        finally:
            escort.close()
        _raise(error)

    async def acall(self, context: Context, task: Callable[[], Awaitable[None]]) -> None:
        """Await a task inside all layers. Raises what the outermost layer lets pass."""
        _raise(await self._around(context, task, lambda step: step()))

    async def _around(
        self,
        context: Context,
        task: Callable[[], Awaitable[None] | None],
        within: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> BaseException | None:
        """Return the exception. `within` awaits a step of async middleware."""
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
        except BaseException as raised:  # noqa: BLE001 - the layers decide what becomes of it
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


def is_awaitable(result: object) -> bool:
    """Return True for coroutines, futures and whatever else has `__await__`."""
    return result is not None and hasattr(type(result), "__await__")


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
    except BaseException as raised:  # noqa: BLE001 - it is what goes on
        return _passed_on(raised, error)
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
    except BaseException as raised:  # noqa: BLE001 - it is what goes on
        return _passed_on(raised, error)
    with suppress(BaseException):
        await generator.aclose()
    return RuntimeError("generator didn't stop")


def _passed_on(raised: BaseException, error: BaseException | None) -> BaseException:
    """Python wraps a StopIteration that passes through a generator; unwrap it again."""
    stops = isinstance(error, StopIteration | StopAsyncIteration)
    return error if stops and error and raised.__cause__ is error else raised


# --- async middleware around a sync task ----------------------------------------------------------


@final
class _Escort:
    """One asyncio task in which every step of the async middleware of one attempt runs.

    Tokens of context variables and cancel scopes may only be left in the task that entered them.
    Context variables go along, to the escort and back, since the sync task runs in another context.
    A cancellation between two steps is ignored: nothing can interrupt the sync task.
    """

    def __init__(self, run: RunCoroutine) -> None:
        self._run = run
        self._requests: Any = None

    def run(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Await `step()` in the escort, and return or raise what it does."""
        result, error, context = self._run(self._ask(step, contextvars.copy_context()))
        _adopt(context)
        _raise(error)
        return result

    def close(self) -> None:
        """End the asyncio task."""
        if self._requests is not None:
            self._run(self._requests.put(None))

    async def _ask(self, step: Callable[[], Awaitable[Any]], context: contextvars.Context) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        if self._requests is None:
            self._requests = asyncio.Queue()
            self._task = loop.create_task(self._serve(), context=contextvars.Context())
        reply = loop.create_future()
        self._requests.put_nowait((step, context, reply))
        return await reply

    async def _serve(self) -> None:
        import asyncio

        while True:
            try:
                request = await self._requests.get()
            except asyncio.CancelledError:
                continue
            if request is None:
                return
            step, context, reply = request
            _adopt(context)
            result, error = None, None
            try:
                result = await step()
            except BaseException as raised:  # noqa: BLE001 - raised again where it was asked for
                end_if_copy(raised)
                error = raised
            end_if_copy()
            reply.set_result((result, error, contextvars.copy_context()))
            del result, error, step


def _adopt(context: contextvars.Context) -> None:
    """Give the variables of the current context the values of another."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)


async def _within(context: contextvars.Context, awaitable: Awaitable[Any]) -> None:
    import asyncio

    async def finish() -> None:
        await awaitable

    await asyncio.get_running_loop().create_task(finish(), context=context)
