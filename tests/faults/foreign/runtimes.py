"""What replaces the runtime of a whole process, as an app's module does when it is imported."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.app import note
from typedq import Context, RetryIn

if TYPE_CHECKING:
    from typedq import TypedQ


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)  # gevent patches it, too


def gevent() -> None:
    importlib.import_module("gevent.monkey").patch_all()


def uvloop() -> None:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def reaper() -> None:
    """Take the exit status of every child, as the init process of an image does."""

    def take() -> None:
        while True:
            with suppress(ChildProcessError):
                os.wait()
            _pause(0.01)

    threading.Thread(target=take, daemon=True).start()


RUNTIMES = {"gevent": gevent, "uvloop": uvloop, "reaper": reaper}


def declare(app: TypedQ) -> None:
    if runtime := os.environ.get("RUNTIME"):
        RUNTIMES[runtime]()
    for run in TASKS:
        app.task(run)
    app.task(hard_timeout=0.3)(spins)
    app.task(catches_sigchld)
    quick = app.task(quickly)

    @app.task
    def enqueues(ctx: Context) -> None:
        note(ctx, "start")
        quick.enqueue()
        note(ctx, "end")

    @app.task
    async def aenqueues(ctx: Context) -> None:
        note(ctx, "start")
        await quick.aenqueue()
        note(ctx, "end")


def sleeps(ctx: Context) -> None:
    note(ctx, "start")
    _pause(0.05)
    note(ctx, "end")


def runs_program(ctx: Context) -> None:
    note(ctx, "start")
    assert subprocess.run(["echo", "x"], capture_output=True, check=True).stdout == b"x\n"
    note(ctx, "end")


def runs_threads(ctx: Context) -> None:
    note(ctx, "start")
    threads = [threading.Thread(target=_pause, args=(0.01,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    note(ctx, "end")


def forks(ctx: Context) -> None:
    note(ctx, "start")
    if (pid := os.fork()) == 0:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    note(ctx, "end")


async def awaits(ctx: Context) -> None:
    note(ctx, "start")
    async with asyncio.timeout(5):
        await asyncio.gather(asyncio.sleep(0.05), asyncio.to_thread(_pause, 0.01))
    note(ctx, "end")


def retries(ctx: Context) -> None:
    note(ctx, "start")
    if ctx.attempt == 1:
        raise RetryIn(0.05)
    note(ctx, "end")


def catches_sigchld(ctx: Context) -> None:
    """The handler of C code is one that Python does not see."""
    note(ctx, "start")
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert caught
    assert int(caught[1], 16) >> (signal.SIGCHLD - 1) & 1
    note(ctx, "end")


TASKS: list[Callable[[Context], object]] = [
    *(sleeps, runs_program, runs_threads, forks, awaits, retries),
]


def spins(ctx: Context) -> None:
    note(ctx, "start")
    while True:
        pass


def quickly() -> None:
    pass
