"""`typedq worker --reload`: restart the worker when a file of the project changes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import final

from typer import BadParameter

from typedq.telemetry import event

GRACE_S = 5.0  # developers should not have to wait for a long task
_POLL_MS = 100


def run_with_reload(directory: Path, grace_s: float) -> int:
    """Run this command without --reload, and restart it when a .py file in `directory` changes.

    grace_s: how long running tasks may take after a change
    Return the exit code of the last worker after a signal.
    """
    if not find_spec("watchfiles"):
        reason = "it needs watchfiles: pip install 'typedq[reload]'"
        raise BadParameter(reason, param_hint="--reload")
    words = sys.argv[1:]
    words.insert(words.index("--") if "--" in words else len(words), "--no-reload")
    return _Reloader([sys.executable, "-P", "-m", "typedq", *words], directory).run(grace_s)


@final
class _Reloader:
    """Restarts the worker after changes, also if it has exited."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self._command, self._directory = command, directory
        self._signals = self._to_forward = 0

    def run(self, grace_s: float) -> int:
        from watchfiles import PythonFilter, watch

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._record)
        files = watch(
            self._directory,
            watch_filter=PythonFilter(),
            stop_event=self,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
        )
        next(files, None)  # watch before the worker starts, or changes meanwhile are missed
        event(logging.INFO, "watching for changes", directory=str(self._directory.resolve()))
        worker, is_logged = subprocess.Popen(self._command), False
        for changes in files:
            if changes:
                names = sorted({Path(name).name for _, name in changes})
                event(logging.INFO, "files changed; restarting worker", files=", ".join(names))
                _end(worker, grace_s)
                if self._signals:
                    break
                worker, is_logged = subprocess.Popen(self._command), False
            elif not is_logged and worker.poll() is not None:
                is_logged = True
                event(logging.WARNING, "worker ended; waiting for a change", code=_code(worker))
        return self._follow(worker)

    def is_set(self) -> bool:
        """Return True to stop watching; `watch` asks this."""
        return self._signals > 0

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        # A terminal sends Ctrl-C to the worker too; a second signal would interrupt its tasks.
        self._to_forward += number == signal.SIGTERM or not _is_at_terminal()

    def _follow(self, worker: subprocess.Popen[bytes]) -> int:
        """Forward every signal until the worker has ended; return its exit code."""
        sent, is_logged = 0, False
        while worker.poll() is None:
            while sent < self._to_forward:
                worker.send_signal(signal.SIGTERM)
                sent += 1
            if not is_logged:
                is_logged = True
                event(logging.INFO, "stopped watching; waiting for the worker")
            with suppress(subprocess.TimeoutExpired):
                worker.wait(_POLL_MS / 1000)
        return _code(worker)


def _end(worker: subprocess.Popen[bytes], grace_s: float) -> None:
    """Send SIGTERM, then SIGTERM again, which interrupts tasks, then SIGKILL."""
    steps = ((signal.SIGTERM, min(grace_s, GRACE_S)), (signal.SIGTERM, GRACE_S))
    for number, wait_s in (*steps, (signal.SIGKILL, None)):
        worker.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(wait_s)
            return


def _code(worker: subprocess.Popen[bytes]) -> int:
    return 1 if worker.returncode < 0 else worker.returncode


def _is_at_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
