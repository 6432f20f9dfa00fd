"""A task of each kind that ends in each way; it says how before it does."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

from tests.faults.app import note
from typedq import Context, Reject, Retry, TypedQ

HARD_S, FORMER = 2.0, "was_work"
_RETRY = Retry(max_retries=1, on=(OSError,), backoff=0.01, jitter=False)


def declare(app: TypedQ) -> None:
    """Add both tasks."""

    @app.task(retry=_RETRY, hard_timeout=HARD_S, aliases=(FORMER,))
    def work(ctx: Context, how: str) -> None:
        end(ctx, how)
        if how == "timeout" and ctx.attempt == 1:
            threading.Event().wait()

    @app.task(retry=_RETRY)
    async def awork(ctx: Context, how: str) -> None:
        await asyncio.sleep(0)
        end(ctx, how)


def end(ctx: Context, how: str) -> None:
    """Record how this attempt ends, and end it so unless it is to go well."""
    if how in ("retried", "crashed", "timeout") and ctx.attempt > 1:
        how = "done"
    note(ctx, how)
    match how:
        case "retried":
            raise OSError("again")
        case "failed":
            raise ValueError("for good")
        case "rejected":
            raise Reject("not wanted")
        case "crashed":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            pass
