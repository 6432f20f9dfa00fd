"""Write a generated package to a directory, beside the contracts that it writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from typedq.bundle import Bundle, dump, parse
from typedq.errors import ConfigurationError, InvalidBundle

LOCK = "typedq.lock.json"


def pins(bundle: Bundle) -> bytes:
    """Return the file of the contracts that a producer writes."""
    return dump(replace(bundle, kind="pins"))


def check_directory(directory: Path, bundle: Bundle) -> None:
    """Refuse a directory that holds something else. Raises ConfigurationError."""
    lock = directory / LOCK
    if lock.is_file():
        try:
            parse(lock.read_bytes(), str(lock), namespace=bundle.namespace, kind="pins")
        except InvalidBundle as error:
            if "namespace" in error.reason:
                raise ConfigurationError([f"{error}; choose another directory"]) from None
        return
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        problem = f"{directory} exists, and `typedq generate` did not write it"
        raise ConfigurationError([f"{problem}; choose another directory"])


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files, each as a whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f".{name}.new").write_bytes(content)
        os.replace(directory / f".{name}.new", directory / name)  # noqa: PTH105
