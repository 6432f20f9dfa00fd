"""RQ with SimpleWorker, which does not fork for each job; JSON, results not kept."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.ticks import tick

queue: Any = Queue("bench", connection=Redis.from_url(URL), serializer=JSONSerializer)
_OPTIONS: dict[str, Any] = {"result_ttl": 0, "kwargs": ARGUMENTS}


def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    tick()


def one(task: str) -> None:
    queue.enqueue_call(noop, **_OPTIONS)


def bulk(task: str, count: int) -> None:
    queue.enqueue_many([Queue.prepare_data(noop, **_OPTIONS) for _ in range(count)])
