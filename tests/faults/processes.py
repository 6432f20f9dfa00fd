"""Worker processes of tests, and a way to wait for their effects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

pause = threading.Event().wait
T = TypeVar("T")
ROOT = Path(__file__).parents[2]


class Worker:
    """A worker process of its own session; `log` holds its lines of JSON.

    prefix: a program that starts it, such as unshare; then `pid` is that of this program
    """

    def __init__(
        self,
        flags: Sequence[str],
        environment: dict[str, str],
        log: Path,
        prefix: Sequence[str] = (),
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "tests.faults.worker", *flags],
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def children(self) -> list[psutil.Process]:
        """Return the children that are alive, the oldest first."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid).children()
            return [child for child in found if lives(child)]
        return []

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait(self, deadline: float = 30.0) -> int:
        """Wait for the exit code. Raises TimeoutExpired."""
        return self._process.wait(deadline)

    def stop(self, deadline: float = 30.0) -> int:
        """Send SIGTERM, and wait for the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def kill(self) -> None:
        """Kill only the supervisor with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def kill_group(self) -> None:
        """Kill all processes with SIGKILL, as when a machine is lost."""
        family = [psutil.Process(self.pid), *self.children()] if self.exit_code is None else []
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        wait_until(lambda: not any(map(lives, family)))

    def events(self, message: str = "") -> list[dict[str, Any]]:
        """Return the log records whose message contains this text."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [record for record in records if message in record["message"]]

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        for child in self.children():
            with suppress(psutil.NoSuchProcess):
                child.resume()
        self.kill_group()


def lives(process: psutil.Process) -> bool:
    """Return True if the process runs. A zombie does not: containers may not reap orphans."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], T], deadline: float = 20.0, *, every: float = 0.005) -> T:
    """Poll until the condition is true; for commands. Tests use the fixture of this name."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline:g} s; last answer: {value!r}")
        pause(every)
    return value
