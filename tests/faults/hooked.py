"""Parts of the fault tests' app: sync and async middleware, and process hooks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from tests.faults.app import EFFECTS, note
from typedq import Context, LogContext, TypedQ

START = "FAULTS_START"
STOP = {
    "error": ConnectionError("nothing to close"),
    "exit": SystemExit(4),
    "interrupt": KeyboardInterrupt(),
}
log = logging.getLogger("shop")


def tell(what: str) -> None:
    """Write a record that belongs to no task."""
    path = Path(os.environ[EFFECTS]).parent / "hooks"
    with path.open("a") as file:
        file.write(f"{os.getpid()} {what}\n")


def declare(app: TypedQ) -> None:
    """Add middleware, tasks and hooks to the app."""
    _middleware(app)
    _tasks(app)
    _process(app)


def _middleware(app: TypedQ) -> None:
    @app.middleware
    def outer(ctx: Context) -> Generator[None]:
        note(ctx, "outer")
        try:
            yield
        except BaseException as error:
            note(ctx, f"outer-{type(error).__name__}")
            raise
        note(ctx, "outer-end")

    @app.middleware
    async def inner(ctx: Context) -> AsyncGenerator[None]:
        await asyncio.sleep(0)
        note(ctx, "inner")
        try:
            yield
        except LookupError:
            await asyncio.sleep(0)
            note(ctx, "inner-swallowed")
        finally:
            log.warning("inner")

    @app.middleware
    def broken(ctx: Context) -> Generator[None]:
        if ctx.task.endswith("without"):
            return
        yield
        if ctx.task.endswith("twice"):
            yield


def _tasks(app: TypedQ) -> None:
    def sync(ctx: Context, error: str = "") -> None:
        note(ctx, "task")
        log.warning("task")
        if error:
            raise {"LookupError": LookupError, "OSError": OSError}[error]("no")

    async def coroutine(ctx: Context, error: str = "") -> None:
        await asyncio.sleep(0)
        sync(ctx, error)

    for kind in ("", "without", "twice"):
        app.task(name=f"sync{kind}")(sync)
        app.task(name=f"coroutine{kind}")(coroutine)


def _process(app: TypedQ) -> None:
    @app.on_process_start
    def first() -> None:
        handler = logging.FileHandler(Path(os.environ[EFFECTS]).parent / "records")
        handler.setFormatter(logging.Formatter("%(typedq_task)s %(typedq_id)s %(message)s"))
        handler.addFilter(LogContext())
        log.addHandler(handler)
        log.warning("start")
        tell("first")

    @app.on_process_start
    async def second() -> None:
        await asyncio.sleep(0)
        tell("second")
        if os.environ.get(START) == "hang":
            await asyncio.Event().wait()
        if START in os.environ:
            raise ConnectionError("nothing listens there")

    @app.on_process_stop
    def fails() -> None:
        if error := STOP.get(os.environ.get("FAULTS_STOP", "")):
            raise error

    @app.on_process_stop
    async def last() -> None:
        await asyncio.sleep(0)
        tell("last")
