"""Which sessions of this machine have outlived their supervisor: known by a lock nobody holds.

Each supervisor keeps a locked file that lists its sessions; its children inherit the lock. Whoever
obtains the lock knows that the whole group is gone, and may end the sessions before their leases.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from typedq import runtime

_INSTEAD = "set XDG_RUNTIME_DIR to a directory of this user"


def directory(url: str, namespace: str) -> Path:
    """Where the supervisors of one namespace on one server keep their files; the user's own.

    Raises ConfigurationError if somebody else prepared the place.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    if not base:
        import tempfile

        base = tempfile.gettempdir()
    name = hashlib.sha256(f"{url} {namespace}".encode()).hexdigest()[:16]
    return runtime.private(runtime.directory(base), _INSTEAD) / f"workers-{name}"


@final
class HostLock:
    """The file of one supervisor, locked from construction until it and its children are gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{os.getpid()}-{os.urandom(4).hex()}"
        while not self._take():
            pass

    def _take(self) -> bool:
        """Make the file and lock it; False if others tidied it, or its folder, away meanwhile."""
        try:
            runtime.private(self._folder, _INSTEAD)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False
        fcntl.flock(self._file, fcntl.LOCK_EX)
        if self._path.exists():
            return True
        os.close(self._file)
        return False

    def record(self, sessions: Sequence[str], queues: Sequence[str]) -> None:
        """List the sessions that may be alive, and the queues they serve."""
        text = "\n".join([" ".join(queues), *sessions]).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def orphans(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield (sessions, queues) of each dead group; its file goes when the caller is done."""
        for path in self._folder.iterdir():
            if path == self._path:
                continue
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                queues, *sessions = os.read(file, 1 << 20).decode().split("\n")
                yield sessions, queues.split()
                path.unlink(missing_ok=True)
            except BlockingIOError:
                continue
            finally:
                os.close(file)

    def release(self) -> None:
        """The group ended in good order."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        with suppress(OSError):  # others are still here
            self._folder.rmdir()
