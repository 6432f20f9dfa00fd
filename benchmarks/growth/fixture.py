"""A fixture for the measures: a server, a worker, and a producer in this process."""

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
from benchmarks.growth.internals import Keys, Operation, tick
from benchmarks.processes import Worker
from benchmarks.runs import DIRECTORY, RunRecords
from benchmarks.server import Server

T = TypeVar("T")
BIN = Path(sys.executable).parent
PAYLOAD = 80
LEASE_MS, GRACE_MS = 3_600_000, 3_000


class Drained(NamedTuple):
    """Messages a second, and the server's CPU time for each in microseconds."""

    rate: float
    server_us: float


def best(drained: Sequence[Drained]) -> Drained:
    """Return the best of several rounds: foreign load only makes them worse."""
    return Drained(max(d.rate for d in drained), min(d.server_us for d in drained))


class Fixture:
    """One namespace on a server; the producer is this process."""

    def __init__(self, server: Server, directory: Path, queues: int = 1) -> None:
        self.server, self.directory, self.name = server, directory, f"growth{queues}"
        self.app = build(self.name, queues, server.url)
        self.noop = self.app.tasks["noop"]
        self.queues = [f"q{number}" for number in range(queues)]
        self.keys = Keys(self.name)
        self.environment = os.environ | {
            NAME: self.name,
            QUEUES: str(queues),
            "TYPEDQ_URL": server.url,
            "XDG_RUNTIME_DIR": str(directory),
        }
        self._workers = 0

    def call(self, operation: Operation[T]) -> T:
        """Return the result of an operation."""
        return self.app.broker.call(operation)

    def fill(self, count: int, size: int = PAYLOAD, queue: str = "q0", **options: Any) -> None:
        """Enqueue `count` messages with a payload of `size` bytes."""
        call = self.noop.options(queue=queue, **options).call("x" * size)
        chunk = max(1, min(1000, 4_000_000 // (size + 100)))
        for at in range(0, count, chunk):
            self.app.enqueue_many([call] * min(chunk, count - at))

    def tick(self) -> None:
        """Run the operation that a supervisor runs every second."""
        self.call(tick(self.keys, self.queues, grace_ms=GRACE_MS, lease_ms=LEASE_MS))

    def pause(self) -> None:
        """Stop workers from fetching from any queue."""
        self.server.client.sadd(self.keys.paused, *map(self.keys.ready, self.queues))

    def resume(self) -> None:
        """End `pause`; idle workers start at once."""
        self.server.client.delete(self.keys.paused)
        self.tick()

    def server_us(self, operation: Operation[Any], batches: int = 15, size: int = 20) -> float:
        """Return the server's CPU time for an operation (us), the best of some batches."""
        self.call(operation)  # so that the server knows the script
        found = list[float]()
        for _ in range(batches):
            before = self.server.cpu_us()
            for _ in range(size):
                self.call(operation)
            found.append((self.server.cpu_us() - before) / size)
        return min(found)

    @contextmanager
    def worker(self, children: int = 2) -> Iterator[RunningWorker]:
        """Run a worker whose children have run a few hundred messages."""
        self._workers += 1
        runs = self.directory / f"runs{self.name}-{self._workers}"
        runs.mkdir()
        words = [f"{BIN}/typedq", "worker", "benchmarks.growth.app:app", "-c", str(children)]
        environment = self.environment | {DIRECTORY: str(runs)}
        worker = Worker([words], environment, self.directory / "worker.log")
        try:
            running = RunningWorker(self, worker, runs)
            self.pause()
            running.drain(2000)
            yield running
        finally:
            worker.close()
            self.server.client.delete(self.keys.paused)


class RunningWorker:
    """A worker that is paused while nothing is measured."""

    def __init__(self, fixture: Fixture, worker: Worker, runs: Path) -> None:
        self._fixture, self._worker, self._records = fixture, worker, RunRecords(runs)

    def done(self) -> int:
        """Return the number of tasks it has run."""
        return self._records.read().ran

    def memory_mb(self) -> float:
        """Return the PSS of the supervisor and its children."""
        return self._worker.pss_mb()

    def peak_mb(self) -> float:
        """Return the sum of its processes' peak memory; shared pages count for each."""
        found = 0
        for process in self._worker.processes():
            status = Path(f"/proc/{process.pid}/status").read_text()
            found += int(status.partition("VmHWM:")[2].split()[0])
        return found / 1e3

    def drain(self, count: int, *, size: int = PAYLOAD, backlog: int = 0) -> Drained:
        """Run `count` messages, spread over all queues, with `backlog` waiting in all (or more).

        Missing messages are enqueued first. The first tenth warms up and is not timed.
        """
        fixture = self._fixture
        waiting = sum(fixture.server.client.llen(fixture.keys.ready(q)) for q in fixture.queues)
        missing = max(count, backlog) - waiting
        for place, queue in enumerate(fixture.queues):
            fixture.fill(-(-(missing - place) // len(fixture.queues)), size, queue)
        before, used = self.done(), fixture.server.cpu_us()
        fixture.resume()
        warm, at = self._wait(before + max(1, count // 10))
        ran, last = self._wait(before + count)
        fixture.pause()
        server_us = (fixture.server.cpu_us() - used) / (ran - before)
        self._settle()
        return Drained((ran - warm) / ((last - at) / 1e9), server_us)

    def _settle(self) -> None:
        """Wait until the messages that were fetched before the pause have run."""
        before = -1
        while (now := self.done()) != before:
            before = now
            time.sleep(0.05)

    def _wait(self, count: int, seconds: float = 120.0) -> tuple[int, int]:
        """Wait until `count` tasks ran; return how many, and when the last did (monotonic, ns)."""
        until = time.monotonic() + seconds
        while True:
            done, last, _ = self._records.read()
            if done >= count:
                return done, last
            if time.monotonic() > until or self._worker.has_exited():
                said = (self._fixture.directory / "worker.log").read_text()[-500:]
                raise TimeoutError(f"{done} of {count} tasks ran; the worker said {said!r}")
            time.sleep(0.001)

    def latency_ms(self, times: int, queue: str = "q0") -> float:
        """Return the median from before an enqueue to the start of its task, worker idle."""
        fixture, found = self._fixture, list[float]()
        fixture.server.client.delete(fixture.keys.paused)
        call = fixture.noop.options(queue=queue).call("x" * PAYLOAD)
        for _ in range(times):
            time.sleep(0.003)
            before, sent = self.done(), time.monotonic_ns()
            fixture.app.enqueue_many([call])
            found.append((self._wait(before + 1)[1] - sent) / 1e6)
        fixture.pause()
        return statistics.median(found)

    def run_all(self, count: int, seconds: float = 120.0) -> int:
        """Wait until `count` tasks ran; return when the last did (monotonic, ns)."""
        return self._wait(count, seconds)[1]


@contextmanager
def fixture(queues: int = 1) -> Iterator[Fixture]:
    """Make a fixture on a fresh server."""
    with Server() as server, TemporaryDirectory(prefix="growth-") as directory:
        made = Fixture(server, Path(directory), queues)
        try:
            yield made
        finally:
            made.app.close()
