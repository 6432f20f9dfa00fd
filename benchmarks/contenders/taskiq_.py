"""taskiq with its list broker (faster than its stream broker), without a result backend."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick

broker: Any = ListQueueBroker(URL).with_serializer(ORJSONSerializer())


@broker.task
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


@broker.task
async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


TASKS: dict[str, Any] = {"noop": noop, "anoop": anoop}
_up: list[bool] = []


async def aone(task: str) -> None:
    if not _up:
        await broker.startup()
        _up.append(True)
    await TASKS[task].kiq(**ARGUMENTS)
