"""WakaQ: a list in Redis, popped without acknowledgement."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from wakaq import Queue, WakaQ

from benchmarks.contenders.message import ARGUMENTS, PORT
from benchmarks.runs import record_run

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
    record_run()


TASKS: dict[str, Any] = {"noop": noop}


def enqueue(task: str) -> None:
    TASKS[task].delay(**ARGUMENTS)
