"""Find sessions of this machine whose processes are all gone: nobody holds their lock.

Each supervisor keeps a locked file that lists its sessions; its children inherit the lock. Whoever
obtains the lock knows that the whole group is gone, and may end the sessions before their leases.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from typedq import runtime
from typedq.errors import ConfigurationError
from typedq.telemetry import event

_MAX_BYTES, _ATTEMPTS = 1 << 20, 100


def directory(url: str, namespace: str) -> Path:
    """Return where the supervisors of one namespace on one server keep their files.

    Raises ConfigurationError if others may have created it, OSError if it cannot be created.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    if not base:
        import tempfile

        base = tempfile.gettempdir()
    name = hashlib.sha256(f"{url} {namespace}".encode()).hexdigest()[:16]
    return runtime.private(runtime.directory(base), runtime.FIX) / f"workers-{name}"


@final
class HostLock:
    """The file of one supervisor, locked until it and its children are gone.

    Where it cannot be kept (a read-only or full disk, a directory that was removed), the worker
    continues without: after a crash its messages return when their lease ends, and not at once.
    Each use tries again. Raises ConfigurationError if others may have created the directory.
    """

    def __init__(self, locate: Callable[[], Path]) -> None:
        """`locate` returns the directory; it is called again if that was removed."""
        self._locate, self._name = locate, f"{os.getpid()}-{os.urandom(4).hex()}"
        self._path = Path(self._name)
        self._file: int | None = None
        self._sessions: Sequence[str] = ()
        self._queues: Sequence[str] = ()
        self._unlisted = set[str]()
        self._has_warned = False
        try:
            self._open()
        except OSError as error:
            self._warn(error)

    def record(self, sessions: Sequence[str], queues: Sequence[str]) -> None:
        """List the sessions that may be alive, and the queues they serve."""
        # First with the old list: if that makes a new file, only new children inherit its lock.
        self._ensure_file()
        self._sessions, self._queues = sessions, queues
        self._unlisted.intersection_update(sessions)
        self._ensure_file()

    def dead_groups(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield (sessions, queues) of each dead group; then delete its file."""
        if not self._ensure_file():
            return
        for path in self._others():
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:  # gone, or not a file of ours
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                text = os.read(file, _MAX_BYTES).decode(errors="replace")
                queues, *sessions = text.split("\n")
                yield sessions, queues.split()
                path.unlink(missing_ok=True)
            except OSError:  # its group is alive
                continue
            finally:
                os.close(file)

    def release(self) -> None:
        """Remove the file: the group ended cleanly."""
        if self._file is None:
            return
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._path.parent.rmdir()  # unless others are still here
        self._file = None

    def _ensure_file(self) -> bool:
        """Make sure that the file exists and lists the sessions; return False if it cannot."""
        try:
            if not self._is_in_place():
                # The children hold the lock of the old file only: the new one must not list them.
                self._unlisted.update(self._sessions)
                self._open()
            listed = [name for name in self._sessions if name not in self._unlisted]
            self._write("\n".join([" ".join(self._queues), *listed]).encode())
        except (OSError, ConfigurationError) as error:
            self._warn(error)
            return False
        self._has_warned = False
        return True

    def _write(self, text: bytes) -> None:
        assert self._file is not None  # noqa: S101 - it was opened
        if os.pwrite(self._file, text, 0) < len(text):
            raise OSError("the disk is full")
        os.ftruncate(self._file, len(text))

    def _is_in_place(self) -> bool:
        if self._file is None:
            return False
        try:
            found, own = self._path.stat(), os.fstat(self._file)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)

    def _open(self) -> None:
        old, self._file = self._file, None
        if old is not None:
            os.close(old)
        for attempt in range(_ATTEMPTS):
            try:
                folder = runtime.private(self._locate(), runtime.FIX)
                self._path = folder / self._name
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:  # another worker removed the folder meanwhile
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._path.exists():
                self._file = file
                return
            os.close(file)
        raise OSError(f"{self._path} is removed again and again")

    def _others(self) -> list[Path]:
        try:
            return [path for path in self._path.parent.iterdir() if path != self._path]
        except OSError:  # the next use reports it
            return []

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            text = "cannot keep the lock file: after a crash, messages wait for their lease to end"
            event(logging.WARNING, text, why=str(error), fix=runtime.FIX)
