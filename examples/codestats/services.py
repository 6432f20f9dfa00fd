"""The services of the demo: a Redis server, a mail server and a worker; the demo stops them all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from examples.codestats import store
from examples.codestats.mail import MailServer
from typedq.testing import OwnServer

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CHILDREN = 2
TYPEDQ = [sys.executable, "-m", "typedq"]
APP = "examples.codestats.tasks:app"
WORKER = [*TYPEDQ, "worker", APP]
STOP_S = 10.0


class WorkerDied(Exception):
    """The worker exited unexpectedly. The text is the end of its log."""


class Services:
    """The running services, and a way to wait for their effects."""

    def __init__(self, mail_server: MailServer, worker: subprocess.Popen[bytes], log: Path) -> None:
        self.mail_server, self.worker, self._log = mail_server, worker, log

    def until(
        self, condition: Callable[[], T], deadline: float, each: Callable[[], None] | None = None
    ) -> T:
        """Poll until the condition is true; return its value, or the last one after `deadline` s.

        Calls `each` at each poll. Raises WorkerDied.
        """
        end = time.monotonic() + deadline
        while not (value := condition()) and time.monotonic() < end:
            if self.worker.poll() is not None:
                raise WorkerDied(self._log.read_text()[-4000:])
            if each:
                each()
            time.sleep(0.02)
        return value

    def stop_worker(self) -> int | None:
        """Send SIGTERM and wait for the shutdown. Return the exit code, or None after STOP_S."""
        self.worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.worker.wait(STOP_S)
        return None


def ask(*command: str) -> Any:
    """Return the `--json` output of a `typedq` command, as an operator's scripts read it."""
    arguments = [*TYPEDQ, *command, "--app", APP, "--json"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)


@contextmanager
def services() -> Generator[Services]:
    """Start all services. Stop them at the end, also after an error."""
    with (
        tempfile.TemporaryDirectory(prefix="codestats-") as directory,
        OwnServer() as server,
        MailServer() as mail_server,
        Path(directory, "worker.log").open("wb") as log,
    ):
        # This process and the worker read these variables when they first use the settings.
        os.environ["TYPEDQ_URL"] = server.url
        os.environ["CODESTATS_STORE"] = f"{directory}/store.sqlite"
        os.environ["CODESTATS_SMTP"] = mail_server.address
        store.store().executescript(store.TABLES)
        worker = subprocess.Popen(
            [*WORKER, "--concurrency", str(CHILDREN)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so Ctrl-C reaches only the demo, which then stops the worker
        )
        running = Services(mail_server, worker, Path(log.name))
        try:
            yield running
        finally:
            running.stop_worker()
            worker.kill()
            worker.wait()
            store.store().close()
