"""All of it, declared in an app."""

from __future__ import annotations

from tests.faults.foreign import (
    awaitables,
    beside,
    exceptions,
    finalizers,
    forks,
    libraries,
    out_of_sight,
    process,
    settings,
    table,
    timeouts,
)
from tests.faults.foreign.table import TABLE, names
from typedq import TypedQ

__all__ = [
    "TABLE",
    "awaitables",
    "beside",
    "declare",
    "exceptions",
    "finalizers",
    "forks",
    "libraries",
    "names",
    "out_of_sight",
    "process",
    "settings",
    "timeouts",
]


def declare(app: TypedQ) -> None:
    """The table, and what tests of their own are about."""
    table.declare(app)
    settings.declare(app)
    finalizers.declare(app)
    beside.declare(app)
