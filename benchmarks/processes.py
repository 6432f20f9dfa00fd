"""The processes of a trial: a contender's producer and its worker."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contender import ROOT, Contender


class TrialError(Exception):
    """A contender did not do what it was asked to."""


class Producer:
    """`benchmarks.producer` as a process in the contender's environment.

    deadline: when (monotonic) to stop waiting for any reply
    """

    def __init__(
        self,
        contender: Contender,
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        deadline: float,
    ) -> None:
        self._log, self._deadline = log.open("ab"), deadline
        self._process = subprocess.Popen(
            [contender.bin / "python", "-m", "benchmarks.producer", contender.module],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def call(self, method: str, *arguments: object) -> Any:
        """Return the result of a method of `benchmarks.producer.Producer`. Raises TrialError."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps((method, *arguments)) + "\n")
            self._process.stdin.flush()
            # One reply to one request: nothing else can be in its buffer.
            left = max(0.0, self._deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise TrialError(f"{method}: no reply before the deadline of the trial")
            reply = json.loads(self._process.stdout.readline() or '{"error": "it exited"}')
        except BrokenPipeError:
            reply = {"error": "it exited"}
        if "error" in reply:
            raise TrialError(f"{method}: {reply['error']}; see {self._log.name}")
        return reply["result"]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


class Worker:
    """One process or more, and all that they start."""

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environment: Mapping[str, str],
        log: Path,
        directory: Path = ROOT,
    ) -> None:
        self.started_ns = time.monotonic_ns()
        with log.open("ab") as output:
            self._processes = [
                subprocess.Popen(
                    words,
                    cwd=directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                for words in commands
            ]

    def processes(self) -> list[psutil.Process]:
        """Return its processes and their descendants."""
        found = list[psutil.Process]()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(process.pid)
                found += [root, *root.children(recursive=True)]
        return found

    def has_exited(self) -> bool:
        """Return True if any of the started processes has exited."""
        return any(process.poll() is not None for process in self._processes)

    def pss_mb(self) -> float:
        """Return the memory of all processes in MB, shared pages divided among their users."""
        return sum(process.memory_full_info().pss for process in self.processes()) / 1e6

    def cpu_us(self) -> float:
        """Return the CPU time of all threads in microseconds. Linux only."""
        total = 0.0
        for process in self.processes():
            for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                with suppress(FileNotFoundError, ProcessLookupError):
                    total += int(thread.read_text().split()[0]) / 1e3
        return total

    def close(self) -> None:
        """Stop with SIGTERM; after 3 s, kill what is left."""
        processes = self.processes()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        psutil.wait_procs(processes, timeout=3)
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        for process in self._processes:
            process.wait()
