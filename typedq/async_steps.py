"""Run async middleware on the event loop for a sync task, which runs in another thread."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, final

from typedq.process import end_if_copy

# Runs a coroutine on the event loop of the process, from outside of it, and returns its result.
RunCoroutine = Callable[[Coroutine[Any, Any, Any]], Any]
_UNSET: Final = object()


@final
class AsyncSteps:
    """One asyncio task that runs every step of the async middleware of an attempt.

    Context variable tokens and cancel scopes must be reset in the asyncio task that created them.
    Context variables are copied to that task and back, because the sync task has another context.
    A cancellation between two steps is ignored, because it could not interrupt the sync task.
    """

    def __init__(self, run: RunCoroutine) -> None:
        self._run = run
        self._requests: Any = None
        self._result: Any = None

    def run(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Await `step()` in the asyncio task; return its result or raise its exception."""
        self._run(self._request(step, contextvars.copy_context()))
        result, error, context = self._result
        _adopt(context)
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the asyncio task."""
        if self._requests is not None:
            self._run(self._requests.put(None))

    async def _request(
        self, step: Callable[[], Awaitable[Any]], context: contextvars.Context
    ) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        if self._requests is None:
            self._requests = asyncio.Queue()
            self._task = loop.create_task(self._serve(), context=contextvars.Context())
        reply = loop.create_future()
        self._requests.put_nowait((step, context, reply))
        await reply

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
            except BaseException as raised:  # noqa: BLE001 - raised again in `run`
                end_if_copy(raised)
                error = raised
            end_if_copy()
            # Not as the result of a future: asyncio may call its repr, which may raise.
            self._result = result, error, contextvars.copy_context()
            reply.set_result(None)
            del result, error, step


def _adopt(context: contextvars.Context) -> None:
    """Copy the variables of another context to the current one."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)


async def within_context(context: contextvars.Context, awaitable: Awaitable[Any]) -> None:
    """Await something on the running loop in another context."""
    import asyncio

    async def finish() -> None:
        await awaitable

    await asyncio.get_running_loop().create_task(finish(), context=context)
