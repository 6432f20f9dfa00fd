"""streaq: Redis streams; results are not kept, 100 at a time."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from streaq import Worker

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

worker: Any = Worker(redis_url=URL, concurrency=100, sync_concurrency=8)


@worker.task(ttl=0)
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


@worker.task(ttl=0)
async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


TASKS: dict[str, Any] = {"noop": noop, "anoop": anoop}
_up: list[bool] = []


async def _begin() -> None:
    if not _up:
        await worker.__aenter__()
        _up.append(True)


async def aenqueue(task: str) -> None:
    await _begin()
    await TASKS[task].enqueue(**ARGUMENTS)


async def aenqueue_many(task: str, count: int) -> None:
    await _begin()
    await worker.enqueue_many([TASKS[task].enqueue(**ARGUMENTS) for _ in range(count)])
