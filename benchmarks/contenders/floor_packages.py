"""The floor with the packages that typedq has to use: pydantic for settings, typer for commands.

It loads what any program loads that validates one model and runs one command, and no more.
"""

from __future__ import annotations

import typer
from pydantic import BaseModel

from benchmarks.contenders.floor import (
    BATCH,
    aenqueue,
    enqueue,
    enqueue_many,
    run_child,
    run_worker,
)

__all__ = ["aenqueue", "enqueue", "enqueue_many"]


class Settings(BaseModel):
    batch: int


def worker(batch: int = BATCH) -> None:
    settings = Settings(batch=batch)
    run_worker(lambda: run_child(settings.batch))


if __name__ == "__main__":
    typer.run(worker)
