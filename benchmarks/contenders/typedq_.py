"""typedq, as its documentation says; the payload is a msgspec Struct.

An older commit of typedq runs it too (`before`), so it uses the public surface only.
"""

# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

import msgspec

from benchmarks.contenders.message import ARGUMENTS, ONLY, URL
from benchmarks.runs import record_run
from typedq import Task, TypedQ

app = TypedQ("bench", url=URL)


class Mail(msgspec.Struct):
    user_id: int
    address: str
    template: str
    urgent: bool


TASKS: dict[str, Task[..., object]] = {}

# A worker declares the one task that is measured, as the floors do; a producer declares both.
if ONLY != "anoop":

    @app.task
    def noop(mail: Mail) -> None:
        record_run()

    TASKS["noop"] = noop

if ONLY != "noop":

    @app.task
    async def anoop(mail: Mail) -> None:
        record_run()

    TASKS["anoop"] = anoop


def enqueue(task: str) -> None:
    TASKS[task].enqueue(Mail(**ARGUMENTS))


async def aenqueue(task: str) -> None:
    await TASKS[task].aenqueue(Mail(**ARGUMENTS))


def enqueue_many(task: str, count: int) -> None:
    app.enqueue_many([TASKS[task].call(Mail(**ARGUMENTS)) for _ in range(count)])
