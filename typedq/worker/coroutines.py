"""Coroutine tasks as the main thread sees them: handed over in batches, and taken back when ended.

They run in a thread of their own, so that a sync task never stalls them.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, final

from typedq.app import TypedQ
from typedq.around import Around
from typedq.worker.delivery import Delivery, Outcome
from typedq.worker.journal import Journal

if TYPE_CHECKING:
    from typedq.worker.loop import Loop


def prepare(app: TypedQ) -> None:
    """Import what coroutines need where an app has any: once, before the fork into children."""
    hooks = (*app.start_hooks, *app.stop_hooks)
    if (
        any(task.contract.is_async for task in app.tasks.values())
        or any(map(inspect.iscoroutinefunction, hooks))
        or any(map(inspect.isasyncgenfunction, app.middlewares))
    ):
        import_module("typedq.worker.loop")


@final
class Coroutines:
    """Has jobs run on an event loop; `poke` is called when something ended."""

    def __init__(self, app: TypedQ, journal: Journal, poke: Callable[[], None]) -> None:
        self._journal, self._poke = journal, poke
        self.around = Around(app, self.wait)
        self._ended = deque[Outcome]()
        self._loop: Loop | None = None
        self.running = 0

    def start(self, jobs: Sequence[Delivery]) -> None:
        """Hand over jobs; they start as soon as the loop comes round."""
        self.running += len(jobs)
        (self._loop or self._begin()).start(jobs)

    def take_ended(self) -> list[Outcome]:
        """What ended since the last time."""
        taken: list[Outcome] = []
        while self._ended:
            taken.append(self._ended.popleft())
        self.running -= len(taken)
        return taken

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop, from another thread, and answer its result."""
        return (self._loop or self._begin()).wait(coroutine)

    def _begin(self) -> Loop:
        from typedq.worker.loop import Loop

        self._loop = Loop(self.around, self._journal, self._end)
        return self._loop

    def _end(self, ended: Outcome) -> None:
        # Whoever adds to others need not poke: they are taken until none is left.
        self._ended.append(ended)
        if len(self._ended) == 1:
            self._poke()
