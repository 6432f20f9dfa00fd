"""Functions that return something to await, whatever they look like."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

from tests.faults.app import note
from tests.faults.foreign.table import situation
from typedq import Context


async def _work(ctx: Context) -> None:
    note(ctx, "start")
    await asyncio.sleep(0.001)
    note(ctx, "end")


def traced(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A plain wrapper, as most tracing libraries have it."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


class Wrapper:
    """A decorator that is a class, with an async call."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn

    async def __call__(self, ctx: Context) -> None:
        await self.fn(ctx)


class Later:
    """Nothing but `__await__`."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, None]:
        return self.coroutine.__await__()


@situation(raw=True)
@traced
async def wrapped(ctx: Context) -> None:
    await _work(ctx)


@situation(raw=True)
@traced
@traced
async def wrapped_twice(ctx: Context) -> None:
    await _work(ctx)


@situation(raw=True)
def returns_coroutine(ctx: Context) -> Coroutine[Any, Any, None]:
    return _work(ctx)


@situation(raw=True)
def returns_partial(ctx: Context) -> Any:
    return functools.partial(_work, ctx)()


@situation(raw=True)
def returns_awaitable(ctx: Context) -> Later:
    return Later(_work(ctx))


@situation(raw=True)
@traced
async def slowly_wrapped(ctx: Context) -> None:
    note(ctx, "start")
    await asyncio.sleep(0.5)
    note(ctx, "end")


@situation(raw=True, modes=("coroutine",))
async def coroutine_of_coroutine(ctx: Context) -> Any:
    return _work(ctx)


class Lying:
    """A result that refuses to be asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Odd(metaclass=Meta):
    pass


@situation(raw=True)
def returns_lying(ctx: Context) -> Any:
    note(ctx, "start")
    note(ctx, "end")
    return Lying()


@situation(raw=True)
def returns_odd(ctx: Context) -> Any:
    note(ctx, "start")
    note(ctx, "end")
    return Odd()


@situation("failed", raw=True, soft_timeout=0.1)
def returns_slow(ctx: Context) -> Any:
    note(ctx, "start")
    return asyncio.sleep(20)


@situation("failed", raw=True)
def returns_generator(ctx: Context) -> Generator[int]:
    note(ctx, "start")

    def generate() -> Generator[int]:
        yield 1

    return generate()


@situation("failed", raw=True)
def returns_async_generator(ctx: Context) -> AsyncGenerator[int]:
    note(ctx, "start")

    async def generate() -> AsyncGenerator[int]:
        yield 1

    return generate()


@situation("failed", raw=True)
@traced
async def wrapped_raises(ctx: Context) -> None:
    note(ctx, "start")
    raise ValueError("in the coroutine")


async def called(ctx: Context) -> None:
    await _work(ctx)


callable_object: Any = Wrapper(called)
situation(raw=True)(callable_object)
