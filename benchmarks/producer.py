"""The producing side of one contender, in its own environment: told what to do, a line at a time.

`python -m benchmarks.producer <contender>`: reads JSON lists on stdin, answers JSON on stdout.
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
from typing import Any

from benchmarks.ticks import PLACE, Ticks

CHUNK = 1000  # messages in one bulk enqueue
Number = float | int | None


class Producer:
    """What is measured from outside of a contender's module.

    The module has `one`, `aone` (a coroutine function), `bulk` or `abulk`, all of a number of
    messages or of the name of a task ("noop" or "anoop"); what it lacks is not measured.
    """

    def __init__(self, name: str) -> None:
        self._side: Any = importlib.import_module(f"benchmarks.contenders.{name}")
        self._loop = asyncio.new_event_loop()

    def _has(self, name: str) -> Callable[..., Any] | None:
        found: Callable[..., Any] | None = getattr(self._side, name, None)
        return found

    def _sync(self, name: str) -> Callable[..., Any] | None:
        """That function, or its coroutine function driven by our loop."""
        if plain := self._has(name):
            return plain
        if awaited := self._has(f"a{name}"):
            return lambda *args: self._loop.run_until_complete(awaited(*args))
        return None

    def one(self, seconds: float) -> Number:
        """Messages a second, one by one, by the contender's sync way."""
        if (send := self._has("one")) is None:
            return None
        send("noop")  # connect
        return _rate(lambda: [send("noop") for _ in range(20)], 20, seconds)

    def aone(self, seconds: float) -> Number:
        """The same by its async way: one coroutine, each call awaited before the next."""
        if (send := self._has("aone")) is None:
            return None

        async def timed() -> float:
            await send("noop")
            sent, started = 0, time.monotonic()
            while (took := time.monotonic() - started) < seconds:
                for _ in range(20):
                    await send("noop")
                sent += 20
            return sent / took

        return self._loop.run_until_complete(timed())

    def bulk(self, seconds: float) -> Number:
        """Messages a second, CHUNK at a time."""
        if (send := self._sync("bulk")) is None:
            return None
        send("noop", CHUNK)
        return _rate(lambda: send("noop", CHUNK), CHUNK, seconds)

    def fill(self, task: str, count: int) -> Number:
        """Enqueue a backlog by the fastest way there is; `fill` is one that is no bulk enqueue."""
        if many := self._has("fill") or self._sync("bulk"):
            for at in range(0, count, CHUNK):
                many(task, min(CHUNK, count - at))
        elif fast := self._has("aone"):
            self._loop.run_until_complete(_together(fast, task, count))
        elif send := self._has("one"):
            for _ in range(count):
                send(task)
        return count

    def latency(self, task: str, count: int, pause: float) -> list[float]:
        """Seconds from before an enqueue to the start of its task, on an idle worker."""
        ticks, found = Ticks(Path(os.environ[PLACE])), list[float]()
        send = self._sync("one")
        assert send is not None
        for _ in range(count + 3):
            time.sleep(pause)
            before, started = ticks.look()[0], time.monotonic_ns()
            send(task)
            while ticks.look()[0] == before:
                if time.monotonic_ns() - started > 10_000_000_000:
                    raise TimeoutError("a single message did not run within 10 s")
                time.sleep(0.0001)
            found.append(round((ticks.look()[1] - started) / 1e9, 6))
        return found[3:]


def _rate(step: Callable[[], object], size: int, seconds: float) -> float:
    done, started = 0, time.monotonic()
    while (took := time.monotonic() - started) < seconds:
        step()
        done += size
    return done / took


async def _together(send: Callable[[str], Awaitable[object]], task: str, count: int) -> None:
    for _ in range(0, count, 50):
        await asyncio.gather(*(send(task) for _ in range(50)))


def main() -> None:
    # What libraries print goes elsewhere: stdout carries the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    producer = Producer(sys.argv[1])
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            answer = {"answer": getattr(producer, what)(*arguments)}
        except Exception as error:  # noqa: BLE001 - told to who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
