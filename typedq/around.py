"""The app's middleware around an attempt, and its hooks, whichever of both kinds they are."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, cast, final

from typedq.hooks import Hooks
from typedq.policy import Context

Wait = Callable[[Coroutine[Any, Any, Any]], Any]
_Sync = Callable[[Context], AbstractContextManager[None]]
_Async = Callable[[Context], AbstractAsyncContextManager[None]]


@final
class Around:
    """Middleware as context managers; `wait` runs a coroutine on the event loop of the process."""

    def __init__(self, app: Hooks, wait: Wait) -> None:
        self._app, self._wait = app, wait
        self._layers: list[tuple[_Sync | None, _Async | None]] = [
            (None, contextlib.asynccontextmanager(cast("Any", layer)))
            if inspect.isasyncgenfunction(layer)
            else (contextlib.contextmanager(cast("Any", layer)), None)
            for layer in app.middlewares
        ]

    def __bool__(self) -> bool:
        """Whether there is any middleware."""
        return bool(self._layers)

    @contextlib.contextmanager
    def sync(self, context: Context) -> Generator[None]:
        """Around a sync task; async middleware runs on the event loop meanwhile."""
        with contextlib.ExitStack() as stack:
            for plain, awaited in self._layers:
                if plain:
                    stack.enter_context(plain(context))
                elif awaited:
                    stack.enter_context(_Awaited(awaited(context), self._wait))
            yield

    @contextlib.asynccontextmanager
    async def awaited(self, context: Context) -> AsyncGenerator[None]:
        """Around a coroutine task."""
        async with contextlib.AsyncExitStack() as stack:
            for plain, awaited in self._layers:
                if plain:
                    stack.enter_context(plain(context))
                elif awaited:
                    await stack.enter_async_context(awaited(context))
            yield

    def begin(self) -> None:
        """Run the hooks of the start."""
        for hook in self._app.start_hooks:
            self._run(hook())

    def end(self) -> None:
        """Run the hooks of the end."""
        for hook in self._app.stop_hooks:
            self._run(hook())

    def _run(self, result: Coroutine[Any, Any, None] | None) -> None:
        if result is not None:
            self._wait(result)


@final
class _Awaited(AbstractContextManager[None]):
    def __init__(self, manager: AbstractAsyncContextManager[None], wait: Wait) -> None:
        self._manager, self._wait = manager, wait

    def __enter__(self) -> None:
        self._wait(_coroutine(self._manager.__aenter__))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        suppressed: bool | None = self._wait(
            _coroutine(self._manager.__aexit__, kind, error, trace)
        )
        return suppressed


async def _coroutine(fn: Callable[..., Any], *args: Any) -> Any:
    return await fn(*args)
