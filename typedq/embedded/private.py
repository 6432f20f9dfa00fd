"""Private servers for tests and demos: each in a directory of its own, gone with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from typedq.embedded.launch import (
    PATH_LIMIT,
    START_DEADLINE,
    STOP_DEADLINE,
    answers,
    arguments,
    bundled,
    died,
    wait,
)
from typedq.errors import ConfigurationError, ServerUnavailable

# The kernel ends the server with its owner, however the owner ended. It is a launcher and not a
# preexec_fn, because Python code between fork and exec can deadlock where there are threads.
_TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])
"""


class OwnServer:
    """A private server for a test or a demo: it never outlives the process that started it.

    `directory` keeps its data (default: a temporary one, removed in the end); `args` are server
    options such as `("--maxmemory", "10mb")`; `binary` is a path or a name on PATH, else
    TYPEDQ_TEST_SERVER, else the bundled Valkey. `tcp` listens on a free loopback port as well.
    On Linux the server is tied to the thread that starts it: start it from one that lasts.
    Raises ConfigurationError for a missing binary, ServerUnavailable if the server does not start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        args: Sequence[str] = (),
        binary: str | Path | None = None,
        *,
        tcp: bool = False,
    ) -> None:
        name = str(binary or os.environ.get("TYPEDQ_TEST_SERVER") or bundled())
        found = shutil.which(name)
        if found is None:
            raise ConfigurationError([f"{name!r} is not a server binary that can be run"])
        self.binary, self._args, self._port = found, tuple(args), _free_port() if tcp else 0
        self._room = Path(tempfile.mkdtemp(prefix="typedq-", dir=_short_temp()))
        self.directory = directory or self._room
        self.log = self.directory / "server.log"
        self._path = self._room / "s"
        self._running: list[subprocess.Popen[bytes]] = []  # one at most; shared with the finalizer
        self._end = weakref.finalize(self, _clear, os.getpid(), self._running, self._room)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0" if self._port else f"unix://{self._path}"

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises ServerUnavailable when it is not running."""
        if not self._running:
            raise ServerUnavailable(self.url, "this server is not running")
        return self._running[0].pid

    def start(self) -> Self:
        """Start, and return when it answers. A running server is left as it is."""
        if self._running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        options = arguments(self.directory, self._path, "--port", str(self._port), *self._args)
        tie = [sys.executable, "-ISc", _TIED, str(os.getpid())] if sys.platform == "linux" else []
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*tie, self.binary, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the owner, who then stops us
            )
        self._running.append(process)
        wait(lambda: process.poll() is not None or answers(self._path), START_DEADLINE)
        if process.poll() is not None or not answers(self._path):
            self.kill()
            raise died(self._path, self.log)
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Its directory stays."""
        _kill(self._running)

    def restart(self) -> None:
        """Start again on the same directory and URL, after an orderly end if it is running."""
        self._terminate()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: the server hangs, connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the end of `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """An orderly end; the temporary directory is removed. Safe to call twice."""
        self._terminate()
        self._end()

    def _terminate(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_DEADLINE)
        self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _kill(running: list[subprocess.Popen[bytes]]) -> None:
    while running:
        process = running.pop()
        process.kill()
        process.wait()


def _clear(owner: int, running: list[subprocess.Popen[bytes]], room: Path) -> None:
    if os.getpid() == owner:  # a forked child that exits must not take its parent's server along
        _kill(running)
        shutil.rmtree(room, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _short_temp() -> str:
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) < PATH_LIMIT - 30 else "/tmp"  # noqa: S108
