"""Tasks that are cancelled in all places; each writes what it met."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Generator
from contextlib import suppress
from pathlib import Path

from tests.faults.app import EFFECTS, note, noted
from tests.faults.limited import spin
from typedq import Cancelled, Context, Retry, TypedQ

LONG_S = 0.3
_pause = threading.Event().wait


def python_code(ctx: Context) -> None:
    note(ctx, "start")
    spin(60)
    note(ctx, "end")


def c_code(ctx: Context) -> None:
    note(ctx, "start")
    _pause(60)
    note(ctx, "end")


def except_exception(ctx: Context) -> None:
    note(ctx, "start")
    with suppress(Exception):
        spin(60)
    note(ctx, "end")


def catching(ctx: Context) -> None:
    note(ctx, "start")
    try:
        spin(60)
    except Cancelled:
        note(ctx, "met")
    spin(LONG_S)  # it is met once
    note(ctx, "end")


def failing_then(ctx: Context) -> None:
    note(ctx, "start")
    try:
        spin(60)
    except Cancelled:
        raise OSError("to be retried") from None


def burying(ctx: Context) -> None:
    """Fail for good when it is cancelled; run well when it is retried as a dead letter."""
    note(ctx, "start")
    lines = noted(Path(os.environ[EFFECTS]))
    if sum(line.startswith(ctx.id) and " start " in line for line in lines) > 1:
        spin(4 * LONG_S)
        note(ctx, "end")
        return
    try:
        spin(60)
    except Cancelled:
        raise LookupError("for good") from None


def shielded(ctx: Context) -> None:
    note(ctx, "start")
    with ctx.shield():
        spin(LONG_S)
        note(ctx, "whole")
    spin(60)
    note(ctx, "end")


async def sleeping(ctx: Context) -> None:
    note(ctx, "start")
    await asyncio.sleep(60)
    note(ctx, "end")


async def acatching(ctx: Context) -> None:
    note(ctx, "start")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(ctx, "met")
    note(ctx, "end")


async def ashielded(ctx: Context) -> None:
    note(ctx, "start")
    with ctx.shield():
        await asyncio.sleep(LONG_S)
        note(ctx, "whole")
    await asyncio.sleep(60)
    note(ctx, "end")


def returning(ctx: Context) -> Awaitable[None]:
    return sleeping(ctx)


RETRY = Retry(max_retries=9, on=(OSError,), backoff=0.01)
TASKS = {
    each.__name__: each
    for each in (
        *(python_code, c_code, except_exception, catching, failing_then, burying, shielded),
        *(sleeping, acatching, ashielded, returning),
    )
}


def declare(app: TypedQ) -> None:
    """Add these tasks, each with and without a soft timeout, and a witness of what they raise."""

    @app.middleware
    def witness(ctx: Context) -> Generator[None]:
        try:
            yield
        except Cancelled:
            note(ctx, "cancelled")
            raise

    for name, fn in TASKS.items():
        app.task(name=name, retry=RETRY)(fn)
        app.task(name=f"limited_{name}", retry=RETRY, soft_timeout=60)(fn)
