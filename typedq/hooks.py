"""What an app does around its tasks: middleware, and hooks at the ends of a process."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, TypeVar

from typedq.errors import ConfigurationError
from typedq.policy import Context

Middleware = Callable[[Context], Generator[None] | AsyncGenerator[None]]
Hook = Callable[[], Coroutine[Any, Any, None] | None]
M = TypeVar("M", bound=Middleware)
H = TypeVar("H", bound=Hook)


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
            raise ConfigurationError(
                [f"middleware {_name(fn)} is no generator: it must yield once, where the task runs"]
            )
        self.middlewares.append(fn)
        return fn

    def on_process_start(self, fn: H, /) -> H:
        """Run in every child before its first task; may be async. If it fails, the child ends."""
        self.start_hooks.append(fn)
        return fn

    def on_process_stop(self, fn: H, /) -> H:
        """Run in every child that ends in good order, after its last task; may be async."""
        self.stop_hooks.append(fn)
        return fn


def _name(fn: object) -> str:
    return repr(getattr(fn, "__qualname__", fn))
