"""arq: asyncio only; results are not kept, 100 at a time, polled every 10 ms."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

redis = RedisSettings.from_dsn(URL)
_pools: list[Any] = []


async def anoop(ctx: Any, user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


class WorkerSettings:
    functions = (func(anoop, keep_result=0),)
    redis_settings = redis
    max_jobs = 100
    poll_delay = 0.01


async def aenqueue(task: str) -> None:
    if not _pools:
        _pools.append(await create_pool(redis))
    await _pools[0].enqueue_job("anoop", **ARGUMENTS)
