"""ardiq: a Rust core on Redis streams. Needs Python 3.12."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from ardiq import Ardiq

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick

app: Any = Ardiq(redis_url=URL, queue_name="bench", concurrency=100, prefetch=1000, result_ttl_ms=1)


@app.task
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


@app.task
async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


TASKS: dict[str, Any] = {"noop": noop, "anoop": anoop}


async def aone(task: str) -> None:
    await TASKS[task].enqueue(**ARGUMENTS)


async def abulk(task: str, count: int) -> None:
    await app.enqueue_many([TASKS[task].prepare(**ARGUMENTS) for _ in range(count)])
