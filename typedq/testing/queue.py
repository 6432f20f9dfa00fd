"""`app.testing()`: calls are captured instead of sent, and run on demand, without a server."""

from __future__ import annotations

import contextvars
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

MAX_FOLLOWERS = 10_000


class DeadLetter(NamedTuple):
    """A call that became a dead letter: its last error, and how many attempts there were."""

    call: Call
    error: BaseException
    attempts: int


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """A message. They run by the rank of their queue, then in order; broadcasts come first."""

    rank: int
    order: int
    due: int  # ms of our clock
    due_at: int  # the same since the epoch, 0 for at once
    until: float  # ms of our clock
    attempts: int
    message: bytes = field(repr=False)  # arguments may be secret
    call: Call


@final
class TestQueue:
    """The calls that were enqueued while `app.testing()` is on.

    Its clock stands still until `advance` is called; calls that have expired by then do not run,
    and are in `expired`. Middleware, context, options and retries work as in a worker, and what a
    task changes of the process is put back. A retry waits its whole backoff, without jitter.
    Timeouts are not enforced; cron entries are not fired. Calls of remote tasks are kept, and not
    run.
    """

    __test__ = False  # pytest collects classes of such names

    def __init__(
        self, app: Hooks, find: Callable[[str], Task[..., Any]], settings: Callable[[], Settings]
    ) -> None:
        self._app, self._find, self._settings = app, find, settings
        self._captured = list[Call]()
        self._ready = list[_Waiting]()
        self._later = list[tuple[int, int, _Waiting]]()
        self._count = itertools.count()
        self._clock = 0
        self.dead = list[DeadLetter]()
        self.expired = list[Call]()
        self._uniques = dict[str, tuple[str, int]]()  # key -> id that holds it, until (ms)
        self.duplicates = dict[str, str]()  # id -> id that holds its unique key
        self.closed = False

    # --- capturing ---------------------------------------------------------------------------

    def take(self, calls: Sequence[Call], batch: Sequence[OutgoingMessage]) -> None:
        """Keep calls and the messages they were encoded to."""
        ranks = {queue.name: rank for rank, queue in enumerate(self._settings().queues)}
        now = time.time_ns() // 1_000_000 + self._clock
        for call, sent in zip(calls, batch, strict=True):
            if sent.destination.unique and not self._holds(sent):
                continue
            destination = sent.destination
            delay = destination.delay_ms or max(0, (destination.eta_ms or 0) - now)
            message, rank = sent.message, ranks.get(destination.queue, -1)
            if destination.expires_ms is not None:
                message = with_expiry(message, now + destination.expires_ms)
            expires_ms = decode_message(message).expires_ms
            until = inf if expires_ms is None else self._clock + expires_ms - now
            waiting = _Waiting(rank, 0, 0, 0, until, 0, message, call)
            self._captured.append(call)
            with suppress(UnknownTask):  # of a remote task there is nothing to run
                self._find(call.task)
                self._put(waiting, delay)

    def _holds(self, sent: OutgoingMessage) -> bool:
        """Return False if another message holds its unique key on the clock of this queue."""
        key, lives_ms = sent.destination.unique or ("", 0)
        first, until = self._uniques.get(key, ("", 0))
        if self._clock < until:
            self.duplicates[sent.id] = first
            return False
        self._uniques[key] = sent.id, self._clock + lives_ms
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
        later = [waiting for *_, waiting in sorted(self._later)]
        calls = [waiting.call for waiting in (*sorted(self._ready), *later)]
        return [call for call in calls if task is None or call.task == task.name]

    def get(self, id: str) -> MessageInfo:
        """Return where a message is, as `app.get`: ready, delayed, or unknown."""
        for state, waiting in self._waiting():
            envelope = decode_message(waiting.message)
            until = envelope.expires_ms
            if envelope.id == id.encode():
                return MessageInfo(
                    id,
                    state,
                    task=envelope.task,
                    contract=envelope.contract.decode(),
                    queue=envelope.queue.decode(),
                    expires=None if until is None else datetime.fromtimestamp(until / 1000, UTC),
                    attempts=waiting.attempts,
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
        self._ready = [w for w in self._ready if w.message[ID] != raw]
        self._later = [each for each in self._later if each[2].message[ID] != raw]
        heapq.heapify(self._ready)
        heapq.heapify(self._later)
        return Cancellation("unknown" if before.state == "unknown" else "dropped", before)

    def _waiting(self) -> Iterator[tuple[Literal["ready", "delayed"], _Waiting]]:
        for waiting in self._ready:
            yield "ready", waiting
        for *_, waiting in self._later:
            yield "delayed", waiting

    def advance(self, by: float | timedelta) -> None:
        """Move the clock by seconds or a timedelta; `run` then runs what became due."""
        self._clock += round(policy.seconds(by, "advance") * 1000)

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
            for waiting in self._due():
                attempt, context = self._open(waiting), contextvars.copy_context()
                task, errors = attempt.kind.task, list[BaseException]()
                if task.contract.is_async or stack.is_async:
                    self._refuse_running_loop(waiting)
                if task.contract.is_async:
                    runner.run(attempt.arun(stack, errors), context=context)
                else:
                    context.run(attempt.run, stack, errors)
                process.put_back(task)
                ran += 1
                self._settle(waiting, task, errors, raise_errors)
        return ran

    async def arun(self, *, raise_errors: bool = True) -> int:
        """As `run`, on the running event loop: one task after the other, sync ones too."""
        import asyncio

        ran, loop = 0, asyncio.get_running_loop()
        with OwnProcess() as process:
            stack = MiddlewareStack(self._app, _never)
            for waiting in self._due():
                attempt, context = self._open(waiting), contextvars.copy_context()
                errors = list[BaseException]()
                await loop.create_task(attempt.arun(stack, errors), context=context)
                process.put_back(attempt.kind.task)
                ran += 1
                self._settle(waiting, attempt.kind.task, errors, raise_errors)
        return ran

    def _put(self, waiting: _Waiting, delay: int) -> None:
        """Make it due after `delay` ms of the clock."""
        at = time.time_ns() // 1_000_000 + self._clock + delay if delay else 0
        waiting = replace(waiting, order=next(self._count), due=self._clock + delay, due_at=at)
        if delay:
            heapq.heappush(self._later, (waiting.due, waiting.order, waiting))
        else:
            heapq.heappush(self._ready, waiting)

    def _due(self) -> Generator[_Waiting]:
        """Take out what is due, one by one."""
        if self.closed:
            raise RuntimeError("this queue is closed: run it inside `with app.testing()`")
        most = MAX_FOLLOWERS + len(self._ready) + len(self._later)
        number = 0
        while True:
            while self._later and self._later[0][0] <= self._clock:
                heapq.heappush(self._ready, heapq.heappop(self._later)[2])
            if not self._ready:
                return
            if number == most:
                raise RuntimeError(
                    f"{number:,} attempts and no end: does {self._ready[0].call.task!r}"
                    " enqueue itself, or run again at once, for ever?"
                )
            waiting = heapq.heappop(self._ready)
            if waiting.until <= self._clock:
                self.expired.append(waiting.call)
                continue
            number += 1
            yield waiting

    def _open(self, waiting: _Waiting) -> TestAttempt:
        """Decode a message from its bytes, as a worker does."""
        due, attempts = b"%013d" % waiting.due_at, b"%03d" % waiting.attempts
        envelope = decode_message(waiting.message)._replace(due=due, attempts=attempts)
        task, settings = self._find(envelope.task), self._settings()
        limits = LimitRules(settings).of(envelope, task)
        limits_of_body = settings.max_body, settings.max_depth
        arguments = task.contract.decode(envelope.body, *limits_of_body)
        return TestAttempt(Target(task, limits), envelope, arguments)

    def _settle(
        self,
        waiting: _Waiting,
        task: Task[..., Any],
        errors: Sequence[BaseException],
        raise_errors: bool,
    ) -> None:
        if not errors:
            return
        (error,), attempts = errors, waiting.attempts + 1
        if is_cancellation(error):
            return
        delay = next_retry_delay(task, error, attempts, jitter_fraction=1.0)
        if delay is not None:
            self._put(replace(waiting, attempts=attempts), round(delay * 1000))
            return
        self.dead.append(DeadLetter(waiting.call, error, attempts))
        # What ends a test, such as Ctrl-C or pytest.fail, is never kept back.
        if raise_errors or not issubclass(type(error), Exception | SoftTimeout):
            raise error

    def _refuse_running_loop(self, waiting: _Waiting) -> None:
        try:
            refuse_running_loop(repr(waiting.call.task))
        except RuntimeError:
            heapq.heappush(self._ready, waiting)
            raise


def _never(coroutine: Coroutine[Any, Any, Any]) -> NoReturn:
    raise AssertionError(f"{coroutine} is awaited here, not waited for")
