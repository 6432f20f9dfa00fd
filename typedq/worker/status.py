"""What a supervisor reports of itself every second: for `typedq health`, probes and systemd."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import final

from typedq import health, runtime
from typedq.app import TypedQ
from typedq.errors import ConfigurationError
from typedq.observe.pages import Page, Pages
from typedq.telemetry import event
from typedq.worker.journal import Journal, Phase
from typedq.worker.notify import Notifier

REPORT_S = 1.0
MIN_SILENCE_S = 3.0


@final
class Status:
    """The report, in a locked file and in memory that forked processes share.

    Where the file cannot be kept, the worker continues without it. Raises ConfigurationError if
    somebody else prepared the place.
    """

    def __init__(self, app: TypedQ, name: str) -> None:
        """`name`: of the app, as the command line gave it."""
        settings = app.settings
        self._namespace, self._app = settings.namespace, " ".join(name.split())[:200]
        self._max_silence = max(MIN_SILENCE_S, settings.lease / 3)
        self._start_timeout = settings.start_timeout
        self._started = health.process_state(os.getpid())[1]
        self._next, self._has_warned = 0.0, False
        self._was_stopping: bool = False
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._path = Path()
        self._file: int | None = None
        self._notifier = Notifier()
        self.memory = mmap.mmap(-1, health.SIZE)
        with suppress(OSError):  # the first report says so
            _remove_stale(runtime.private(Path(health.directory()), runtime.FIX))

    def update(
        self, journals: Sequence[Journal], renewed: float, ticked: float, *, stopping: bool
    ) -> None:
        """Report once a second that this process runs, and how its children are."""
        now = time.monotonic()
        if now < self._next and stopping == self._was_stopping:
            return
        self._next, self._was_stopping = now + REPORT_S, stopping
        starting = [j.last_heartbeat for j in journals if j.phase == Phase.STARTING]
        working = [j for j in journals if j.phase != Phase.STARTING]
        values: dict[str, str | float] = {
            "namespace": self._namespace,
            "app": self._app,
            "pid": os.getpid(),
            "started": self._started,
            "written": now,
            "renewed": renewed,
            "max_silence": self._max_silence,
            "starting": min(starting, default=0.0),
            "start_timeout": self._start_timeout,
            "children": len(journals),
            "held": sum(not journal.is_lease_over() for journal in working),
            "busy": sum(journal.phase == Phase.BUSY for journal in journals),
            "ticked": ticked,
            "stopping": int(stopping),
        }
        self.memory[:] = data = health.encode(values)
        self._notifier.update(health.Report(data), now)
        try:
            self._write(data)
            self._has_warned = False
        except (OSError, ConfigurationError) as error:
            if not self._has_warned:
                self._has_warned = True
                what = "cannot write the status file; `typedq health` will not find this worker"
                event(logging.WARNING, what, why=str(error), fix=runtime.FIX)

    def close(self) -> None:
        """Remove the file: the worker ended in good order."""
        self._notifier.stop()
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is None or not os.fstat(self._file).st_nlink:  # somebody tidied it away
            self._open()
        assert self._file is not None  # noqa: S101 - it was opened
        if os.pwrite(self._file, data, 0) < len(data):
            raise OSError("the disk is full")

    def _open(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path = runtime.private(Path(health.directory()), runtime.FIX) / self._name
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A lock that forked processes do not inherit: it ends with this process.
        fcntl.lockf(self._file, fcntl.LOCK_EX)


def _remove_stale(folder: Path) -> None:
    """Remove the files of killed supervisors. One that is new, and not locked yet, comes back."""
    for path in folder.iterdir():
        with suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if not health.is_locked(file):
                    path.unlink(missing_ok=True)
            finally:
                os.close(file)


def probes(status: Status) -> Pages:
    """Return the pages /livez and /readyz, which read the memory of a status."""

    def page(problem: Callable[[health.Report, float], str], good: str) -> Callable[[], Page]:
        def make() -> Page:
            try:
                reason = problem(health.Report(status.memory[:]), time.monotonic())
            except ValueError:
                reason = "it is starting"
            if reason:
                return Page(f"not {good}: {reason}\n", HTTPStatus.SERVICE_UNAVAILABLE)
            return Page(f"{good}\n")

        return make

    return {"/livez": page(health.not_live, "live"), "/readyz": page(health.not_ready, "ready")}
