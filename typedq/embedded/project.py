"""Run one embedded server per project, shared by producers and workers.

The first process that needs it starts it, detached, and it keeps running. It inherits a locked
file: the lock shows that it is alive, even with recycled pids, zombies or after a reboot. Its data
is under XDG_STATE_HOME; only its socket is in a directory that a reboot removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from typedq import runtime
from typedq.addresses import project
from typedq.embedded.server import (
    PATH_LIMIT,
    START_DEADLINE,
    STOP_DEADLINE,
    answers,
    arguments,
    ask,
    bundled,
    died,
    wait,
)
from typedq.errors import ConfigurationError, ServerUnavailable
from typedq.telemetry import event

_FIX = "set {} to a directory of this user, or TYPEDQ_URL or url= to your server"


@dataclass(frozen=True, slots=True)
class Status:
    """A running embedded server. `uptime` is in seconds; `version` is the server's own."""

    url: str
    pid: int
    version: str
    uptime: int
    directory: Path
    log: Path


def ensure(namespace: str, *, start: Path | None = None) -> str:
    """Return the URL (`unix://...`) of the project's server; start it if it is not running.

    The project is the nearest pyproject.toml at or above `start` (default: the current directory);
    without one, the namespace. Raises ConfigurationError if there is no binary or no safe place
    for the socket, ServerUnavailable if the server does not start.
    """
    home = _home(namespace, start)
    with _reporting(home):
        path = _recorded(home)
        if path is None or not answers(path):
            binary = bundled()
            with _locked(_private(home, "XDG_STATE_HOME") / "starting"):
                path = _running(home) or _start(home, binary)
        return f"unix://{path}"


def status(namespace: str, *, start: Path | None = None) -> Status | None:
    """Return the status of the project's server, or None if it does not reply."""
    from redis import RedisError

    home = _home(namespace, start)
    path = _recorded(home)
    try:
        reply = ask(path, "INFO", "server") if path else ""
    except RedisError:
        return None
    facts = dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)
    if path is None or "process_id" not in facts:
        return None
    version = facts.get("valkey_version") or facts["redis_version"]
    pid, uptime = int(facts["process_id"]), int(facts["uptime_in_seconds"])
    return Status(f"unix://{path}", pid, version, uptime, home, home / "server.log")


def stop(namespace: str, *, start: Path | None = None) -> bool:
    """Stop the project's server and wait until it has exited; its data stays.

    Return False if it was not running. Raises ServerUnavailable if it does not exit within 10 s.
    """
    home = _home(namespace, start)
    with _reporting(home):
        if not home.is_dir():
            return False
        with _locked(home / "starting"):
            alive = _alive(home)
            if alive:
                _end(home)
        return alive


def _home(namespace: str, start: Path | None) -> Path:
    root = project(start)
    key = f"project {root}" if root else f"namespace {namespace}"
    return runtime.state() / hashlib.sha256(os.fsencode(key)).hexdigest()[:12]


def _private(directory: Path, setting: str) -> Path:
    return runtime.required(directory, _FIX.format(setting))


@contextmanager
def _reporting(home: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if not str(error.filename).startswith(str(home)):
            raise
        reason = f"{error.filename} cannot be used ({error.strerror})"
        raise ConfigurationError([f"{reason}: {_FIX.format('XDG_STATE_HOME')}"]) from error


def _socket(home: Path) -> Path:
    bases = [os.environ.get("XDG_RUNTIME_DIR"), "/tmp"]  # noqa: S108
    with suppress(FileNotFoundError):  # no temporary directory can be written
        bases.insert(1, tempfile.gettempdir())
    for base in filter(None, bases):
        path = runtime.directory(base) / f"{home.name}.sock"
        if os.access(base, os.W_OK) and len(os.fsencode(path)) <= PATH_LIMIT:
            return _private(path.parent, "XDG_RUNTIME_DIR") / path.name
    reason = f"no directory for the embedded server's socket; its path may have {PATH_LIMIT} bytes"
    ways = "set XDG_RUNTIME_DIR or TMPDIR to a short path that can be written"
    raise ConfigurationError([f"{reason}; {ways}"])


def _recorded(home: Path) -> Path | None:
    # Read from a file, because XDG_RUNTIME_DIR may differ between a login session and a service.
    # Checked, because after a reboot another user may have created that directory and a socket.
    try:
        path = Path((home / "socket").read_text(encoding="utf-8"))
        return runtime.private(path.parent, _FIX.format("XDG_RUNTIME_DIR")) / path.name
    except OSError:  # never started, or started in a login session that has ended
        return None


@contextmanager
def _locked(file: Path) -> Generator[int]:
    with file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield held.fileno()


def _alive(home: Path) -> bool:
    with (home / "alive").open("ab") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _running(home: Path) -> Path | None:
    """Return the socket of the running server; stop a server whose socket is gone."""
    path = _recorded(home)
    if not _alive(home):
        return None
    if path is None or not path.is_socket():
        _end(home)
        return None
    if not wait(lambda: answers(path) or not _alive(home), START_DEADLINE):
        raise ServerUnavailable(f"unix://{path}", f"the server (pid {_pid(home)}) does not answer")
    return path if answers(path) else None


def _start(home: Path, binary: Path) -> Path:
    path, log = _socket(home), home / "server.log"
    (home / "socket").write_text(str(path), encoding="utf-8")
    more = ("--daemonize", "yes", "--logfile", str(log), "--pidfile", str(home / "server.pid"))
    command = [str(binary), *arguments(home, path, *more)]
    alive, inherited = os.pipe()  # EOF when the last process with the other end has exited
    with _locked(home / "alive") as lock, log.open("ab") as output, os.fdopen(alive):
        with os.fdopen(inherited):
            subprocess.run(  # it forks the server as a daemon and exits
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock, inherited),
                start_new_session=True,
                check=False,
            )
        end = time.monotonic() + START_DEADLINE
        ended = select.poll()  # select() takes no descriptor beyond 1023
        ended.register(alive)
        while not answers(path):
            if ended.poll(5) or time.monotonic() > end:
                raise died(path, log)
    message = "embedded server started; to stop it: typedq server stop"
    event(logging.INFO, message, url=f"unix://{path}")
    return path


def _pid(home: Path) -> int | None:
    try:
        return int((home / "server.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _end(home: Path) -> None:
    from redis import RedisError

    path, pid = _recorded(home), _pid(home)
    try:
        ask(path or home, "SHUTDOWN", "NOSAVE")  # the append-only file has all data
    except RedisError:  # a server that exits sends no reply
        with suppress(ProcessLookupError):
            if pid and _alive(home):  # the lock is held, so the pid is not recycled
                os.kill(pid, signal.SIGTERM)
    if not wait(lambda: not _alive(home), STOP_DEADLINE):
        reason = f"the embedded server (pid {pid}) does not end within {STOP_DEADLINE:g} s"
        raise ServerUnavailable(f"unix://{path}", reason)
