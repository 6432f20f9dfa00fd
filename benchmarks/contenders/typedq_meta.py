"""typedq as in `typedq_`, with a W3C trace context of its own in the metadata of each message."""

from __future__ import annotations

import secrets

from benchmarks.contenders.message import ARGUMENTS
from benchmarks.contenders.typedq_ import TASKS, Mail, app
from typedq import Call, Sender

__all__ = ["app"]


def _sender(task: str) -> Sender[...]:
    traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return TASKS[task].options(meta={"traceparent": traceparent})


def _call(task: str) -> Call:
    return _sender(task).call(Mail(**ARGUMENTS))


def enqueue(task: str) -> None:
    _sender(task).enqueue(Mail(**ARGUMENTS))


async def aenqueue(task: str) -> None:
    await _sender(task).aenqueue(Mail(**ARGUMENTS))


def enqueue_many(task: str, count: int) -> None:
    app.enqueue_many([_call(task) for _ in range(count)])
