"""Run generators around a call: middleware around an attempt, hooks around an enqueue.

It does not use `contextlib`, which sets `__traceback__` on an exception that passes: a frozen
exception refuses that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from typedq.async_steps import AsyncSteps, RunCoroutine
from typedq.process import end_if_copy

A = TypeVar("A")
Layer = Callable[[A], Generator[None] | AsyncGenerator[None]]


def call_inside(
    layers: Sequence[Layer[A]], argument: A, call: Callable[[], None], run: RunCoroutine
) -> None:
    """Call a sync function inside all layers. Raises what the outermost layer raises.

    run: runs the steps of async layers on an event loop
    """
    steps = AsyncSteps(run)

    async def within(step: Callable[[], Awaitable[Any]]) -> Any:
        return steps.run(step)

    error: BaseException | None = None
    try:
        _run_layers(layers, argument, call, within).send(None)  # it never waits
    except StopIteration as returned:
        error = returned.value
    finally:
        steps.close()
    _raise(error)


async def acall_inside(
    layers: Sequence[Layer[A]], argument: A, call: Callable[[], Awaitable[None]]
) -> None:
    """Await something inside all layers. Raises what the outermost layer raises."""
    _raise(await _run_layers(layers, argument, call, lambda step: step()))


async def _run_layers(
    layers: Sequence[Layer[A]],
    argument: A,
    call: Callable[[], Awaitable[None] | None],
    within: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
) -> BaseException | None:
    """Call inside all layers, the first is the outermost; return the exception, or None.

    within: awaits one step of an async layer
    """
    entered: list[Generator[None] | AsyncGenerator[None]] = []
    error: BaseException | None = None
    try:
        for layer in layers:
            generator = layer(argument)
            if isinstance(generator, Generator):
                _start(generator)
            else:
                await within(partial(_astart, generator))
            end_if_copy()
            entered.append(generator)
        if (awaitable := call()) is not None:
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
