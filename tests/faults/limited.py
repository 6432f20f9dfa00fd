"""Tasks of the fault tests that reach their time limits in all places, and one that leaks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import suppress

import psutil

from tests.faults.app import note
from typedq import Context, Retry, SoftTimeout, TypedQ

SERVER = "FAULTS_SERVER"
SOFT_S = 0.3  # on a busy machine, a process may wait a third of this for its turn
LONG_S = 2 * SOFT_S
HAMMER_S = 0.002
_kept: list[bytes] = []


def declare(app: TypedQ) -> None:
    """Add these tasks to the app."""
    _hammer(app)
    _interrupted(app)
    _beyond(app)


def spin(seconds: float) -> None:
    """Keep the interpreter busy with Python code."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def _hang(server: int) -> None:
    """Stop the server for longer than the soft timeout."""
    os.kill(server, signal.SIGSTOP)
    threading.Timer(LONG_S, os.kill, (server, signal.SIGCONT)).start()


def _hammer(app: TypedQ) -> None:
    @app.middleware
    def witness(ctx: Context) -> Generator[None]:
        """Record if the task returned or raised. A soft timeout never interrupts this."""
        if "hammer" not in ctx.task:
            yield
            return
        with ctx.shield():
            pass  # a shield also works here
        try:
            yield
        except BaseException:
            note(ctx, "raised")
            raise
        with ctx.shield():
            note(ctx, "returned")

    @app.task(soft_timeout=HAMMER_S)
    def hammer(seconds: float) -> None:
        spin(seconds)

    @app.task(soft_timeout=HAMMER_S)
    async def ahammer(seconds: float) -> None:
        await asyncio.sleep(seconds)


def in_python(ctx: Context) -> None:
    spin(20)


def in_c(ctx: Context) -> None:
    """Stay in C code for three times the limit: Python handles no signal before it returns."""
    started, rounds = time.thread_time(), 20_000  # wall time would include other processes
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
    rounds = int(rounds * 3 * SOFT_S / (time.thread_time() - started))
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
    note(ctx, "late")
    spin(20)


def in_finally(ctx: Context) -> None:
    try:
        note(ctx, "tried")
    finally:
        spin(20)


def under_bare_except(ctx: Context) -> None:
    try:
        spin(20)
    except:  # noqa: E722
        note(ctx, "swallowed")
    spin(LONG_S)


def under_except_exception(ctx: Context) -> None:
    with suppress(Exception):
        spin(20)


def shielded(ctx: Context) -> None:
    with ctx.shield(), ctx.shield():
        spin(LONG_S)
        note(ctx, "whole")
    spin(20)


def shielded_to_the_end(ctx: Context) -> None:
    with ctx.shield():
        spin(LONG_S)


async def waiting(ctx: Context) -> None:
    await asyncio.sleep(20)


async def its_own_timeout(ctx: Context) -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(20)


async def in_awaiting_finally(ctx: Context) -> None:
    try:
        await asyncio.sleep(20)
    finally:
        await asyncio.sleep(0)
        note(ctx, "cleaned")


async def suppressing(ctx: Context) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(20)
    note(ctx, "swallowed")
    await asyncio.sleep(LONG_S)


async def blocking(ctx: Context) -> None:
    spin(LONG_S)  # it blocks the event loop, then returns


async def ashielded(ctx: Context) -> None:
    with ctx.shield(), ctx.shield():
        await asyncio.sleep(LONG_S)
        note(ctx, "whole")
    await asyncio.sleep(20)


async def two_shields(ctx: Context) -> None:
    """Use two shields: the end of the shorter one must not end the longer one."""

    async def hold(seconds: float) -> None:
        with ctx.shield():
            await asyncio.sleep(seconds)
            note(ctx, "whole")

    await asyncio.gather(hold(SOFT_S / 2), hold(LONG_S))
    await asyncio.sleep(20)


async def ashielded_to_the_end(ctx: Context) -> None:
    with ctx.shield():
        await asyncio.sleep(LONG_S)


_SYNC = (
    in_python,
    in_c,
    in_finally,
    under_bare_except,
    under_except_exception,
    shielded,
    shielded_to_the_end,
)
_COROUTINES = (
    waiting,
    in_awaiting_finally,
    suppressing,
    blocking,
    ashielded,
    ashielded_to_the_end,
    two_shields,
)


def _interrupted(app: TypedQ) -> None:
    for task in _SYNC:
        app.task(soft_timeout=SOFT_S)(task)
    for coroutine in _COROUTINES:
        app.task(soft_timeout=SOFT_S)(coroutine)

    app.task(soft_timeout=30)(its_own_timeout)

    @app.task(soft_timeout=SOFT_S)
    def enqueuing(ctx: Context) -> None:
        _hang(int(os.environ[SERVER]))
        note(ctx, "asks")
        app.tasks["nap"].enqueue(0.0)
        note(ctx, "asked")
        spin(20)

    @app.task(soft_timeout=SOFT_S)
    async def aenqueuing(ctx: Context) -> None:
        _hang(int(os.environ[SERVER]))
        note(ctx, "asks")
        await app.tasks["nap"].aenqueue(0.0)
        note(ctx, "asked")
        await asyncio.sleep(20)

    @app.task(soft_timeout=30)
    def patient(ctx: Context, seconds: float) -> None:
        spin(seconds)
        note(ctx, "end")

    @app.task
    def unlimited(ctx: Context) -> None:
        spin(20)

    retry = Retry(max_retries=1, on=SoftTimeout, backoff=0.02, jitter=False)

    @app.task(soft_timeout=SOFT_S, retry=retry)
    def better_later(ctx: Context) -> None:
        note(ctx, "start")
        spin(20 if ctx.attempt == 1 else 0)
        note(ctx, "end")


def _beyond(app: TypedQ) -> None:
    @app.task(hard_timeout=0.5)
    def begets(ctx: Context, mark: str) -> None:
        """Start children in their own sessions, one of them an orphan, and never return."""
        note(ctx, "start")
        subprocess.Popen(["sleep", mark], start_new_session=True)
        subprocess.run(["sh", "-c", f"setsid sleep {mark} & sleep {mark} &"], check=True)
        with suppress(BaseException):
            spin(20)

    @app.task
    def leak(ctx: Context) -> None:
        note(ctx, "start")
        _kept.append(os.urandom(1 << 20))
        memory = psutil.Process().memory_info()
        note(ctx, f"{(memory.rss - memory.shared) / 1e6:.0f}MB")
        note(ctx, "end")
