"""The embedded server of a project: one, shared by producer and worker, left running.

It belongs to nobody: whoever comes first starts it, detached. It inherits a locked file, so the
lock says whether it lives: no recycled pid, zombie or reboot can mislead that. What it keeps is
under XDG_STATE_HOME; only its socket is in a directory that does not outlive the boot.
"""

from __future__ import annotations

import fcntl
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
from typedq.digests import sha256
from typedq.embedded.launch import (
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
    """URL (`unix://...`) of the project's server, started if it is not running.

    The project is the nearest pyproject.toml at or above `start` (default: the current directory);
    without one, the namespace. Raises ConfigurationError if there is no binary or no safe place
    for the socket, ServerUnavailable if the server does not start.
    """
    home = _home(namespace, start)
    path = _recorded(home)
    if path is None or not answers(path):
        binary = bundled()
        with _locked(_private(home) / "starting"):
            path = _running(home) or _start(home, binary)
    return f"unix://{path}"


def status(namespace: str, *, start: Path | None = None) -> Status | None:
    """The project's server, or None if none answers."""
    home = _home(namespace, start)
    path = _recorded(home)
    try:
        reply = ask(path, "INFO server") if path else ""
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)
    if path is None or "process_id" not in facts:
        return None
    version = facts.get("valkey_version") or facts["redis_version"]
    pid, uptime = int(facts["process_id"]), int(facts["uptime_in_seconds"])
    return Status(f"unix://{path}", pid, version, uptime, home, home / "server.log")


def stop(namespace: str, *, start: Path | None = None) -> bool:
    """Stop the project's server and wait until it is gone; its data stays. False: none ran.

    Raises ServerUnavailable if it does not end within 10 s.
    """
    home = _home(namespace, start)
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
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "typedq" / sha256(os.fsencode(key))[:12]


def _private(directory: Path) -> Path:
    return runtime.private(directory, "set TYPEDQ_URL or url= to your server")


def _socket(home: Path) -> Path:
    bases = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")  # noqa: S108
    for base in filter(None, bases):
        path = runtime.directory(base) / f"{home.name}.sock"
        if os.access(base, os.W_OK) and len(os.fsencode(path)) <= PATH_LIMIT:
            return _private(path.parent) / path.name
    reason = f"no place for the embedded server's socket: its path may have {PATH_LIMIT} bytes"
    raise ConfigurationError([f"{reason}; set XDG_RUNTIME_DIR or TMPDIR to a short path"])


def _recorded(home: Path) -> Path | None:
    # Not computed: a login session and a system service may disagree about XDG_RUNTIME_DIR. And
    # not trusted: after a reboot, somebody else may have made that directory, with a socket in it.
    try:
        path = Path((home / "socket").read_text(encoding="utf-8"))
        return _private(path.parent) / path.name
    except OSError:
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
    """The socket of the server if one lives; one that nobody can reach any more is ended first."""
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
    alive, inherited = os.pipe()  # ends when the last process that holds the other side is gone
    with _locked(home / "alive") as lock, log.open("ab") as output, os.fdopen(alive):
        with os.fdopen(inherited):
            subprocess.run(  # it only forks off the server, which is then nobody's child
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock, inherited),
                start_new_session=True,
                check=False,
            )
        end = time.monotonic() + START_DEADLINE
        while not answers(path):
            if select.select([alive], [], [], 0.005)[0] or time.monotonic() > end:
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
    path, pid = _recorded(home), _pid(home)
    try:
        ask(path or home, "SHUTDOWN NOSAVE")  # no snapshot: the append-only file has it all
    except OSError:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM) if pid else None  # its lock is held, so the pid is its own
    if not wait(lambda: not _alive(home), STOP_DEADLINE):
        reason = f"the embedded server (pid {pid}) does not end within {STOP_DEADLINE:g} s"
        raise ServerUnavailable(f"unix://{path}", reason)
