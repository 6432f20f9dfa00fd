"""Write a generated package to a directory, beside the contracts that it writes."""

from __future__ import annotations

import keyword
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from typedq.bundle import PINS_FILE, Bundle, dump, parse
from typedq.errors import ConfigurationError, InvalidBundle

_MODULES = sys.stdlib_module_names | {"msgspec", "pydantic", "typedq", "typing_extensions"}


def pins(bundle: Bundle) -> bytes:
    """Return the file of the contracts that a producer writes."""
    return dump(replace(bundle, kind="pins"))


def check_name(directory: Path) -> None:
    """Refuse a directory that Python cannot import as a package. Raises ConfigurationError."""
    name, parent = directory.resolve().name, directory.resolve().parent
    why = ""
    if not name.isidentifier() or keyword.iskeyword(name):
        why = "cannot be the name of a package"
    elif name in _MODULES and not (parent / "__init__.py").exists():
        why = "is the name of a module that is needed"
    if why:
        raise ConfigurationError([f"{name!r} {why}; choose another directory, as -o shop_tasks"])


def check_directory(directory: Path, bundle: Bundle, main: str) -> None:
    """Refuse a directory that holds something else. Raises ConfigurationError.

    main: a file of it if it was generated
    """
    lock = directory / PINS_FILE
    if lock.is_file() and (directory / main).is_file():
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
    """Write files, each as a whole or not at all. Raises ConfigurationError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / f".{name}.new").write_bytes(content)
            os.replace(directory / f".{name}.new", directory / name)  # noqa: PTH105
    except OSError as error:
        raise ConfigurationError([f"{directory} cannot be written: {error.strerror}"]) from None
