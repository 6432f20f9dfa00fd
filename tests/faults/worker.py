"""A worker process for tests, set up by flags: `python -m tests.faults.worker -c 2 ...`.

It starts the supervisor directly; tests/cli tests the command `typedq worker`.
"""

# ruff: noqa: E402 - what is not to be imported is said first
from __future__ import annotations

import argparse
import os
import sys

# redis-py would import the SDK of OpenTelemetry, which a worker at a user's rarely has. That takes
# 0.07 s of CPU, and the tests start hundreds of workers.
sys.modules["opentelemetry.sdk.metrics"] = None  # type: ignore[assignment]

from tests.faults.app import build
from tests.faults.cgroups import join
from typedq.telemetry import configure
from typedq.worker import Supervisor, WorkerOptions, run_solo


def main() -> int:
    flags = argparse.ArgumentParser()
    flags.add_argument("-c", "--concurrency", type=int, default=2)
    flags.add_argument("--async-concurrency", type=int, default=100)
    flags.add_argument("-Q", "--queues", default="high,mid,low")
    flags.add_argument("--grace", type=float, default=10.0)
    flags.add_argument("--max-tasks", type=int)
    flags.add_argument("--max-mem-percent", type=float)
    flags.add_argument("--metrics-port", type=int)
    flags.add_argument("--burst", action="store_true")
    flags.add_argument("--solo", action="store_true")
    flags.add_argument(
        "--forget", action="append", default=[], help="a task to remove from the app"
    )
    given = flags.parse_args()
    configure(os.environ.get("FAULTS_LOG", "debug"), "json")
    join()
    app = build()
    for name in given.forget:
        del app.declarations._tasks[name]
    orders = WorkerOptions(
        given.queues.split(","),
        given.concurrency,
        async_concurrency=given.async_concurrency,
        burst=given.burst,
        grace_s=given.grace,
        max_tasks=given.max_tasks,
        max_mem_percent=given.max_mem_percent,
        app="tests.faults.app:build",
        metrics=None if given.metrics_port is None else ("127.0.0.1", given.metrics_port),
    )
    return run_solo(app, orders) if given.solo else Supervisor(app, orders).run()


if __name__ == "__main__":
    sys.exit(main())
