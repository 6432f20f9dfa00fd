"""pydocket: Redis streams, asyncio only; fire-and-forget, 100 at a time.

Its command has no word for fire-and-forget, so the worker is started from here.
"""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from docket import Docket, Worker

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run


async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


def _docket() -> Any:
    # Its pool refuses what is above 100 connections, and what is refused then waits 5 minutes.
    url = f"{URL}?max_connections=200"
    return Docket(name="bench", url=url, execution_ttl=timedelta(0))


_dockets: list[Any] = []


async def aenqueue(task: str) -> None:
    if not _dockets:
        _dockets.append(await _docket().__aenter__())
    await _dockets[0].add(anoop)(**ARGUMENTS)


async def work() -> None:
    async with _docket() as docket:
        docket.register(anoop)
        async with Worker(docket, concurrency=100) as worker:
            await worker.run_forever()


if __name__ == "__main__":
    asyncio.run(work())
