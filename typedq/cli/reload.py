"""`typedq worker --reload`: a worker that begins again whenever a file of the project changes."""

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

GRACE_S = 5.0  # whoever waits for the effect of a change does not wait for a long task
_LOOK_MS = 100


def run_again_and_again(directory: Path, grace_s: float) -> int:
    """Run this command without --reload, anew when a .py file in `directory` changes.

    Answers the last exit code when a signal has ended it. grace_s: for tasks that run then
    """
    if not find_spec("watchfiles"):
        reason = "it takes watchfiles: pip install 'typedq[reload]'"
        raise BadParameter(reason, param_hint="--reload")
    words = sys.argv[1:]
    words.insert(words.index("--") if "--" in words else len(words), "--no-reload")
    return _Reloader([sys.executable, "-P", "-m", "typedq", *words], directory).run(grace_s)


@final
class _Reloader:
    """A worker that ended by itself, over a syntax error perhaps, begins with the next change."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self._command, self._directory = command, directory
        self._signals = self._owed = 0

    def run(self, grace_s: float) -> int:
        from watchfiles import PythonFilter, watch

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._record)
        files = watch(
            self._directory,
            watch_filter=PythonFilter(),
            stop_event=self,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        )
        next(files, None)  # what changes while the worker begins is not to be missed
        event(logging.INFO, "watching for changes", directory=str(self._directory.resolve()))
        worker, is_told = subprocess.Popen(self._command), False
        for changes in files:
            if changes:
                names = sorted({Path(name).name for _, name in changes})
                event(logging.INFO, "files changed: beginning again", files=", ".join(names))
                _end(worker, grace_s)
                if self._signals:
                    break
                worker, is_told = subprocess.Popen(self._command), False
            elif not is_told and worker.poll() is not None:
                is_told = True
                event(logging.WARNING, "the worker ended: waiting for a change", code=_code(worker))
        return self._follow(worker)

    def is_set(self) -> bool:
        """Whether to watch no more."""
        return self._signals > 0

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        # The terminal itself tells the worker of Ctrl-C; a second signal would cut its tasks short.
        self._owed += number == signal.SIGTERM or not _is_at_terminal()

    def _follow(self, worker: subprocess.Popen[bytes]) -> int:
        """Hand on every signal until the worker has ended."""
        sent, is_told = 0, False
        while worker.poll() is None:
            while sent < self._owed:
                worker.send_signal(signal.SIGTERM)
                sent += 1
            if not is_told:
                is_told = True
                event(logging.INFO, "watching no more, waiting for the worker")
            with suppress(subprocess.TimeoutExpired):
                worker.wait(_LOOK_MS / 1000)
        return _code(worker)


def _end(worker: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask it to end, then to hand back what runs; at last do not ask."""
    ways = ((signal.SIGTERM, min(grace_s, GRACE_S)), (signal.SIGTERM, GRACE_S))
    for number, patience_s in (*ways, (signal.SIGKILL, None)):
        worker.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(patience_s)
            return


def _code(worker: subprocess.Popen[bytes]) -> int:
    return 1 if worker.returncode < 0 else worker.returncode


def _is_at_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
