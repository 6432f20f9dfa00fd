"""One turn of one contender: a fresh server, a producer, workers; everything measured once."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil

from benchmarks.field import ROOT, Contender
from benchmarks.server import Server
from benchmarks.ticks import PLACE, Ticks

ENQUEUE_S, LATENCIES, WARM = 1.0, 800, 0.2
DEADLINE_S, TURN_S = 60.0, 180.0
Figures = dict[str, Any]


class Failed(Exception):
    """A contender that did not do what it was asked to."""


class Producer:
    """`benchmarks.producer` as a process in the contender's environment.

    until: when (monotonic) it is waited for no longer
    """

    def __init__(
        self, contender: Contender, environment: Mapping[str, str], log: Path, until: float
    ) -> None:
        self._log, self._until = log.open("ab"), until
        self._process = subprocess.Popen(
            [contender.bin / "python", "-m", "benchmarks.producer", contender.module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, *what: object) -> Any:
        """What it answers. Raises Failed."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            # One answer to one question, so that nothing is in its buffer.
            left = max(0.0, self._until - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise Failed(f"{what[0]}: no answer, and its turn has taken {TURN_S:.0f} s")
            answer = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        except BrokenPipeError:
            answer = {"error": "it ended"}
        if "error" in answer:
            raise Failed(f"{what[0]}: {answer['error']}")
        return answer["answer"]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


class Workers:
    """The worker side: one process or more, and all that they start."""

    def __init__(
        self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path
    ) -> None:
        self.started = time.monotonic_ns()
        with log.open("ab") as output:
            self._processes = [
                subprocess.Popen(
                    words,
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                for words in commands
            ]

    def family(self) -> list[psutil.Process]:
        found = list[psutil.Process]()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(process.pid)
                found += [root, *root.children(recursive=True)]
        return found

    def died(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    def pss_mb(self) -> float:
        """What all of them take, shared pages divided among those who share them (MB)."""
        return sum(process.memory_full_info().pss for process in self.family()) / 1e6

    def close(self) -> None:
        family = self.family()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        psutil.wait_procs(family, timeout=3)
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        for process in self._processes:
            process.wait()


class Drained(NamedTuple):
    rate: float
    startup_s: float
    commands: float
    bytes: float


class Turn:
    """Holds the server and the directory of one turn."""

    def __init__(self, contender: Contender, server: Server, directory: Path, log: Path) -> None:
        self.contender, self.server, self._directory, self._log = contender, server, directory, log
        self._number, self._until = 0, time.monotonic() + TURN_S
        self._ticks = directory
        # Whoever starts us, contenders start from compiled modules, as they would anywhere.
        given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._environment = given | {
            "BENCH_URL": server.url,
            "PYTHONPATH": str(ROOT),
            "XDG_RUNTIME_DIR": str(directory),
        }

    @contextmanager
    def producer(self) -> Iterator[Producer]:
        environment = self._environment | {PLACE: str(self._ticks)}
        producer = Producer(self.contender, environment, self._log, self._until)
        try:
            yield producer
        finally:
            producer.close()

    @contextmanager
    def workers(self, task: str) -> Iterator[Workers]:
        self._number += 1
        self._ticks = self._directory / f"ticks{self._number}"
        self._ticks.mkdir()
        environment = self._environment | {PLACE: str(self._ticks), "BENCH_TASK": task}
        commands = self.contender.words(self.server.url)
        workers = Workers(commands, environment, self._log)
        try:
            yield workers
        finally:
            workers.close()

    def drain(self, workers: Workers, count: int) -> Drained:
        """Wait until a backlog is done. The first fifth warms up and is not timed."""
        ticks, before = Ticks(self._ticks), self.server.load()
        warm = at = 0
        until = min(time.monotonic() + DEADLINE_S, self._until)
        while True:
            done, last, first = ticks.look()
            if not warm and done >= WARM * count:
                warm, at = done, last
            if done >= count:
                break
            if time.monotonic() > until or (workers.died() and not done):
                raise Failed(f"{done} of {count} tasks ran; see {self._log.name}")
            time.sleep(0.002)
        time.sleep(0.1)  # the last acknowledgements
        after = self.server.load()
        return Drained(
            (done - warm) / ((last - at) / 1e9),
            (first - workers.started) / 1e9,
            (after.commands - before.commands) / count,
            (after.bytes - before.bytes) / count,
        )


def enqueues(turn: Turn) -> Figures:
    with turn.producer() as producer:
        figures = {
            f"enqueue {how}": producer.ask(what, ENQUEUE_S)
            for how, what in (("one", "one"), ("one, async", "aone"), ("bulk", "bulk"))
        }
    turn.server.client.flushall()
    return figures


def work(turn: Turn, task: str) -> Figures:
    """Drain a backlog of one task, then what only an idle worker shows."""
    count, kind = turn.contender.backlog, "sync" if task == "noop" else "coroutine"
    with turn.producer() as producer:
        before = turn.server.memory()
        producer.ask("fill", task, count)
        waiting = (turn.server.memory() - before) / count
    with turn.workers(task) as workers:
        drained = turn.drain(workers, count)
        figures: Figures = {f"drain, {kind}": drained.rate}
        time.sleep(0.3)
        memory = workers.pss_mb()
        if kind == "coroutine":
            figures["PSS with coroutines, MB"] = memory
        if task != turn.contender.tasks[0]:
            return figures  # the rest was measured with the first task
        figures |= {
            "PSS, MB": memory,
            "start-up, s": drained.startup_s,
            "commands a task": drained.commands,
            "bytes on the wire a task": drained.bytes,
            "bytes a waiting message": waiting,
        }
        with turn.producer() as producer:
            figures["latencies"] = producer.ask("latency", task, LATENCIES, turn.contender.pause)
    return figures


def take(contender: Contender, log: Path) -> Figures:
    """Measure everything once. Raises Failed."""
    with ExitStack() as stack:
        server = stack.enter_context(Server())
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        turn = Turn(contender, server, directory, log)
        figures = enqueues(turn)
        for task in contender.tasks:
            turn.server.client.flushall()
            figures |= work(turn, task)
        return figures
