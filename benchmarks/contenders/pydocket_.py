"""pydocket: Redis streams, asyncio only; 100 at a time."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from docket import Docket

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick


async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


tasks = [anoop]
_dockets: list[Any] = []


async def aone(task: str) -> None:
    if not _dockets:
        _dockets.append(await Docket(name="bench", url=URL).__aenter__())
    await _dockets[0].add(anoop)(**ARGUMENTS)
