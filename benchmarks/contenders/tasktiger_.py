"""TaskTiger with its sync executor, which does not fork for each task."""

# pyright: reportMissingImports=false
# ruff: noqa: ARG001 - every contender has the same functions; its tasks ignore their arguments
from __future__ import annotations

from typing import Any

from redis import Redis
from tasktiger import TaskTiger

from benchmarks.contenders.message import ARGUMENTS, URL
from benchmarks.runs import record_run

tiger: Any = TaskTiger(connection=Redis.from_url(URL, decode_responses=True), setup_structlog=True)


def noop(user_id: int, address: str, template: str, urgent: bool) -> None:
    record_run()


def enqueue(task: str) -> None:
    tiger.delay(noop, kwargs=ARGUMENTS, queue="bench")


if __name__ == "__main__":
    import logging
    import sys

    logging.disable(logging.INFO)  # lines for every task
    sys.exit(tiger.run_worker_with_args(sys.argv[1:]))
