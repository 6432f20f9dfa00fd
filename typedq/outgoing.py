"""What hooks see of an enqueue, and how they run around it: `app.on_enqueue`."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

from typedq.layers import acall_inside, call_inside
from typedq.message import is_broadcast
from typedq.policy import Meta, merge_meta, read_meta
from typedq.task import Call, Receipt

if TYPE_CHECKING:
    import asyncio


@final
class OutgoingBatch:
    """The calls of one enqueue, their queues, and their receipts once they are accepted."""

    def __init__(self, calls: Sequence[Call], queues: Sequence[str]) -> None:
        self.calls, self.queues = list(calls), queues
        self.receipts: tuple[Receipt, ...] = ()
        self.is_sent = False

    def add_meta(self, places: Sequence[int], meta: Meta) -> None:
        """Add metadata to the calls at these places. Raises InvalidOptions, RuntimeError."""
        if self.is_sent:
            raise RuntimeError("the calls were sent already; add metadata before the yield")
        merged: dict[bytes, bytes] = {}
        for call in [self.calls[place] for place in places]:
            if call.meta not in merged:
                merged[call.meta] = merge_meta(call.task, call.meta, meta)
        for place in places:
            call = self.calls[place]
            more = merged[call.meta]
            self.calls[place] = Call(call.task, call.body, call.options, more)


@final
class OutgoingCall:
    """One call of an enqueue, without its arguments."""

    def __init__(self, batch: OutgoingBatch, place: int) -> None:
        self._batch, self._place = batch, place

    @property
    def task(self) -> str:
        """Return the name of the task."""
        return self._batch.calls[self._place].task

    @property
    def queue(self) -> str:
        """Return the name of the queue; for a broadcast, one of typedq's own."""
        return self._batch.queues[self._place]

    @property
    def is_broadcast(self) -> bool:
        """Return True if it goes to every worker."""
        return is_broadcast(self.queue)

    @property
    def meta(self) -> Meta:
        """Return its metadata so far, read-only."""
        return read_meta(self._batch.calls[self._place].meta)

    def add_meta(self, meta: Meta, /) -> None:
        """Add metadata before the yield; it replaces that of the same keys.

        Raises InvalidOptions, and RuntimeError after the yield.
        """
        self._batch.add_meta([self._place], meta)

    def __repr__(self) -> str:
        return f"<OutgoingCall of {self.task} to {self.queue}>"


@final
class EnqueueContext:
    """The calls of one enqueue, as the hooks of `app.on_enqueue` see them.

    calls: one, or all of an `enqueue_many` in its order
    """

    def __init__(self, batch: OutgoingBatch) -> None:
        self._batch: Final = batch
        self.calls: Final = tuple(OutgoingCall(batch, place) for place in range(len(batch.calls)))

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """Return the receipts of all calls after the yield; none if the enqueue failed."""
        return self._batch.receipts

    def add_meta(self, meta: Meta, /) -> None:
        """Add metadata to all calls, as `OutgoingCall.add_meta` does for one."""
        self._batch.add_meta(range(len(self.calls)), meta)

    def __repr__(self) -> str:
        return f"<EnqueueContext of {len(self.calls)} call(s)>"


# --- running the hooks ----------------------------------------------------------------------------

EnqueueHook = Callable[[EnqueueContext], Generator[None] | AsyncGenerator[None]]
# Those that run around the current code: an enqueue inside a hook runs no hooks again.
_running: ContextVar[tuple[int, ...]] = ContextVar("running_enqueue_hooks", default=())
# By process, because threads end at a fork; and by how many of these loops a call is inside of,
# because a hook of one app that blocks in an enqueue of another holds up the loop it runs on.
_loops: dict[tuple[int, int], asyncio.AbstractEventLoop] = {}
_here = threading.local()


def send_inside(
    hooks: Sequence[EnqueueHook],
    calls: Sequence[Call],
    queue_of: Callable[[Call], str],
    send: Callable[[Sequence[Call]], list[Receipt]],
) -> list[Receipt]:
    """Send calls inside all hooks, unless one of them does it. Raises what `send` or one raises."""
    if not hooks or not calls or id(hooks) in _running.get():
        return send(calls)
    batch, errors = OutgoingBatch(calls, list(map(queue_of, calls))), list[BaseException]()

    def call() -> None:
        batch.is_sent = True
        try:
            batch.receipts = tuple(send(batch.calls))
        except BaseException as error:
            errors.append(error)
            raise

    token = _running.set((*_running.get(), id(hooks)))
    try:
        call_inside(hooks, EnqueueContext(batch), call, _run_on_loop)
    finally:
        _running.reset(token)
    return _receipts(batch, errors)


async def asend_inside(
    hooks: Sequence[EnqueueHook],
    calls: Sequence[Call],
    queue_of: Callable[[Call], str],
    send: Callable[[Sequence[Call]], Awaitable[list[Receipt]]],
) -> list[Receipt]:
    """As `send_inside`, on the running event loop."""
    if not hooks or not calls or id(hooks) in _running.get():
        return await send(calls)
    batch, errors = OutgoingBatch(calls, list(map(queue_of, calls))), list[BaseException]()

    async def call() -> None:
        batch.is_sent = True
        try:
            batch.receipts = tuple(await send(batch.calls))
        except BaseException as error:
            errors.append(error)
            raise

    token = _running.set((*_running.get(), id(hooks)))
    try:
        await acall_inside(hooks, EnqueueContext(batch), call)
    finally:
        _running.reset(token)
    return _receipts(batch, errors)


def _receipts(batch: OutgoingBatch, errors: Sequence[BaseException]) -> list[Receipt]:
    for error in errors:  # there are no receipts, so no hook can handle it
        raise error
    return list(batch.receipts)


def _run_on_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a step of an async hook for a sync enqueue, on an event loop in a thread of its own."""
    import asyncio

    depth: int = getattr(_here, "depth", 0)
    loop = _loops.get((os.getpid(), depth)) or _start_loop(depth)
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def _start_loop(depth: int) -> asyncio.AbstractEventLoop:
    import asyncio

    loop = asyncio.new_event_loop()
    if (known := _loops.setdefault((os.getpid(), depth), loop)) is not loop:
        loop.close()  # another thread was faster
        return known

    def serve() -> None:
        _here.depth = depth + 1
        loop.run_forever()

    threading.Thread(target=serve, name="typedq-on-enqueue", daemon=True).start()
    return loop
