"""taskiq with its list broker (faster than its stream broker), without a result backend."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

broker: Any = ListQueueBroker(URL).with_serializer(ORJSONSerializer())


@broker.task
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


@broker.task
async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


TASKS: dict[str, Any] = {"noop": noop, "anoop": anoop}
_up: list[bool] = []


async def aenqueue(task: str) -> None:
    if not _up:
        await broker.startup()
        _up.append(True)
    await TASKS[task].kiq(**ARGUMENTS)
