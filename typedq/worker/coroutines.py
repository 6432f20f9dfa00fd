"""Coroutine tasks: an event loop in a thread of its own, so that a sync task never stalls them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, final

from typedq.app import TypedQ
from typedq.around import Around
from typedq.telemetry import running
from typedq.worker.execute import arguments, context, failed
from typedq.worker.job import Ended, Job
from typedq.worker.journal import Journal
from typedq.worker.timing import Clock

_STACK = 8 << 20  # decoding deeply nested JSON crashes on the small stacks of some platforms


@final
class Coroutines:
    """Runs jobs handed over in batches; `poke` is called when something ended."""

    def __init__(self, app: TypedQ, journal: Journal, poke: Callable[[], None]) -> None:
        self._journal, self._poke = journal, poke
        self.around = Around(app, self.wait)
        self._has_middleware = bool(self.around)
        self._ended = deque[Ended]()
        self._tasks = dict[int, asyncio.Task[None]]()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.running = 0

    def start(self, jobs: Sequence[Job]) -> None:
        """Hand over jobs; they start as soon as the loop comes round."""
        self.running += len(jobs)
        (self._loop or self._begin()).call_soon_threadsafe(self._start, jobs)

    def take_ended(self) -> list[Ended]:
        """What ended since the last time."""
        taken: list[Ended] = []
        while self._ended:
            taken.append(self._ended.popleft())
        self.running -= len(taken)
        return taken

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop, from another thread, and answer its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop or self._begin()).result()

    def _begin(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.new_event_loop()
        before = threading.stack_size(_STACK)
        threading.Thread(target=_run, args=[loop], name="typedq-coroutines", daemon=True).start()
        threading.stack_size(before)
        return loop

    def _start(self, jobs: Sequence[Job]) -> None:
        create = asyncio.get_running_loop().create_task
        for job in jobs:
            # A slot is free again only when its task is over, so each is kept while it runs.
            self._tasks[job.slot] = create(self._run(job))

    async def _run(self, job: Job) -> None:
        kind = job.kind
        if not self._journal.claim(job.slot, time.monotonic(), kind.limits.hard):
            self._end(Ended(job, None, ran=False))
            return
        running.set(job.labels)
        try:
            if kind.is_plain and not self._has_middleware:
                await kind.task.fn(*job.args, **job.kwargs)
            else:
                await self._attempt(job)
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
            self._end(Ended(job, failed(job, error)))
        else:
            self._journal.done(job.slot)
            self._end(Ended(job))

    async def _attempt(self, job: Job) -> None:
        clock = Clock(job.kind.limits.soft)
        args = arguments(job, clock.shield)
        if self._has_middleware:
            async with self.around.awaited(context(job, clock.shield)):
                await clock.run(job.kind.task.fn(*args, **job.kwargs))
        else:
            await clock.run(job.kind.task.fn(*args, **job.kwargs))

    def _end(self, ended: Ended) -> None:
        # Whoever adds to others need not poke: they are taken until none is left.
        self._ended.append(ended)
        if len(self._ended) == 1:
            self._poke()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while not loop.is_closed():
        with suppress(BaseException):  # a SystemExit of a task's own task, which has it by now
            loop.run_forever()
