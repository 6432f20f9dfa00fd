"""Calls captured instead of sent, and run on demand: testing without a server."""

from __future__ import annotations

import heapq
import inspect
import itertools
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, final

from msgspec.structs import replace as _replace

from typedq import policy
from typedq.around import Around
from typedq.attempt import Rules, again, context
from typedq.errors import SoftTimeout
from typedq.hooks import Hooks
from typedq.message import BROADCAST, decode_message
from typedq.policy import Context
from typedq.task import Call, Task

if TYPE_CHECKING:
    from typedq.broker import OutgoingMessage
    from typedq.settings import Settings

MAX_FOLLOWERS = 10_000


class DeadLetter(NamedTuple):
    """A call that was buried: its last error, and how many attempts there were."""

    call: Call
    error: BaseException
    attempts: int


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """A message: runs by the place of its queue, then in order; `due` is in ms of our clock.

    Broadcasts are in no queue of the app, and first.
    """

    rank: int
    order: int
    due: int
    due_at: int  # the same since the epoch, 0 for at once
    attempts: int
    message: bytes
    call: Call


class _Job(NamedTuple):
    task: Task[..., Any]
    context: Context
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def begin(self) -> Any:
        args = (self.context, *self.args) if self.task.contract.takes_context else self.args
        return self.task.fn(*args, **self.kwargs)


@final
class Outbox:
    """What the tasks of an app were asked to do while `app.testing()` is on.

    Its clock stands still until `advance` is called. Middleware, context, options and retries work
    as in a worker, but a retry waits its whole backoff, without jitter. Timeouts are not enforced,
    and cron entries are not fired. Exceptions that would make a dead letter are raised by `run`.
    """

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
        self.closed = False

    # --- capturing ---------------------------------------------------------------------------

    def take(self, calls: Sequence[Call], batch: Sequence[OutgoingMessage]) -> None:
        """Keep calls and the messages that were made of them."""
        ranks = {queue.name: rank for rank, queue in enumerate(self._settings().queues)}
        now = time.time_ns() // 1_000_000 + self._clock
        for call, sent in zip(calls, batch, strict=True):
            delay = sent.way.delay_ms or max(0, (sent.way.eta_ms or 0) - now)
            waiting = _Waiting(ranks.get(sent.way.queue, -1), 0, 0, 0, 0, sent.message, call)
            self._captured.append(call)
            self._put(waiting, delay)

    def calls(self, task: Task[..., Any] | None = None) -> list[Call]:
        """Every call so far (of one task), run or not, in the order in which they were enqueued."""
        return [call for call in self._captured if task is None or call.task == task.name]

    def broadcasts(self, task: Task[..., Any] | None = None) -> list[Call]:
        """Those of `calls` that were broadcast, as what `task.call` gives for their arguments."""
        sent = [call for call in self.calls(task) if call.options.queue == BROADCAST]
        return [_replace(call, options=_replace(call.options, queue=None)) for call in sent]

    def waiting(self, task: Task[..., Any] | None = None) -> list[Call]:
        """The calls (of one task) that are still to run, or to run again; what is due first."""
        later = [waiting for *_, waiting in sorted(self._later)]
        calls = [waiting.call for waiting in (*sorted(self._ready), *later)]
        return [call for call in calls if task is None or call.task == task.name]

    def advance(self, by: float | timedelta) -> None:
        """Let time pass (seconds or timedelta); `run` then runs what became due."""
        self._clock += round(policy.seconds(by, "advance") * 1000)

    # --- running -----------------------------------------------------------------------------

    def run(self, *, raise_errors: bool = True) -> int:
        """Run what is due, by priority, then in order, with all that is enqueued meanwhile.

        Answers how many attempts that were. Raises what a task raised if that makes a dead letter;
        with `raise_errors=False` it goes on, and `dead` has it. Other messages stay in any case.
        """
        import asyncio

        ran, runner = 0, asyncio.Runner()
        around = Around(self._app, runner.run)
        try:
            for waiting in self._due():
                job = self._open(waiting)
                if job.task.contract.is_async or any(map(_is_async, self._app.middlewares)):
                    self._refuse_a_loop(waiting)
                with self._settling(waiting, job.task, raise_errors):
                    if job.task.contract.is_async:
                        runner.run(_awaited(job, around))
                    else:
                        with around.sync(job.context):
                            job.begin()
                ran += 1
        finally:
            runner.close()
        return ran

    async def arun(self, *, raise_errors: bool = True) -> int:
        """As `run`, on the running event loop, one task after the other, sync ones too."""
        ran, around = 0, Around(self._app, _never)
        for waiting in self._due():
            job = self._open(waiting)
            with self._settling(waiting, job.task, raise_errors):
                await _awaited(job, around)
            ran += 1
        return ran

    def _put(self, waiting: _Waiting, delay: int) -> None:
        """Make it due after `delay` ms of our clock."""
        at = time.time_ns() // 1_000_000 + self._clock + delay if delay else 0
        waiting = replace(waiting, order=next(self._count), due=self._clock + delay, due_at=at)
        if delay:
            heapq.heappush(self._later, (waiting.due, waiting.order, waiting))
        else:
            heapq.heappush(self._ready, waiting)

    def _due(self) -> Generator[_Waiting]:
        """Take out what is due, one by one, until nothing is."""
        if self.closed:
            raise RuntimeError("this outbox is closed: run it inside `with app.testing()`")
        most = MAX_FOLLOWERS + len(self._ready) + len(self._later)
        for number in itertools.count():
            while self._later and self._later[0][0] <= self._clock:
                heapq.heappush(self._ready, heapq.heappop(self._later)[2])
            if not self._ready:
                return
            if number == most:
                raise RuntimeError(
                    f"{number:,} attempts and no end: does {self._ready[0].call.task!r}"
                    " enqueue itself, or run again at once, for ever?"
                )
            yield heapq.heappop(self._ready)

    def _open(self, waiting: _Waiting) -> _Job:
        """Read a message as a worker would, from its bytes."""
        due, attempts = b"%013d" % waiting.due_at, b"%03d" % waiting.attempts
        envelope = decode_message(waiting.message)._replace(due=due, attempts=attempts)
        task = self._find(envelope.task)
        settings = self._settings()
        limits = Rules(settings).of(envelope, task)
        task.bound(settings.max_body, settings.max_depth)
        args, kwargs = task.contract.decode(envelope.body)
        return _Job(task, context(envelope, task, limits), args, kwargs)

    @contextmanager
    def _settling(
        self, waiting: _Waiting, task: Task[..., Any], raise_errors: bool
    ) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            attempts = waiting.attempts + 1
            delay = again(task, error, attempts, roll=1.0)
            if delay is not None:
                self._put(replace(waiting, attempts=attempts), round(delay * 1000))
                return
            self.dead.append(DeadLetter(waiting.call, error, attempts))
            # What ends a test, such as Ctrl-C or pytest.fail, is never kept back.
            if raise_errors or not isinstance(error, Exception | SoftTimeout):
                raise

    def _refuse_a_loop(self, waiting: _Waiting) -> None:
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        heapq.heappush(self._ready, waiting)
        raise RuntimeError(
            f"{waiting.call.task!r} needs an event loop, and one is running already:"
            " use `await outbox.arun()` here"
        )


@final
class NoServer:
    """Stands where the broker does, so that whatever would need a server says so."""

    def enqueue(self, *args: object) -> None: ...

    async def aenqueue(self, *args: object) -> None: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("there is no server inside `with app.testing()`")


async def _awaited(job: _Job, around: Around) -> None:
    async with around.awaited(job.context):
        result = job.begin()
        if job.task.contract.is_async:
            await result


def _is_async(middleware: object) -> bool:
    return inspect.isasyncgenfunction(middleware)


def _never(coroutine: object) -> NoReturn:
    raise AssertionError(f"{coroutine} is awaited here, not waited for")
