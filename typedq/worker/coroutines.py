"""Coroutine tasks: on an event loop in a thread of its own, so that a sync task never stalls them.

The main thread hands them over in batches, and takes them back when they have ended.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, final

import msgspec

from typedq.app import TypedQ
from typedq.errors import Cancelled, SoftTimeout
from typedq.invoke import ainvoke
from typedq.middleware import MiddlewareStack
from typedq.process import owner
from typedq.telemetry import event, running
from typedq.worker.delivery import Delivery
from typedq.worker.journal import Journal
from typedq.worker.settle import expire, failed

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
        self.running = 0

    def start(self, deliveries: Sequence[Delivery]) -> None:
        """Hand over deliveries; they start with the next turn of the loop."""
        self.running += len(deliveries)
        (self._loop or self._start_loop()).call_soon_threadsafe(self._start, deliveries)

    def keep_factory(self) -> None:
        """Keep the task factory that the app's start hooks left."""
        self._factory = self._loop.get_task_factory() if self._loop else None

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
        before = threading.stack_size(_STACK)
        threading.Thread(target=self._run_loop, name="typedq-coroutines", daemon=True).start()
        threading.stack_size(before)
        return self._loop

    def _run_loop(self) -> None:
        loop = self._loop
        assert loop  # noqa: S101 - it was made before the thread
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
        loop, base = self._loop, self.middleware.base
        assert loop  # noqa: S101 - it calls this
        if not self._deliveries:  # not while others run, of which one may need it
            loop.set_task_factory(self._factory)
        for delivery in deliveries:
            self._deliveries[delivery.slot] = delivery
            run = self._run(delivery)
            try:
                # Not `create_task`, which a task may have patched. A slot is free again only when
                # its task is over, so each is kept while it runs.
                task = asyncio.Task(run, loop=loop, context=base.copy())
                self._tasks[delivery.slot] = task
            except BaseException as error:  # noqa: BLE001 - what else was patched is unknown
                run.close()
                _end_process(error)
        loop.call_soon(self._end_unstarted, deliveries)  # behind the first step of each

    def _end_unstarted(self, deliveries: Sequence[Delivery]) -> None:
        """End those whose tasks were cancelled before their first step."""
        for delivery in deliveries:
            if self._deliveries.get(delivery.slot) is delivery and not delivery.started:
                self._tasks[delivery.slot].add_done_callback(partial(self._end_unended, delivery))

    def _end_unended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        """End a delivery that its task has not ended, because it did not start or broke down."""
        if self._deliveries.get(delivery.slot) is delivery:
            if delivery.started and delivery.settlement is None:
                error = None if task.cancelled() else task.exception()
                delivery.settlement = failed(delivery, error or asyncio.CancelledError())
            self._end(delivery)

    async def _run(self, delivery: Delivery) -> None:
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
        except BaseException as error:  # noqa: BLE001 - whatever it raises is settled
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
        # Whoever adds to others need not wake: they are taken until none is left.
        del self._deliveries[delivery.slot]
        self._ended.append(delivery)
        if len(self._ended) == 1:
            self._wake()


def _end_process(error: BaseException | None = None) -> NoReturn:
    """End it: coroutines are held that it will never run; another process may."""
    try:
        event(logging.CRITICAL, "a task broke the event loop; the process ends", error=error)
    finally:
        os._exit(1)


# A Struct, as deliveries are.
@final
class AsyncTimer(msgspec.Struct, eq=False, gc=False):
    """The soft timeout of one coroutine, and its cancellation: it meets both as cancellation.

    limit: as it is reported; left: seconds from now, if part of the limit is over
    """

    _limit: float | None
    _left: float | None
    _timeout: asyncio.Timeout | None = None
    _shields: int = 0
    _until: float | None = None
    _task: asyncio.Task[Any] | None = None  # while it runs what may be interrupted
    _is_cancelled: bool = False

    async def run(self, awaitable: Awaitable[Any]) -> None:
        """Await it. Only our own expiry becomes SoftTimeout, never a timeout of the task's."""
        self._task = asyncio.current_task()
        if self._is_cancelled and self._task:
            self._task.cancel()
        try:
            if self._limit is None:
                await awaitable
            else:
                await self._run_limited(awaitable, self._limit)
        except asyncio.CancelledError:
            if self._is_cancelled and self._task:
                self._task.uncancel()
                raise cancelled() from None
            raise
        finally:
            self._task = None

    async def _run_limited(self, awaitable: Awaitable[Any], limit: float) -> None:
        own: TimeoutError | None = None
        try:
            async with asyncio.timeout(self._left) as self._timeout:
                try:
                    await awaitable
                except TimeoutError as error:
                    own = error
                    raise
        except TimeoutError as error:
            if error is own:
                raise
            raise expired(limit) from None
        finally:
            self._timeout = None

    def cancel(self) -> None:
        """Cancel it, now or when its shields end; before it began, when it begins."""
        self._is_cancelled = True
        if self._task and not self._shields:
            self._task.cancel()

    @contextmanager
    def shield(self) -> Generator[None]:
        """Hold both back until the end of the block, and of others beside it."""
        timeout = self._timeout
        if timeout is not None and timeout.expired():
            timeout = None
        self._shields += 1
        if self._shields == 1 and timeout:
            self._until = timeout.when()
            timeout.reschedule(None)
        try:
            yield
        finally:
            self._shields -= 1
            if not self._shields:
                if timeout and self._timeout is timeout:
                    timeout.reschedule(self._until)
                if self._is_cancelled and self._task:
                    self._task.cancel()


def cancelled() -> Cancelled:
    """Return what a task meets whose message was cancelled."""
    return Cancelled("its message was cancelled")


def expired(limit: float) -> SoftTimeout:
    """Return the soft timeout of a task that may run for `limit` seconds."""
    return SoftTimeout(f"it ran longer than its soft timeout of {limit:g} s")
