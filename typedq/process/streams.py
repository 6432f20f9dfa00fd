"""The standard streams, which a task may close, detach, replace or set up in another way."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO, final

from typedq.telemetry import logger

_NAMES: Final = ("stdin", "stdout", "stderr")  # by file descriptor
_Mode = tuple[Any, Any]


@final
class Streams:
    """Standard input, output and error: the objects, and the open files below them."""

    def __init__(self) -> None:
        self._objects = {name: getattr(sys, name) for name in _NAMES}
        self._modes = [_mode(stream) for stream in self._objects.values()]
        self._files = dict[int, tuple[int, int] | None]()
        self._copies, self._blocking = dict[int, int](), dict[int, bool]()
        self._watched = dict[int, tuple[int, int] | None]()
        for fd in (1, 2):
            self._files[fd] = _identity(fd)
            if self._files[fd]:
                self._copies[fd], self._blocking[fd] = os.dup(fd), os.get_blocking(fd)

    def watch(self, fd: int) -> None:
        """Watch another file that no task knows of."""
        self._watched[fd] = _identity(fd)

    def are_whole(self) -> bool:
        """Return False if files were closed or replaced that no task knows of."""
        copies = all(_identity(copy) == self._files[fd] for fd, copy in self._copies.items())
        return copies and all(_identity(fd) == kept for fd, kept in self._watched.items())

    def restore(self) -> list[str]:
        """Restore what differs, and return its names."""
        changed = list[str]()
        for fd, copy in self._copies.items():
            if _identity(fd) != self._files[fd] and self.are_whole():
                changed.append(f"file descriptor {fd}")
                os.dup2(copy, fd)
            if os.get_blocking(fd) != self._blocking[fd]:  # of all that share the file
                changed.append(f"file descriptor {fd}")
                os.set_blocking(fd, self._blocking[fd])
        for fd, (name, before) in enumerate(self._objects.items()):
            if getattr(sys, name, None) is not before:
                changed.append(f"sys.{name}")
                setattr(sys, name, before)
            mode, now = self._modes[fd], _mode(before)
            if now == mode or mode is None:
                continue
            changed.append(f"sys.{name}")
            with suppress(Exception):  # its file may be gone, or it may not be one of Python's own
                if now is None:
                    self._objects[name] = _reopen(fd, name, before, mode)
                else:
                    before.reconfigure(encoding=mode[0], errors=mode[1])
        return changed

    def close(self) -> None:
        """Close the copies."""
        for copy in self._copies.values():
            with suppress(OSError):
                os.close(copy)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _mode(stream: Any) -> _Mode | None:
    """Return encoding and errors of a stream; None if it is closed or detached, or no stream."""
    try:
        return None if stream.closed else (stream.encoding, stream.errors)
    except Exception:  # noqa: BLE001 - it may be any object
        return None


def _reopen(fd: int, name: str, closed: TextIO, mode: _Mode) -> TextIO:
    stream = open(  # noqa: SIM115
        fd, "w" if fd else "r", buffering=1, encoding=mode[0], errors=mode[1], closefd=False
    )
    setattr(sys, name, stream)
    for handler in logger.handlers:
        if getattr(handler, "stream", None) is closed:
            setattr(handler, "stream", stream)  # noqa: B010 - `setStream` would flush the old one
    return stream
