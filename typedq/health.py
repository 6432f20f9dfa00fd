"""Is a worker of this machine healthy? What a supervisor reports, and what that means.

Each supervisor keeps a file in the runtime directory: locked as long as it lives, written every
second. Reading it must take milliseconds, so this module imports next to nothing.
"""

from __future__ import annotations

import fcntl
import os
import time

LATE_S = 15.0  # a request to a server that hangs holds the supervisor up for 10 s
SIZE = 2048  # of a report, which is padded to it
_FIX = "set XDG_RUNTIME_DIR to a directory of this user, for the worker and for this command"
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - the directory below is checked
_NO_WORKER = "no worker of this user runs here"
_START = "start `typedq worker`; this command needs the worker's user, XDG_RUNTIME_DIR and TMPDIR"


class Report:
    """What a supervisor says of itself. Times are of the monotonic clock, which machines share.

    started: of the process, as the kernel counts; 0 if it does not say
    renewed: when the server last renewed the sessions; 0 if never
    starting: since when the child that has been starting longest does so; 0 if none does
    held: how many children work under a session whose lease has not ended
    ticked: when due messages were last made ready; 0 if never
    """

    namespace: str
    app: str
    pid: int
    started: int
    written: float
    renewed: float
    max_silence: float
    starting: float
    start_timeout: float
    children: int
    held: int
    busy: int
    ticked: float
    stopping: int

    def __init__(self, data: bytes) -> None:
        """Raise ValueError if it is not whole."""
        lines = data.decode(errors="replace").split("\n")
        values = dict(line.split("=", 1) for line in lines if line)
        for name, kind in self.__annotations__.items():
            if name not in values:
                raise ValueError(name)
            text = values[name]
            setattr(self, name, text if kind == "str" else _NUMBERS[kind](text))


_NUMBERS = {"int": int, "float": float}


def encode(values: dict[str, str | float]) -> bytes:
    """Return a report as lines of `name=value`, padded to SIZE; `values` are those of `Report`."""
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    return lines.encode(errors="replace")[:SIZE].ljust(SIZE, b"\n")


def not_live(report: Report, now: float) -> str:
    """Return why the worker is not live, or "". The server plays no part in it."""
    state, started = process_state(report.pid)
    if started and started == report.started and state in ("T", "t"):
        return "its supervisor is stopped by a signal"
    if now - report.written > LATE_S:
        return f"its supervisor hangs: nothing for {now - report.written:.0f} s"
    if report.starting and now - report.starting > report.start_timeout:
        return f"a child has been starting for {now - report.starting:.0f} s; see its start hooks"
    return ""


def not_ready(report: Report, now: float) -> str:
    """Return why the worker is not ready for tasks, or ""."""
    if problem := not_live(report, now):
        return problem
    if report.stopping:
        return "it is stopping"
    if not report.renewed:
        return "the server has not answered yet"
    if now - report.renewed > report.max_silence:
        return f"the server has not answered for {now - report.renewed:.0f} s"
    if not report.held:
        return "no child has started yet"
    return ""


def directory() -> str:
    """Return where the supervisors of this user keep their reports."""
    places = (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), *_TEMPORARY)
    usable = (place for place in places if place and os.access(place, os.W_OK | os.X_OK))
    base = os.environ.get("XDG_RUNTIME_DIR") or next(usable, _TEMPORARY[0])
    return os.path.join(base, f"typedq-{os.geteuid()}", "health")


def process_state(pid: int) -> tuple[str, int]:
    """Return the state of a process and when it started, as Linux counts; ("", 0) elsewhere."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().decode(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", 0


class Answer:
    """Whether a worker is live and ready; `reason` says why it is not both."""

    def __init__(self, report: Report, *, is_running: bool, now: float) -> None:
        self.namespace, self.app, self.pid = report.namespace, report.app, report.pid
        self.children, self.is_running = report.children, is_running
        why_not_live = not_live(report, now) if is_running else "it was killed"
        self.reason = why_not_live or not_ready(report, now)
        self.live, self.ready = not why_not_live, not self.reason

    def __str__(self) -> str:
        return f"{self.namespace} (pid {self.pid})"


def answers(*, namespace: str = "", pid: int = 0, app: str = "") -> list[Answer]:
    """Return the answer of each worker of this user that matches what is given.

    What killed workers left is listed, too. Raises OSError or PermissionError, which says what to
    do, if the directory is not this user's alone.
    """
    folder = directory()
    try:
        for path in (os.path.dirname(folder), folder):
            info = os.lstat(path)
            if info.st_uid != os.geteuid() or info.st_mode & 0o170077 != 0o040000:
                reason = f"{path} must be a directory of this user alone (mode 0700)"
                raise PermissionError(f"{reason}: remove it, or {_FIX}")
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = filter(None, (_answer(os.path.join(folder, name)) for name in names))
    return [
        each
        for each in found
        if namespace in ("", each.namespace) and pid in (0, each.pid) and app in ("", each.app)
    ]


def _answer(path: str) -> Answer | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # it has just gone
        return None
    try:
        for _ in range(3):  # it may be half written
            try:
                report = Report(os.pread(file, SIZE, 0))
                return Answer(report, is_running=is_locked(file), now=time.monotonic())
            except (OSError, ValueError):
                continue
        return None
    finally:
        os.close(file)


def is_locked(file: int) -> bool:
    """Return True if another process holds the lock of an open file."""
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def check(*, ready: bool, namespace: str = "", pid: int = 0, app: str = "") -> tuple[bool, str]:
    """Return whether all matching workers are healthy, and the line that says so."""
    asked = "ready" if ready else "live"
    try:
        found = answers(namespace=namespace, pid=pid, app=app)
    except OSError as error:
        return False, f"not {asked}: {error}"
    running = [each for each in found if each.is_running]
    if not running:
        wanted = {"namespace": namespace, "pid": pid, "app": app}
        given = ", ".join(f"{name} {value}" for name, value in wanted.items() if value)
        left = f"; {found[-1]} was killed" if found else ""
        return False, f"not {asked}: {_NO_WORKER}{given and f' for {given}'}{left}; {_START}"
    for each in running:
        if not (each.ready if ready else each.live):
            return False, f"not {asked}: {each}: {each.reason}"
    names = ", ".join(map(str, running))
    return True, f"{asked}: {names}"
