"""typedq, as its documentation says; the payload is a msgspec Struct."""

# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

import msgspec

from benchmarks.contenders.message import ARGUMENTS, ONLY, URL
from benchmarks.ticks import tick
from typedq import Task, TypedQ

app = TypedQ("bench", url=URL)


class Mail(msgspec.Struct):
    user_id: int
    address: str
    template: str
    urgent: bool


TASKS: dict[str, Task[..., object]] = {}

# A worker knows the one task that is measured, as those of the floors do; a producer knows both.
if ONLY != "anoop":

    @app.task
    def noop(mail: Mail) -> None:
        tick()

    TASKS["noop"] = noop

if ONLY != "noop":

    @app.task
    async def anoop(mail: Mail) -> None:
        tick()

    TASKS["anoop"] = anoop


def one(task: str) -> None:
    TASKS[task].enqueue(Mail(**ARGUMENTS))


async def aone(task: str) -> None:
    await TASKS[task].aenqueue(Mail(**ARGUMENTS))


def bulk(task: str, count: int) -> None:
    app.enqueue_many([TASKS[task].call(Mail(**ARGUMENTS)) for _ in range(count)])
