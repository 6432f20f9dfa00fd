"""Coroutine tasks: on an event loop in a thread of its own, so that a sync task never stalls them.

The main thread hands them over in batches, and takes them back when they have ended.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn, final

from typedq.app import TypedQ
from typedq.invoke import ainvoke
from typedq.middleware import MiddlewareStack
from typedq.process import end_if_copy, owner, set_trace
from typedq.telemetry import event, running
from typedq.worker.delivery import Delivery
from typedq.worker.journal import Journal
from typedq.worker.settle import expire, failed
from typedq.worker.timeouts import AsyncTimer

_STACK = 8 << 20  # decoding deeply nested JSON crashes on the small stacks of some platforms
BLOCKED_S = 5.0  # a loop that does not turn for so long is blocked
_MAX_FAILED_TURNS, _BACKOFF_S = 10, 0.1


@final
class Coroutines:
    """Runs deliveries on an event loop; `wake` is called when something ended."""

    def __init__(self, app: TypedQ, journal: Journal, wake: Callable[[], None]) -> None:
        self._journal, self._wake = journal, wake
        self.middleware = MiddlewareStack(app.declarations.hooks, self.wait)
        self._ended = deque[Delivery]()
        self._tasks = dict[int, asyncio.Task[None]]()
        self._deliveries = dict[int, Delivery]()  # that have not ended, by slot
        self._loop: asyncio.AbstractEventLoop | None = None
        self._factory: Any = None
        self._trace: Any = None
        self._profile: Any = None
        self.running = 0

    def start(self, deliveries: Sequence[Delivery]) -> None:
        """Hand over deliveries; they start with the next turn of the loop."""
        self.running += len(deliveries)
        (self._loop or self._start_loop()).call_soon_threadsafe(self._start, deliveries)

    def remember_loop(self) -> None:
        """Remember the loop as the app's start hooks left it, to restore and check it."""
        self._factory = self._loop.get_task_factory() if self._loop else None
        self._watch_files()

    def _watch_files(self) -> None:
        for name in ("_ssock", "_csock"):  # by which other threads wake it; uvloop hides them
            if (end := getattr(self._loop, name, None)) and self.middleware.process:
                self.middleware.process.watch_file(end.fileno())

    def take_ended(self) -> list[Delivery]:
        """Return what ended since the last time."""
        taken: list[Delivery] = []
        while self._ended:
            taken.append(self._ended.popleft())
        self.running -= len(taken)
        process = self.middleware.process
        if taken and not self.running and process:
            # Not while others run: what they changed for a moment is theirs.
            tasks = {delivery.kind.task for delivery in taken}
            if process.is_due_after(tasks):
                process.restore_after(*tasks)
        return taken

    def cancel(self, timer: AsyncTimer | None) -> None:
        """Let what was cancelled meet it, and what runs under `timer`. From a signal handler."""
        if self._loop and (self._deliveries or timer):
            self._loop.call_soon_threadsafe(self._cancel, timer)
        elif timer:
            timer.cancel()  # the loop is about to start

    def _cancel(self, timer: AsyncTimer | None) -> None:
        if timer:
            timer.cancel()
        for slot, delivery in self._deliveries.items():
            if delivery.timer and self._journal.take_cancellation(slot, delivery.id):
                delivery.timer.cancel()

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop, from another thread, and return its result.

        It waits as long as that takes: the task's hard timeout is the limit. It is logged if a
        coroutine task blocks the loop meanwhile.
        """
        loop = self._loop or self._start_loop()
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        while not concurrent.futures.wait((future,), BLOCKED_S).done:
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            if not turned.wait(BLOCKED_S) and not future.done():
                tasks = sorted({each.kind.task.name for each in [*self._deliveries.values()]})
                what = "the event loop is blocked; a sync task waits for it"
                event(logging.WARNING, what, coroutines=",".join(tasks))
                concurrent.futures.wait((future,))
        return future.result()

    # --- in the thread of the loop --------------------------------------------------------------

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = owner.loop = asyncio.new_event_loop()
        self._watch_files()
        before = threading.stack_size(_STACK)
        threading.Thread(target=self._run_loop, name="typedq-coroutines", daemon=True).start()
        threading.stack_size(before)
        return self._loop

    def _run_loop(self) -> None:
        loop = self._loop
        assert loop  # noqa: S101 - it was made before the thread
        self._trace, self._profile = sys.gettrace(), sys.getprofile()
        failed_turns = 0
        while failed_turns < _MAX_FAILED_TURNS:
            turned, error = list[bool](), None
            try:
                loop.call_soon(turned.append, True)
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # Of a task that a task made: whoever awaits that has it by now.
                turned.append(True)
            except BaseException as raised:  # noqa: BLE001 - whatever was done to the loop
                error = raised
            if turned:  # or somebody stopped the loop, which is not theirs
                failed_turns = 0
                continue
            failed_turns += 1
            if failed_turns == 1:
                event(logging.ERROR, "the event loop does not run; retrying", error=error)
            time.sleep(_BACKOFF_S)
        _end_process()

    def _start(self, deliveries: Sequence[Delivery]) -> None:
        loop, new_context = self._loop, self.middleware.new_context
        assert loop  # noqa: S101 - it calls this
        asyncio._set_running_loop(loop)  # noqa: SLF001 - a task may have unset it
        if not self._deliveries:  # not while others run, of which one may need it
            loop.set_task_factory(self._factory)
        for delivery in deliveries:
            self._deliveries[delivery.slot] = delivery
            run = self._run(delivery)
            try:
                # Not `create_task`, which a task may have patched. A slot is free again only when
                # its task is over, so each is kept while it runs.
                task = asyncio.Task(run, loop=loop, context=new_context())
                self._tasks[delivery.slot] = task
            except BaseException as error:  # noqa: BLE001 - what else was patched is unknown
                run.close()
                _end_process(error)
        loop.call_soon(self._end_broken, deliveries)  # behind the first step of each

    def _end_broken(self, deliveries: Sequence[Delivery]) -> None:
        """End those whose tasks are over already, as when cancelled before their first step."""
        for delivery in deliveries:
            task = self._tasks[delivery.slot]
            if self._deliveries.get(delivery.slot) is delivery and task.done():
                self._end_unended(delivery, task)

    def _end_unended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        """End a delivery that its task has not ended, because it did not start or broke down."""
        if self._deliveries.get(delivery.slot) is delivery:
            if delivery.started and delivery.settlement is None:
                error = None if task.cancelled() else task.exception()
                delivery.settlement = failed(delivery, error or asyncio.CancelledError())
            self._end(delivery)

    async def _run(self, delivery: Delivery) -> None:
        if not owner.mark[0]:  # a coroutine forked in C code, and waits
            end_if_copy()
        limits, began = delivery.kind.limits, time.monotonic()
        if began >= delivery.until:
            delivery.settlement = expire(delivery)
            self._end(delivery)
            return
        delivery.started = self._journal.claim(delivery.slot, began, limits.hard)
        if not delivery.started:
            self._end(delivery)
            return
        running.set(delivery.labels)
        delivery.timer = timer = AsyncTimer(limits.soft, limits.soft)
        try:
            await ainvoke(delivery, self.middleware, timer)
            self._note_end(delivery, began)
            self._journal.done(delivery.slot)
            self._end(delivery)
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
            if self._deliveries.get(delivery.slot) is not delivery:
                return
            # With a recursion limit that it lowered, even this may be too deep.
            self._tasks[delivery.slot].add_done_callback(partial(self._end_unended, delivery))
            if self.middleware.process:
                self.middleware.process.restore_log(delivery.kind.task)
            delivery.settlement = failed(delivery, error)
            self._note_end(delivery, began)
            self._end(delivery)

    def _note_end(self, delivery: Delivery, began: float) -> None:
        if self._journal.tally:
            self._journal.tally.ended[delivery.slot] = ended = time.monotonic()
            delivery.took = ended - began

    def _end(self, delivery: Delivery) -> None:
        # In one line, because a trace function that the task left may raise between two.
        self._ended.append(self._deliveries.pop(delivery.slot))
        if not self._deliveries:  # else they may be those of one that still runs
            self._restore_trace()
        # Whoever adds to others need not wake: they are taken until none is left.
        if len(self._ended) == 1:
            self._wake()

    def _restore_trace(self) -> None:
        if sys.gettrace() is not self._trace:
            set_trace(self._trace)
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)


def _end_process(error: BaseException | None = None) -> NoReturn:
    """End it: coroutines are held that it will never run; another process may."""
    try:
        event(logging.CRITICAL, "a task broke the event loop; the process ends", error=error)
    finally:
        os._exit(1)
