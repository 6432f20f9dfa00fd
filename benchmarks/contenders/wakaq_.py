"""WakaQ: a list in Redis, popped without acknowledgement."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from wakaq import Queue, WakaQ

from benchmarks.contenders.message import ARGUMENTS, PORT
from benchmarks.ticks import tick

wakaq: Any = WakaQ(
    queues=[Queue("bench")],
    host="127.0.0.1",
    port=PORT,
    concurrency=2,
    worker_log_level="ERROR",
    scheduler_log_level="ERROR",
)


@wakaq.task
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


TASKS: dict[str, Any] = {"noop": noop}


def one(task: str) -> None:
    TASKS[task].delay(**ARGUMENTS)
