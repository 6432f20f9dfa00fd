"""All of it, declared in an app."""

from __future__ import annotations

from tests.faults.foreign import (
    awaitables,
    exceptions,
    forks,
    libraries,
    out_of_sight,
    process,
    timeouts,
)
from tests.faults.foreign.table import TABLE, declare, names

__all__ = [
    "TABLE",
    "awaitables",
    "declare",
    "exceptions",
    "forks",
    "libraries",
    "names",
    "out_of_sight",
    "process",
    "timeouts",
]
