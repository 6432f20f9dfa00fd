"""What `app.testing()` puts in place of the server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import NoReturn, final

from typedq.testing.queue import TestQueue


@final
class Capture(AbstractContextManager[TestQueue]):
    """`with app.testing()`; a generator could not pass on an exception that forbids attributes."""

    def __init__(self, queue: TestQueue, captured: AbstractContextManager[None]) -> None:
        self._queue, self._captured = queue, captured

    def __enter__(self) -> TestQueue:
        self._captured.__enter__()
        return self._queue

    def __exit__(self, *error: object) -> None:
        self._queue.closed = True
        self._captured.__exit__(None, None, None)


@final
class NoServer:
    """In place of the broker: enqueues do nothing, anything else raises RuntimeError."""

    def __init__(self, queue: TestQueue) -> None:
        self._duplicates = queue.duplicates

    def enqueue(self, *args: object) -> Mapping[str, str]:
        return self._duplicates

    async def aenqueue(self, *args: object) -> Mapping[str, str]:
        return self._duplicates

    def close(self) -> None: ...

    async def aclose(self) -> None: ...

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("there is no server inside `with app.testing()`")
