"""saq: asyncio only; statistics and sweeping are left at their defaults."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from saq import Queue

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick

queue: Any = Queue.from_url(URL)


async def anoop(ctx: Any, **arguments: Any) -> None:
    tick()


settings = {"queue": queue, "functions": [("anoop", anoop)], "concurrency": 100}


async def aone(task: str) -> None:
    await queue.enqueue("anoop", ttl=-1, **ARGUMENTS)
