"""Directories of this user alone, for what need not outlive the boot: sockets and lock files."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from typedq.errors import ConfigurationError


def directory(base: str | Path) -> Path:
    """Where this user's sockets and lock files are in `base`; `private` makes it."""
    return Path(base) / f"typedq-{os.geteuid()}"


def private(path: Path, instead: str) -> Path:
    """Make a directory that only we may enter; refuse one that somebody else prepared.

    Raises ConfigurationError that says to remove it, or `instead`.
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
