"""huey: a list in Redis, popped without acknowledgement."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from huey import RedisHuey

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

huey: Any = RedisHuey("bench", url=URL, results=False, immediate=False)


@huey.task()
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


def enqueue(task: str) -> None:
    noop(**ARGUMENTS)
