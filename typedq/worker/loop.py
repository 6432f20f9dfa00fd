"""The event loop of coroutine tasks, in a thread of its own; and how they meet soft timeouts.

Imported where there are coroutines: asyncio takes more time and memory than the rest of a worker.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, final

from typedq.around import Around
from typedq.telemetry import running
from typedq.worker.delivery import Delivery, Outcome
from typedq.worker.execute import arguments, context, failed
from typedq.worker.journal import Journal
from typedq.worker.timing import expired

_STACK = 8 << 20  # decoding deeply nested JSON crashes on the small stacks of some platforms


@final
class Loop:
    """Runs coroutines until the process ends; `end` is called, in its thread, with each job."""

    def __init__(self, around: Around, journal: Journal, end: Callable[[Outcome], None]) -> None:
        self._around, self._journal, self._end = around, journal, end
        self._has_middleware = bool(around)
        self._tasks = dict[int, asyncio.Task[None]]()
        self._loop = asyncio.new_event_loop()
        before = threading.stack_size(_STACK)
        threading.Thread(target=self._turn, name="typedq-coroutines", daemon=True).start()
        threading.stack_size(before)

    def start(self, jobs: Sequence[Delivery]) -> None:
        """Hand over jobs; they start as soon as the loop comes round."""
        self._loop.call_soon_threadsafe(self._start, jobs)

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine, from another thread, and answer its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _turn(self) -> None:
        while not self._loop.is_closed():
            with suppress(BaseException):  # a SystemExit of a task's own task, which has it by now
                self._loop.run_forever()

    def _start(self, jobs: Sequence[Delivery]) -> None:
        for job in jobs:
            # A slot is free again only when its task is over, so each is kept while it runs.
            self._tasks[job.slot] = self._loop.create_task(self._run(job))

    async def _run(self, job: Delivery) -> None:
        kind = job.kind
        if not self._journal.claim(job.slot, time.monotonic(), kind.limits.hard):
            self._end(Outcome(job, None, ran=False))
            return
        running.set(job.labels)
        try:
            if kind.is_plain and not self._has_middleware:
                await kind.task.fn(*job.args, **job.kwargs)
            else:
                await self._attempt(job)
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
            self._end(Outcome(job, failed(job, error)))
        else:
            self._journal.done(job.slot)
            self._end(Outcome(job))

    async def _attempt(self, job: Delivery) -> None:
        clock = Clock(job.kind.limits.soft)
        args = arguments(job, clock.shield)
        if self._has_middleware:
            async with self._around.awaited(context(job, clock.shield)):
                await clock.run(job.kind.task.fn(*args, **job.kwargs))
        else:
            await clock.run(job.kind.task.fn(*args, **job.kwargs))


@final
class Clock:
    """The soft timeout of one coroutine: it meets it as cancellation."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._timeout: asyncio.Timeout | None = None
        self._shields = 0
        self._until: float | None = None

    async def run(self, task: Awaitable[Any]) -> None:
        """Await a task. Only our own expiry becomes SoftTimeout, never a timeout of the task's."""
        if self._limit is None:
            await task
            return
        own: TimeoutError | None = None
        try:
            async with asyncio.timeout(self._limit) as self._timeout:
                try:
                    await task
                except TimeoutError as error:
                    own = error
                    raise
        except TimeoutError as error:
            if error is own:
                raise
            raise expired(self._limit) from None
        finally:
            self._timeout = None

    @contextmanager
    def shield(self) -> Generator[None]:
        """Hold the soft timeout back until the end of the block, and of others beside it."""
        timeout = self._timeout
        if timeout is None or timeout.expired():
            yield
            return
        self._shields += 1
        if self._shields == 1:
            self._until = timeout.when()
            timeout.reschedule(None)
        try:
            yield
        finally:
            self._shields -= 1
            if not self._shields and self._timeout is timeout:
                timeout.reschedule(self._until)
