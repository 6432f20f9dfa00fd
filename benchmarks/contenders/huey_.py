"""huey: a list in Redis, popped without acknowledgement."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from huey import RedisHuey

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick

huey: Any = RedisHuey("bench", url=URL, results=False, immediate=False)


@huey.task()
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


def one(task: str) -> None:
    noop(**ARGUMENTS)
