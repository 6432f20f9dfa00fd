"""One trial of one contender: a fresh server, a producer, a worker; each thing measured once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.contender import ROOT, Contender
from benchmarks.machine import awake
from benchmarks.processes import Producer, TrialError, Worker
from benchmarks.runs import DIRECTORY, RunRecords
from benchmarks.server import Server

WARM_UP = 0.2  # share of a backlog that is not timed
DRAIN_S, TRIAL_S = 60.0, 180.0  # deadlines
Figures = dict[str, Any]


class Effort(NamedTuple):
    """How much a trial does: seconds for each way to enqueue, share of the backlog, messages."""

    enqueue_s: float
    backlog: float
    latencies: int


FULL = Effort(1.0, 1.0, 800)
QUICK = Effort(0.3, 0.3, 150)


class Drain(NamedTuple):
    """Messages a second, seconds to the first task, and three costs of each message.

    cpu_us: CPU time of the worker, in microseconds
    commands, bytes: of the server; bytes over the network in both directions
    """

    rate: float
    startup_s: float
    cpu_us: float
    commands: float
    bytes: float


class Trial:
    """Holds the server and the directory of one trial."""

    def __init__(self, contender: Contender, server: Server, directory: Path, log: Path) -> None:
        self.contender, self.server, self._directory, self._log = contender, server, directory, log
        self._workers, self._deadline = 0, time.monotonic() + TRIAL_S
        self._runs = directory
        # Only `benchmarks` is importable from here: each environment has its own typedq.
        (directory / "benchmarks").symlink_to(ROOT / "benchmarks")
        inherited = {
            name: value
            for name, value in os.environ.items()
            # Contenders start from compiled modules, as in production, whoever starts the run.
            if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("TYPEDQ_")
        }
        self._environment = inherited | {
            "BENCH_URL": server.url,
            "PYTHONPATH": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
        }

    @contextmanager
    def producer(self) -> Iterator[Producer]:
        environment = self._environment | {DIRECTORY: str(self._runs)}
        producer = Producer(self.contender, environment, self._directory, self._log, self._deadline)
        try:
            yield producer
        finally:
            producer.close()

    @contextmanager
    def worker(self, task: str) -> Iterator[Worker]:
        self._workers += 1
        self._runs = self._directory / f"runs{self._workers}"
        self._runs.mkdir()
        environment = self._environment | {DIRECTORY: str(self._runs), "BENCH_TASK": task}
        commands = self.contender.worker_commands(self.server.url)
        worker = Worker(commands, environment, self._log, self._directory)
        try:
            yield worker
        finally:
            worker.close()

    def drain(self, worker: Worker, count: int) -> Drain:
        """Wait until a backlog of `count` messages has run. Raises TrialError.

        If all of them ran between two looks, as few do on a busy machine, the warm-up counts too.
        """
        records, before = RunRecords(self._runs), self.server.load()
        warm, warm_ns, warm_us = 0, 0, 0.0
        deadline = min(time.monotonic() + DRAIN_S, self._deadline)
        while True:
            runs = records.read()
            if not warm and WARM_UP * count <= runs.ran < count:
                warm, warm_ns, warm_us = runs.ran, runs.last_ns, worker.cpu_us()
            if runs.ran >= count:
                break
            if time.monotonic() > deadline or (worker.has_exited() and not runs.ran):
                raise TrialError(f"{runs.ran} of {count} tasks ran; see {self._log.name}")
            time.sleep(0.002)
        cpu_us = worker.cpu_us() - warm_us
        time.sleep(0.1)  # the last acknowledgements
        after = self.server.load()
        return Drain(
            (runs.ran - warm) / (max(runs.last_ns - (warm_ns or runs.first_ns), 1) / 1e9),
            (runs.first_ns - worker.started_ns) / 1e9,
            cpu_us / (runs.ran - warm),
            (after.commands - before.commands) / count,
            (after.bytes - before.bytes) / count,
        )


def measure_enqueue(trial: Trial, seconds: float) -> Figures:
    """Return rate and CPU time of the three ways to enqueue, each measured for so long."""
    ways = {"one": "enqueue", "one, async": "aenqueue", "bulk": "enqueue_many"}
    figures: Figures = {}
    with trial.producer() as producer, awake():
        for way, method in ways.items():
            rate, cpu_us = producer.call(method, seconds) or (None, None)
            figures |= {f"enqueue {way}": rate, f"CPU, enqueue {way}, us": cpu_us}
    trial.server.client.flushall()
    return figures


def measure_worker(trial: Trial, task: str, effort: Effort) -> Figures:
    """Drain a backlog of one task, then measure what needs an idle worker."""
    contender = trial.contender
    count = max(1, round(contender.backlog * effort.backlog))
    kind = "sync" if task == "noop" else "coroutine"
    with trial.producer() as producer:
        before = trial.server.memory()
        producer.call("fill", task, count)
        waiting = (trial.server.memory() - before) / count
    with trial.worker(task) as worker:
        drain = trial.drain(worker, count)
        figures: Figures = {f"drain, {kind}": drain.rate, f"CPU, drain, {kind}, us": drain.cpu_us}
        time.sleep(0.3)
        memory = worker.pss_mb()
        if kind == "coroutine":
            figures["PSS with coroutines, MB"] = memory
        if task != contender.tasks[0]:
            return figures  # the rest was measured with the first task
        figures |= {
            "PSS, MB": memory,
            "start-up, s": drain.startup_s,
            "commands a task": drain.commands,
            "bytes over the network a task": drain.bytes,
            "bytes a waiting message": waiting,
        }
        with trial.producer() as producer, awake():
            latencies = producer.call("latency", task, effort.latencies, contender.pause)
            figures["latencies"] = latencies
    return figures


def measure(contender: Contender, log: Path, effort: Effort = FULL) -> Figures:
    """Measure everything once. Raises TrialError."""
    with ExitStack() as stack:
        server = stack.enter_context(Server())
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        trial = Trial(contender, server, directory, log)
        try:
            figures = measure_enqueue(trial, effort.enqueue_s)
            for task in contender.tasks:
                trial.server.client.flushall()
                figures |= measure_worker(trial, task, effort)
        except Exception:
            if (status := server.exit_status()) is not None:
                raise TrialError(f"the server exited with status {status}") from None
            raise
        return figures
