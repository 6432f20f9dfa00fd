"""What the demo runs on: a server, a mail server and a worker of its own, all gone at its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from examples.codestats import store
from examples.codestats.mail import Postbox
from typedq.embedded import OwnServer

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CHILDREN = 2
WORKER = [sys.executable, "-m", "typedq", "worker", "examples.codestats.tasks:app"]
STOP_S = 10.0


class WorkerDied(Exception):
    """The worker ended before its time; its log says why."""


class Surroundings:
    """The running parts, and a way to wait for what they do."""

    def __init__(self, postbox: Postbox, worker: subprocess.Popen[bytes], log: Path) -> None:
        self.postbox, self.worker, self._log = postbox, worker, log

    def until(
        self, condition: Callable[[], T], deadline: float, each: Callable[[], None] | None = None
    ) -> T:
        """Wait for a true answer and return it, or the last one after `deadline` seconds.

        `each` is called at every look. Raises WorkerDied.
        """
        end = time.monotonic() + deadline
        while not (answer := condition()) and time.monotonic() < end:
            if self.worker.poll() is not None:
                raise WorkerDied(self._log.read_text()[-4000:])
            if each:
                each()
            time.sleep(0.02)
        return answer

    def stop_worker(self) -> int | None:
        """SIGTERM: finish what runs, then end. Return the exit code, None if it takes too long."""
        self.worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.worker.wait(STOP_S)
        return None


@contextmanager
def surroundings() -> Generator[Surroundings]:
    """Start everything; in the end, however it comes, stop everything."""
    with (
        tempfile.TemporaryDirectory(prefix="codestats-") as room,
        OwnServer() as server,
        Postbox() as postbox,
        Path(room, "worker.log").open("wb") as log,
    ):
        # Both this process and the worker read these: settings are resolved at first use.
        os.environ["TYPEDQ_URL"] = server.url
        os.environ["CODESTATS_STORE"] = f"{room}/store.sqlite"
        os.environ["CODESTATS_SMTP"] = postbox.address
        store.store().executescript(store.TABLES)
        worker = subprocess.Popen(
            [*WORKER, "--concurrency", str(CHILDREN)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the worker
        )
        around = Surroundings(postbox, worker, Path(log.name))
        try:
            yield around
        finally:
            around.stop_worker()
            worker.kill()
            worker.wait()
            store.store().close()
