"""ardiq: a Rust core on Redis streams. Needs Python 3.12."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from ardiq import Ardiq

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

app: Any = Ardiq(redis_url=URL, queue_name="bench", concurrency=100, prefetch=1000, result_ttl_ms=1)


@app.task
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


@app.task
async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


TASKS: dict[str, Any] = {"noop": noop, "anoop": anoop}


async def aenqueue(task: str) -> None:
    await TASKS[task].enqueue(**ARGUMENTS)


async def aenqueue_many(task: str, count: int) -> None:
    await app.enqueue_many([TASKS[task].prepare(**ARGUMENTS) for _ in range(count)])
