"""streaq: Redis streams; results are not kept, 100 at a time."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from streaq import Worker

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick

worker: Any = Worker(redis_url=URL, concurrency=100, sync_concurrency=8)


@worker.task(ttl=0)
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


@worker.task(ttl=0)
async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


TASKS: dict[str, Any] = {"noop": noop, "anoop": anoop}
_up: list[bool] = []


async def _begin() -> None:
    if not _up:
        await worker.__aenter__()
        _up.append(True)


async def aone(task: str) -> None:
    await _begin()
    await TASKS[task].enqueue(**ARGUMENTS)


async def abulk(task: str, count: int) -> None:
    await _begin()
    await worker.enqueue_many([TASKS[task].enqueue(**ARGUMENTS) for _ in range(count)])
