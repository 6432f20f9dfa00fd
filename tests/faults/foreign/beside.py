"""A coroutine that changes its process all the time, beside every situation of the random mixes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from tests.faults.app import note
from tests.faults.foreign.table import TABLE
from typedq import Context, TypedQ

# What coroutines of the mixes change, and what others may need.
CHANGES = ("stdout_none", "stderr_none", "directory_changed", "sockets_time_out", "handlers_gone")


def declare(app: TypedQ) -> None:
    """The coroutine."""

    @app.task
    async def changes_all(ctx: Context, path: str) -> None:
        note(ctx, "start")
        while not Path(path).exists():  # noqa: ASYNC240 - a local file
            for name in CHANGES:
                with suppress(ValueError):
                    TABLE[name].run(ctx)
            await asyncio.sleep(0)
        note(ctx, "end")
