"""RQ with SimpleWorker, which does not fork for each job; JSON, results not kept."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

queue: Any = Queue("bench", connection=Redis.from_url(URL), serializer=JSONSerializer)
_OPTIONS: dict[str, Any] = {"result_ttl": 0, "kwargs": ARGUMENTS}


def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


def enqueue(task: str) -> None:
    queue.enqueue_call(noop, **_OPTIONS)


def enqueue_many(task: str, count: int) -> None:
    queue.enqueue_many([Queue.prepare_data(noop, **_OPTIONS) for _ in range(count)])
