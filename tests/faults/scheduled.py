"""Parts of the fault tests' app: a cron entry and a broadcast task."""

from __future__ import annotations

import os
from typing import Any

from tests.faults.app import note
from typedq import Context, Retry, TypedQ

CRON, CATCH_UP, EXPIRES = "FAULTS_CRON", "FAULTS_CATCH_UP", "FAULTS_CRON_EXPIRES"


def declare(app: TypedQ) -> None:
    """Add a cron entry that records each slot, and a task for broadcasts."""

    @app.task
    def tick(ctx: Context) -> None:
        note(ctx, f"{ctx.due.timestamp():.3f}")

    @app.task(retry=Retry(max_retries=2, backoff=0.05, jitter=False))
    def told(ctx: Context, failures: int = 0) -> None:
        note(ctx, "start")
        if ctx.attempt <= failures:
            raise OSError("not yet")
        note(ctx, f"end-{ctx.queue}-{os.getppid()}")

    if expression := os.environ.get(CRON):
        catch_up: Any = os.environ.get(CATCH_UP, "skip")
        expires = float(os.environ[EXPIRES]) if EXPIRES in os.environ else None
        call = tick.options(expires=expires).call()
        app.cron(expression, call, name="ticks", catch_up=catch_up)
