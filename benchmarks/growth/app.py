"""The app that is measured; environment variables set its name and number of queues."""

# ruff: noqa: ARG001 - a task that uses no argument
from __future__ import annotations

import os

from benchmarks.runs import record_run
from typedq import Queue, TypedQ

NAME, QUEUES = "GROWTH_NAME", "GROWTH_QUEUES"


def build(name: str, queues: int, url: str | None = None) -> TypedQ:
    """Build an app with one task and queues q0, q1, ... in order of priority."""
    app = TypedQ(name, url=url, queues=[Queue(f"q{n}") for n in range(queues)], default_queue="q0")

    @app.task
    def noop(data: str) -> None:
        record_run()

    return app


if NAME in os.environ:  # in a worker
    app = build(os.environ[NAME], int(os.environ[QUEUES]))
