"""Celery: prefork, JSON, no results, as its guide to optimizing for short tasks says."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from celery import Celery

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

app: Any = Celery("bench", broker=URL)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=128,
    task_serializer="json",
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


TASKS: dict[str, Any] = {"noop": noop}


def enqueue(task: str) -> None:
    TASKS[task].delay(**ARGUMENTS)
