"""A server, a worker and a producer of their own, and what can be measured with them."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from benchmarks.growth.app import NAME, QUEUES, build
from benchmarks.server import Server
from benchmarks.ticks import PLACE, Ticks
from benchmarks.turn import Workers
from typedq.broker import Keys, Operation
from typedq.broker.operations import tick

T = TypeVar("T")
BIN = Path(sys.executable).parent
PAYLOAD = 80
LEASE_MS, GRACE_MS = 3_600_000, 3_000


class Drained(NamedTuple):
    """Messages a second, and microseconds of the server's processor for each."""

    rate: float
    server_us: float


def best(drained: Sequence[Drained]) -> Drained:
    """The best of rounds: what is worse is the doing of others on the machine."""
    return Drained(max(d.rate for d in drained), min(d.server_us for d in drained))


class Stage:
    """One namespace on a server; the producer is this process."""

    def __init__(self, server: Server, directory: Path, queues: int = 1) -> None:
        self.server, self.directory, self.name = server, directory, f"growth{queues}"
        self.app = build(self.name, queues, server.url)
        self.noop = self.app.find("noop")
        self.queues = [f"q{number}" for number in range(queues)]
        self.keys = Keys(self.name)
        self.environment = os.environ | {
            NAME: self.name,
            QUEUES: str(queues),
            "TYPEDQ_URL": server.url,
            "XDG_RUNTIME_DIR": str(directory),
        }
        self._workers = 0

    def ask(self, move: Operation[T]) -> T:
        """Answer of a move."""
        return self.app.broker.call(move)

    def fill(self, count: int, size: int = PAYLOAD, queue: str = "q0", **options: Any) -> None:
        """Enqueue so many; `size` is that of the payload in bytes."""
        call = self.noop.options(queue=queue, **options).call("x" * size)
        chunk = max(1, min(1000, 4_000_000 // (size + 100)))
        for at in range(0, count, chunk):
            self.app.send([call] * min(chunk, count - at))

    def tick(self) -> None:
        """What a supervisor does every second."""
        self.ask(tick(self.keys, self.queues, grace_ms=GRACE_MS, lease_ms=LEASE_MS))

    def pause(self) -> None:
        """No worker takes anything more from any queue."""
        self.server.client.sadd(self.keys.paused, *map(self.keys.ready, self.queues))

    def resume(self) -> None:
        """End of `pause`; idle workers begin at once."""
        self.server.client.delete(self.keys.paused)
        self.tick()

    def server_us(self, move: Operation[Any], batches: int = 15, size: int = 20) -> float:
        """Microseconds of a processor that a move costs the server, in the best of some batches."""
        self.ask(move)  # so that the server knows the script
        found = list[float]()
        for _ in range(batches):
            before = self.server.cpu_us()
            for _ in range(size):
                self.ask(move)
            found.append((self.server.cpu_us() - before) / size)
        return min(found)

    @contextmanager
    def worker(self, children: int = 2) -> Iterator[Running]:
        """A worker whose children have run a few hundred messages."""
        self._workers += 1
        ticks = self.directory / f"ticks{self.name}-{self._workers}"
        ticks.mkdir()
        words = [f"{BIN}/typedq", "worker", "benchmarks.growth.app:app", "-c", str(children)]
        environment = self.environment | {PLACE: str(ticks)}
        workers = Workers([words], environment, self.directory / "worker.log")
        try:
            running = Running(self, workers, ticks)
            self.pause()
            running.drain(2000)
            yield running
        finally:
            workers.close()
            self.server.client.delete(self.keys.paused)


class Running:
    """A worker that runs, and is paused while nothing is measured."""

    def __init__(self, stage: Stage, workers: Workers, ticks: Path) -> None:
        self._stage, self._workers, self._ticks = stage, workers, Ticks(ticks)

    def done(self) -> int:
        """How many tasks it has run."""
        return self._ticks.look()[0]

    def memory_mb(self) -> float:
        """PSS of the supervisor and its children."""
        return self._workers.pss_mb()

    def peak_mb(self) -> float:
        """The most that its processes ever had, pages that they share counted for each."""
        found = 0
        for process in self._workers.family():
            status = Path(f"/proc/{process.pid}/status").read_text()
            found += int(status.partition("VmHWM:")[2].split()[0])
        return found / 1e3

    def drain(self, count: int, *, size: int = PAYLOAD, backlog: int = 0) -> Drained:
        """Run `count` messages, spread over all queues, with `backlog` waiting in all (or more).

        What is missing is enqueued first. The first tenth warms up and is not timed.
        """
        stage = self._stage
        waiting = sum(stage.server.client.llen(stage.keys.ready(q)) for q in stage.queues)
        missing = max(count, backlog) - waiting
        for place, queue in enumerate(stage.queues):
            stage.fill(-(-(missing - place) // len(stage.queues)), size, queue)
        before, used = self.done(), stage.server.cpu_us()
        stage.resume()
        warm, at = self._wait(before + max(1, count // 10))
        ran, last = self._wait(before + count)
        stage.pause()
        server_us = (stage.server.cpu_us() - used) / (ran - before)
        self._settle()
        return Drained((ran - warm) / ((last - at) / 1e9), server_us)

    def _settle(self) -> None:
        """Until those that were fetched before the pause have run."""
        before = -1
        while (now := self.done()) != before:
            before = now
            time.sleep(0.05)

    def _wait(self, count: int, seconds: float = 120.0) -> tuple[int, int]:
        """How many ran, at least `count`; when the last one did (monotonic, ns)."""
        until = time.monotonic() + seconds
        while True:
            done, last, _ = self._ticks.look()
            if done >= count:
                return done, last
            if time.monotonic() > until or self._workers.died():
                said = (self._stage.directory / "worker.log").read_text()[-500:]
                raise TimeoutError(f"{done} of {count} tasks ran; the worker said {said!r}")
            time.sleep(0.001)

    def latency_ms(self, times: int, queue: str = "q0") -> float:
        """Median from before an enqueue to the start of its task, on an idle worker."""
        stage, found = self._stage, list[float]()
        stage.server.client.delete(stage.keys.paused)
        call = stage.noop.options(queue=queue).call("x" * PAYLOAD)
        for _ in range(times):
            time.sleep(0.003)
            before, sent = self.done(), time.monotonic_ns()
            stage.app.send([call])
            found.append((self._wait(before + 1)[1] - sent) / 1e6)
        stage.pause()
        return statistics.median(found)

    def run_all(self, count: int, seconds: float = 120.0) -> int:
        """Wait until so many more ran; when the last one did (monotonic, ns)."""
        return self._wait(count, seconds)[1]


@contextmanager
def stage(queues: int = 1) -> Iterator[Stage]:
    """A stage on a fresh server."""
    with Server() as server, TemporaryDirectory(prefix="growth-") as directory:
        made = Stage(server, Path(directory), queues)
        try:
            yield made
        finally:
            made.app.close()
