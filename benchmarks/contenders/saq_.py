"""saq: asyncio only; statistics and sweeping are left at their defaults."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from saq import Queue

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

queue: Any = Queue.from_url(URL)


async def anoop(ctx: Any, **arguments: Any) -> None:
    record_run()


settings = {"queue": queue, "functions": [("anoop", anoop)], "concurrency": 100}


async def aenqueue(task: str) -> None:
    await queue.enqueue("anoop", ttl=-1, **ARGUMENTS)
