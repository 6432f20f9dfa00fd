"""The producer of one contender, as a process in its environment; does what it is told.

`python -m benchmarks.producer <module>` reads one JSON list a line on stdin, the name of a method
of Producer and its arguments, and writes one JSON object a line on stdout.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runs import DIRECTORY, RunRecords

CHUNK = 1000  # messages in one bulk enqueue
BATCH = 20  # messages between two looks at the clock
WARM_UP = 3  # messages whose latency is not recorded
LATENCY_DEADLINE_NS = 10_000_000_000


class Cost(NamedTuple):
    """Messages a second, and this process's CPU time for each in microseconds."""

    rate: float
    cpu_us: float


class Stopwatch:
    """Times messages from its creation on, for so many seconds, in ten windows.

    The CPU time is that of the best window: other processes only ever add to it.
    """

    def __init__(self, seconds: float) -> None:
        self._messages, self._seconds = 0, seconds
        self._costs = list[float]()
        self._started = time.monotonic()
        self._window = (0, time.process_time(), self._started)

    def count(self, messages: int) -> bool:
        """Add messages that were sent; return True while there is time left."""
        self._messages += messages
        now = time.monotonic()
        counted, cpu, since = self._window
        if now - since >= self._seconds / 10:
            used = time.process_time()
            self._costs.append((used - cpu) / (self._messages - counted) * 1e6)
            self._window = (self._messages, used, now)
        return now - self._started < self._seconds

    def read(self) -> Cost:
        return Cost(self._messages / (time.monotonic() - self._started), min(self._costs))


class Producer:
    """Measures a contender's module from outside.

    The module has some of `enqueue(task)`, `aenqueue(task)`, `enqueue_many(task, count)` and
    `aenqueue_many(task, count)`; the task is "noop" or "anoop". What it lacks is not measured.
    """

    def __init__(self, module: str) -> None:
        self._module: Any = importlib.import_module(f"benchmarks.contenders.{module}")
        self._loop = asyncio.new_event_loop()

    def _function(self, name: str) -> Callable[..., Any] | None:
        function: Callable[..., Any] | None = getattr(self._module, name, None)
        return function

    def _blocking(self, name: str) -> Callable[..., Any] | None:
        """Return that function, or its coroutine function run on the event loop."""
        if function := self._function(name):
            return function
        if coroutine_function := self._function(f"a{name}"):
            return lambda *args: self._loop.run_until_complete(coroutine_function(*args))
        return None

    def enqueue(self, seconds: float) -> Cost | None:
        """Measure the sync call, one message after the other."""
        if (send := self._function("enqueue")) is None:
            return None
        send("noop")  # connect
        return _measure(lambda: [send("noop") for _ in range(BATCH)], BATCH, seconds)

    def aenqueue(self, seconds: float) -> Cost | None:
        """Measure one coroutine that awaits each call before the next."""
        if (send := self._function("aenqueue")) is None:
            return None

        async def timed() -> Cost:
            await send("noop")
            watch, running = Stopwatch(seconds), True
            while running:
                for _ in range(BATCH):
                    await send("noop")
                running = watch.count(BATCH)
            return watch.read()

        return self._loop.run_until_complete(timed())

    def enqueue_many(self, seconds: float) -> Cost | None:
        """Measure the bulk call, CHUNK messages at a time."""
        if (send := self._blocking("enqueue_many")) is None:
            return None
        send("noop", CHUNK)
        return _measure(lambda: send("noop", CHUNK), CHUNK, seconds)

    def fill(self, task: str, count: int) -> None:
        """Enqueue a backlog in the fastest way the module has.

        `fill(task, count)` of a module is a fast way that its users do not have.
        """
        if many := self._function("fill") or self._blocking("enqueue_many"):
            for at in range(0, count, CHUNK):
                many(task, min(CHUNK, count - at))
        elif awaited := self._function("aenqueue"):
            self._loop.run_until_complete(_concurrently(awaited, task, count))
        elif send := self._function("enqueue"):
            for _ in range(count):
                send(task)

    def latency(self, task: str, count: int, pause: float) -> list[float]:
        """Return the seconds from before each enqueue to the start of its task, workers idle."""
        records, latencies = RunRecords(Path(os.environ[DIRECTORY])), list[float]()
        send = self._blocking("enqueue")
        assert send is not None
        for _ in range(WARM_UP + count):
            time.sleep(pause)
            before, started = records.read().ran, time.monotonic_ns()
            send(task)
            while records.read().ran == before:
                if time.monotonic_ns() - started > LATENCY_DEADLINE_NS:
                    raise TimeoutError("a single message did not run within 10 s")
                time.sleep(0.0001)
            latencies.append(round((records.read().last_ns - started) / 1e9, 6))
        return latencies[WARM_UP:]


def _measure(step: Callable[[], object], size: int, seconds: float) -> Cost:
    watch, running = Stopwatch(seconds), True
    while running:
        step()
        running = watch.count(size)
    return watch.read()


async def _concurrently(send: Callable[[str], Awaitable[object]], task: str, count: int) -> None:
    for at in range(0, count, 50):
        await asyncio.gather(*(send(task) for _ in range(min(50, count - at))))


def main() -> None:
    # Libraries may print: only replies go to the real stdout.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    producer = Producer(sys.argv[1])
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            reply = {"result": getattr(producer, method)(*arguments)}
        except Exception as error:  # noqa: BLE001 - reported to the caller
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
