"""`app.testing()`: calls are captured instead of sent, and run on demand, without a server."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, final

from msgspec.structs import replace as _replace

from typedq import policy
from typedq.errors import SoftTimeout, UnknownTask
from typedq.failure import is_cancellation, next_retry_delay
from typedq.invoke import LimitRules
from typedq.message import BROADCAST, ID, decode_message, with_expiry
from typedq.middleware import Hooks, MiddlewareStack
from typedq.single import Cancellation, MessageInfo, refuse_broadcast
from typedq.task import Call, Sender, Task
from typedq.testing.attempts import OwnProcess, Target, TestAttempt, refuse_running_loop

if TYPE_CHECKING:
    from typedq.broker import OutgoingMessage
    from typedq.settings import Settings

MAX_NEW_ATTEMPTS = 10_000  # of one `run`, beside those of the messages that waited before it


class DeadLetter(NamedTuple):
    """A call that became a dead letter: its last error, and how many attempts there were."""

    call: Call
    error: BaseException
    attempts: int


@dataclass(frozen=True, slots=True, order=True)
class _Message:
    """A captured message. Those that are due run by `rank`, then by `order`."""

    rank: int  # the place of its queue; -1 for a broadcast
    order: int
    due_ms: int  # on the clock of the TestQueue
    due_at_ms: int  # the same since the epoch; 0 for at once
    until_ms: float  # when it expires, on the clock of the TestQueue
    attempts: int
    encoded: bytes = field(repr=False)  # arguments may be secret
    call: Call


@final
class TestQueue:
    """The calls that were enqueued while `app.testing()` is on.

    Its clock moves only when `advance` is called; calls that have expired by then do not run, and
    are in `expired`. Middleware, context, options and retries work as in a worker, and changes that
    a task makes to the process are undone. A retry waits its whole backoff, without jitter.
    Timeouts are not enforced, cron entries are not fired, and calls of remote tasks are captured
    but not run.
    """

    __test__ = False  # pytest collects classes of such names

    def __init__(
        self, app: Hooks, find: Callable[[str], Task[..., Any]], settings: Callable[[], Settings]
    ) -> None:
        self._app, self._find, self._settings = app, find, settings
        self._captured = list[Call]()
        self._ready = list[_Message]()
        self._delayed = list[tuple[int, int, _Message]]()
        self._count = itertools.count()
        self._clock_ms = 0
        self.dead = list[DeadLetter]()
        self.expired = list[Call]()
        self._uniques = dict[str, tuple[str, int]]()  # key -> id that holds it, until when (ms)
        self.duplicates = dict[str, str]()  # id -> id that holds its unique key
        self.closed = False

    # --- capturing ---------------------------------------------------------------------------

    def capture(self, calls: Sequence[Call], batch: Sequence[OutgoingMessage]) -> None:
        """Keep calls and the messages they were encoded to."""
        ranks = {queue.name: rank for rank, queue in enumerate(self._settings().queues)}
        now_ms = time.time_ns() // 1_000_000 + self._clock_ms
        for call, sent in zip(calls, batch, strict=True):
            if sent.destination.unique and not self._claim_unique_key(sent):
                continue
            destination = sent.destination
            delay_ms = destination.delay_ms or max(0, (destination.eta_ms or 0) - now_ms)
            encoded, rank = sent.message, ranks.get(destination.queue, -1)
            if destination.expires_ms is not None:
                encoded = with_expiry(encoded, now_ms + destination.expires_ms)
            expires_ms = decode_message(encoded).expires_ms
            until_ms = inf if expires_ms is None else self._clock_ms + expires_ms - now_ms
            message = _Message(rank, 0, 0, 0, until_ms, 0, encoded, call)
            self._captured.append(call)
            with suppress(UnknownTask):  # of a remote task there is nothing to run
                self._find(call.task)
                self._schedule(message, delay_ms)

    def _claim_unique_key(self, sent: OutgoingMessage) -> bool:
        """Let a message hold its unique key; return False if another one holds it still."""
        key, lives_ms = sent.destination.unique or ("", 0)
        holder, until_ms = self._uniques.get(key, ("", 0))
        if self._clock_ms < until_ms:
            self.duplicates[sent.id] = holder
            return False
        self._uniques[key] = sent.id, self._clock_ms + lives_ms
        return True

    def calls(self, task: Sender[...] | None = None) -> list[Call]:
        """Return every call so far (of one task), run or not, in the order of their enqueues."""
        return [call for call in self._captured if task is None or call.task == task.name]

    def broadcasts(self, task: Sender[...] | None = None) -> list[Call]:
        """Return those of `calls` that were broadcast, each as `task.call(...)` makes it."""
        sent = [call for call in self.calls(task) if call.options.queue == BROADCAST]
        return [_replace(call, options=_replace(call.options, queue=None)) for call in sent]

    def waiting(self, task: Sender[...] | None = None) -> list[Call]:
        """Return the calls (of one task) that are still to run, or to run again; due ones first."""
        delayed = [message for *_, message in sorted(self._delayed)]
        calls = [message.call for message in (*sorted(self._ready), *delayed)]
        return [call for call in calls if task is None or call.task == task.name]

    def get(self, id: str) -> MessageInfo:
        """Return where a message is, as `app.get`: ready, delayed, or unknown."""
        for state, message in self._by_state():
            envelope = decode_message(message.encoded)
            until_ms = envelope.expires_ms
            if envelope.id == id.encode():
                return MessageInfo(
                    id,
                    state,
                    task=envelope.task,
                    contract=envelope.contract.decode(),
                    queue=envelope.queue.decode(),
                    expires=None
                    if until_ms is None
                    else datetime.fromtimestamp(until_ms / 1000, UTC),
                    attempts=message.attempts,
                    meta=dict(policy.decode_meta(envelope.options)),
                    body=envelope.body,
                )
        return MessageInfo(id, "unknown")

    def cancel(self, id: str) -> Cancellation:
        """Drop a message that waits, as `app.cancel`."""
        before = self.get(id)
        if before.queue == BROADCAST:
            refuse_broadcast(id)
        raw = id.encode()
        self._ready = [m for m in self._ready if m.encoded[ID] != raw]
        self._delayed = [each for each in self._delayed if each[2].encoded[ID] != raw]
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)
        return Cancellation("unknown" if before.state == "unknown" else "dropped", before)

    def _by_state(self) -> Iterator[tuple[Literal["ready", "delayed"], _Message]]:
        for message in self._ready:
            yield "ready", message
        for *_, message in self._delayed:
            yield "delayed", message

    def advance(self, by: float | timedelta) -> None:
        """Move the clock by seconds or a timedelta; `run` then runs what became due."""
        self._clock_ms += round(policy.seconds(by, "advance") * 1000)

    # --- running -----------------------------------------------------------------------------

    def run(self, *, raise_errors: bool = True) -> int:
        """Run what is due, by priority, then in order, and what is enqueued meanwhile.

        Return the number of attempts. Raise what a task raised if its message becomes a dead
        letter; with `raise_errors=False`, find it in `dead`. Other messages stay in any case.
        """
        import asyncio

        runner, ran = asyncio.Runner(), 0

        def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
            try:
                refuse_running_loop("a task that returns an awaitable")
                return runner.run(coroutine)
            finally:
                coroutine.close()

        # A runner that is entered makes a loop, which nobody may need.
        with OwnProcess() as process, closing(runner):
            stack = MiddlewareStack(self._app, run)
            for message in self._due():
                attempt, context = self._decode(message), stack.new_context()
                task, errors = attempt.kind.task, list[BaseException]()
                if task.contract.is_async or stack.is_async:
                    self._refuse_running_loop(message)
                if task.contract.is_async:
                    runner.run(attempt.arun(stack, errors), context=context)
                else:
                    context.run(attempt.run, stack, errors)
                process.restore_after(task)
                ran += 1
                self._settle(message, task, errors, raise_errors)
        return ran

    async def arun(self, *, raise_errors: bool = True) -> int:
        """As `run`, on the running event loop: one task after the other, sync ones too."""
        import asyncio

        ran, loop = 0, asyncio.get_running_loop()
        with OwnProcess() as process:
            stack = MiddlewareStack(self._app, _never)
            for message in self._due():
                attempt, context = self._decode(message), stack.new_context()
                errors = list[BaseException]()
                await loop.create_task(attempt.arun(stack, errors), context=context)
                process.restore_after(attempt.kind.task)
                ran += 1
                self._settle(message, attempt.kind.task, errors, raise_errors)
        return ran

    def _schedule(self, message: _Message, delay_ms: int) -> None:
        """Make a message due after a delay on the clock of this queue."""
        at_ms = time.time_ns() // 1_000_000 + self._clock_ms + delay_ms if delay_ms else 0
        due_ms, order = self._clock_ms + delay_ms, next(self._count)
        message = replace(message, order=order, due_ms=due_ms, due_at_ms=at_ms)
        if delay_ms:
            heapq.heappush(self._delayed, (due_ms, order, message))
        else:
            heapq.heappush(self._ready, message)

    def _due(self) -> Generator[_Message]:
        """Take out what is due, one by one."""
        if self.closed:
            raise RuntimeError("this queue is closed: run it inside `with app.testing()`")
        max_attempts = MAX_NEW_ATTEMPTS + len(self._ready) + len(self._delayed)
        attempts = 0
        while True:
            while self._delayed and self._delayed[0][0] <= self._clock_ms:
                heapq.heappush(self._ready, heapq.heappop(self._delayed)[2])
            if not self._ready:
                return
            if attempts == max_attempts:
                raise RuntimeError(
                    f"{attempts:,} attempts and no end: does {self._ready[0].call.task!r}"
                    " enqueue itself, or run again at once, for ever?"
                )
            message = heapq.heappop(self._ready)
            if message.until_ms <= self._clock_ms:
                self.expired.append(message.call)
                continue
            attempts += 1
            yield message

    def _decode(self, message: _Message) -> TestAttempt:
        """Decode a message from its bytes, as a worker does."""
        due, attempts = b"%013d" % message.due_at_ms, b"%03d" % message.attempts
        envelope = decode_message(message.encoded)._replace(due=due, attempts=attempts)
        task, settings = self._find(envelope.task), self._settings()
        limits = LimitRules(settings).of(envelope, task)
        limits_of_body = settings.max_body, settings.max_depth
        arguments = task.contract.decode(envelope.body, *limits_of_body)
        return TestAttempt(Target(task, limits), envelope, arguments)

    def _settle(
        self,
        message: _Message,
        task: Task[..., Any],
        errors: Sequence[BaseException],
        raise_errors: bool,
    ) -> None:
        if not errors:
            return
        (error,), attempts = errors, message.attempts + 1
        if is_cancellation(error):
            return
        delay = next_retry_delay(task, error, attempts, jitter_fraction=1.0)
        if delay is not None:
            self._schedule(replace(message, attempts=attempts), round(delay * 1000))
            return
        self.dead.append(DeadLetter(message.call, error, attempts))
        # What ends a test, such as Ctrl-C or pytest.fail, is never kept back.
        if raise_errors or not issubclass(type(error), Exception | SoftTimeout):
            raise error

    def _refuse_running_loop(self, message: _Message) -> None:
        try:
            refuse_running_loop(repr(message.call.task))
        except RuntimeError:
            heapq.heappush(self._ready, message)
            raise


def _never(coroutine: Coroutine[Any, Any, Any]) -> NoReturn:
    raise AssertionError(f"{coroutine} must be awaited on the running event loop")
