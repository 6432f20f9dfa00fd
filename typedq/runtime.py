"""Private directories of the current user: for sockets, lock files and persistent data."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from typedq.errors import ConfigurationError

FIX = "set XDG_RUNTIME_DIR to a directory of this user"


def directory(base: str | Path) -> Path:
    """Return the directory of sockets and lock files in `base`; `private` creates it."""
    return Path(base) / f"typedq-{os.geteuid()}"


def state() -> Path:
    """Return the directory of persistent data: below XDG_STATE_HOME, else below HOME.

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
    """Create a directory that only this user may enter; refuse one that others may have created.

    Raises ConfigurationError, which says to remove it or `instead`; OSError if creating it fails.
    """
    # One by one, because mkdir(parents=True) creates parents with the default mode.
    for missing in [each for each in (*reversed(path.parents), path) if not each.exists()]:
        with suppress(FileExistsError):
            missing.mkdir(mode=0o700)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        reason = f"{path} must be a directory of this user alone (mode 0700)"
        raise ConfigurationError([f"{reason}: remove it, or {instead}"])
    return path


def required(path: Path, instead: str) -> Path:
    """Do as `private` for a directory that is required.

    Raises only ConfigurationError; `instead` says what to set.
    """
    try:
        private(path, instead)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        reason = f"{path} cannot be created or written ({error.strerror})"
        raise ConfigurationError([f"{reason}: {instead}"]) from None
    return path
