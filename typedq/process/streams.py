"""Standard output and error, which a task may close or replace."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO, final

from typedq.telemetry import logger


@final
class Streams:
    """Standard output and error: the objects, and the open files below them."""

    def __init__(self) -> None:
        self._objects = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self._files = dict[int, tuple[int, int] | None]()
        self._copies = dict[int, int]()
        for fd in (1, 2):
            self._files[fd] = _identity(fd)
            if self._files[fd]:
                self._copies[fd] = os.dup(fd)

    def are_whole(self) -> bool:
        """Return False if the files were closed that only this object knows."""
        return all(_identity(copy) == self._files[fd] for fd, copy in self._copies.items())

    def restore(self) -> list[str]:
        """Restore what differs, and return its names."""
        changed = list[str]()
        for fd, copy in self._copies.items():
            if _identity(fd) != self._files[fd] and self.are_whole():
                changed.append(f"file descriptor {fd}")
                os.dup2(copy, fd)
        for fd, (name, before) in enumerate(self._objects.items()):
            if getattr(sys, name, None) is not before:
                changed.append(f"sys.{name}")
                setattr(sys, name, before)
            if getattr(before, "closed", False) and fd in self._copies:
                changed.append(f"sys.{name}")
                self._objects[name] = _reopen(fd, name, before)
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


def _reopen(fd: int, name: str, closed: TextIO) -> TextIO:
    encoding, errors = getattr(closed, "encoding", None), getattr(closed, "errors", None)
    stream = open(  # noqa: SIM115
        fd, "w", buffering=1, encoding=encoding, errors=errors, closefd=False
    )
    setattr(sys, name, stream)
    for handler in logger.handlers:
        if getattr(handler, "stream", None) is closed:
            setattr(handler, "stream", stream)  # noqa: B010 - `setStream` would flush the old one
    return stream
