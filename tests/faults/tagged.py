"""Part of the fault tests' app: tasks that record their metadata, in every kind of attempt."""

from __future__ import annotations

import os

from tests.faults.app import note
from typedq import Context, Retry, RetryIn, TypedQ

CRON = "FAULTS_TAGGED_CRON"
META = {"tenant": "acme", "note": "a b {c} ü\n"}


def declare(app: TypedQ) -> None:
    """Add the tasks, and a cron entry if the environment asks for one."""

    @app.task(retry=Retry(on=OSError, max_retries=1, backoff=0))
    def tagged(ctx: Context, how: str = "") -> None:
        record(ctx)
        fail(ctx, how)

    @app.task(retry=Retry(on=OSError, max_retries=1, backoff=0))
    async def atagged(ctx: Context, how: str = "") -> None:
        record(ctx)
        fail(ctx, how)

    if os.environ.get(CRON):
        app.cron("* * * * * *", tagged.options(meta=META).call())


def record(ctx: Context) -> None:
    """Record whether the metadata is what was sent, and its keys."""
    same = all(META[key] == value for key, value in ctx.meta.items() if key in META)
    note(ctx, f"{'+'.join(ctx.meta) or 'none'}{'' if same else '-changed'}")


def fail(ctx: Context, how: str) -> None:
    """Fail the first attempt in some way."""
    if ctx.attempt > 1 or not how:
        return
    if how == "die":
        os._exit(3)
    raise {"retry": OSError("no"), "again": RetryIn(0), "bury": LookupError("no")}[how]
