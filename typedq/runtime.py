"""Directories of this user alone: for sockets and lock files, and for data that is kept."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from typedq.errors import ConfigurationError


def directory(base: str | Path) -> Path:
    """Return where this user's sockets and lock files are in `base`; `private` makes it."""
    return Path(base) / f"typedq-{os.geteuid()}"


def state() -> Path:
    """Return where data is kept that outlives the boot: below XDG_STATE_HOME, else below HOME.

    Raises ConfigurationError if this user has neither.
    """
    try:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        reason = f"user {os.geteuid()} has no home directory"
        raise ConfigurationError(
            [f"{reason}: set HOME or XDG_STATE_HOME to a directory that can be written"]
        ) from None
    return Path(base) / "typedq"


def private(path: Path, instead: str) -> Path:
    """Make a directory that only this user may enter; refuse one that somebody else prepared.

    Raises ConfigurationError that says to remove it, or `instead`; OSError if it cannot be made.
    """
    # One by one: mkdir(parents=True) would give those above the mode of any directory.
    for missing in [each for each in (*reversed(path.parents), path) if not each.exists()]:
        with suppress(FileExistsError):
            missing.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        reason = f"{path} must be a directory of this user alone (mode 0700)"
        raise ConfigurationError([f"{reason}: remove it, or {instead}"])
    return path


def required(path: Path, instead: str) -> Path:
    """As `private`, for a directory without which there is no going on.

    Raises ConfigurationError in every case; `instead` says what to set.
    """
    try:
        private(path, instead)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        reason = f"{path} cannot be made or written ({error.strerror})"
        raise ConfigurationError([f"{reason}: {instead}"]) from None
    return path
