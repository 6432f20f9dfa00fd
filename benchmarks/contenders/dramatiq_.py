"""dramatiq: two processes of eight threads."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO

from benchmarks.contenders.message import ARGUMENTS, ONLY, URL
from benchmarks.runs import record_run

broker: Any = RedisBroker(url=URL)
if ONLY != "noop":
    broker.add_middleware(AsyncIO())  # a thread with an event loop
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


TASKS: dict[str, Any] = {"noop": noop}

if ONLY != "noop":

    @dramatiq.actor
    async def anoop(user_id: int, address: str, template: str, urgent: bool) -> None:
        record_run()

    TASKS["anoop"] = anoop


def enqueue(task: str) -> None:
    TASKS[task].send(**ARGUMENTS)
