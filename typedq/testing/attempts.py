"""Attempts outside of a worker: the same calls, with nothing that limits their time."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Self, final

from typedq.contracts import Arguments
from typedq.invoke import (
    AsyncTimer,
    Limits,
    Shield,
    ainvoke,
    invoke,
    make_context,
)
from typedq.message import Envelope
from typedq.middleware import MiddlewareStack
from typedq.policy import Context
from typedq.process import ProcessState, own_process, owner
from typedq.task import Task


class Target(NamedTuple):
    """The task of an attempt, and its limits."""

    task: Task[..., Any]
    limits: Limits


class TestAttempt(NamedTuple):
    """A message that was decoded."""

    kind: Target
    envelope: Envelope
    arguments: Arguments

    def __repr__(self) -> str:
        return f"<TestAttempt {self.envelope!r}>"  # without arguments, which may be secret

    def context(self, shield: Shield) -> Context:
        """Return what the task may know of its message."""
        return make_context(self.envelope, *self.kind, shield)

    def run(self, stack: MiddlewareStack, errors: list[BaseException]) -> None:
        """Call the task outside of an event loop; what it raises is added to `errors`."""
        try:
            invoke(self, stack, _NO_LIMIT)
        except BaseException as error:  # noqa: BLE001 - the queue decides what becomes of it
            errors.append(error)

    async def arun(self, stack: MiddlewareStack, errors: list[BaseException]) -> None:
        """As `run`, on the event loop."""
        # Neither raised, as SystemExit would end the loop, nor returned: asyncio shows results.
        try:
            await ainvoke(self, stack, _NO_LIMIT)
        except BaseException as error:  # noqa: BLE001 - as above
            errors.append(error)


@final
class _NoLimit:
    is_set = False

    def shield(self) -> AbstractContextManager[None]:
        return nullcontext()

    def start(self, limit: float | None) -> None: ...

    def stop(self) -> None: ...

    def awaiting(self, limit: float | None) -> AbstractContextManager[AsyncTimer]:
        return nullcontext(self)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def limited(self, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        return awaitable


_NO_LIMIT = _NoLimit()


@final
class OwnProcess:
    """Run attempts in this process; `restore_after` undoes the changes of a task.

    No `contextmanager`, which cannot pass on the exceptions that refuse a `__traceback__`.
    """

    def __init__(self) -> None:
        if owner.pid != os.getpid():
            own_process()
        # Only in the main thread can signal handlers be set.
        is_main = threading.current_thread() is threading.main_thread()
        self._state = ProcessState() if is_main else None

    def restore_after(self, task: object) -> None:
        """Undo what `task` changed."""
        if self._state:
            self._state.restore_after(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._state:
            self._state.close()


def refuse_running_loop(what: str) -> None:
    """Raise RuntimeError inside a running event loop, where `run` could not wait for another."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"{what} needs an event loop, and one is running already: use `await outbox.arun()` here"
    )
