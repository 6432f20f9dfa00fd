"""Tasks that fork; the copy of the worker must never settle, fetch or run anything."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.faults.app import note
from tests.faults.foreign.table import situation
from typedq import Context


def _fork(
    ctx: Context, code: int, child: Callable[[], object], fork: Callable[[], int] = os.fork
) -> None:
    """The copy must leave with this exit code; what is noted is noted before."""
    note(ctx, "start")
    note(ctx, "end")
    pid = fork()
    if pid == 0:
        child()
        return
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return  # a sync task beside this coroutine ignores SIGCHLD, and so nobody has the status
    if os.waitstatus_to_exitcode(status) != code:
        raise RuntimeError(f"the copy ended with {status}")


def _raise() -> None:
    raise ValueError("in the copy")


_terminals: list[int] = []


def _forkpty() -> int:
    pid, fd = pty.fork()
    _terminals.append(fd)  # else it would hang up
    return pid


@situation(raw=True)
def copy_returns(ctx: Context) -> None:
    _fork(ctx, 0, lambda: None)


@situation(raw=True)
def copy_exits(ctx: Context) -> None:
    _fork(ctx, 7, lambda: sys.exit(7))


@situation(raw=True)
def copy_exits_with_text(ctx: Context) -> None:
    _fork(ctx, 1, lambda: sys.exit("bye"))


@situation(raw=True)
def copy_raises(ctx: Context) -> None:
    _fork(ctx, 1, _raise)


@situation(raw=True)
def copy_of_c_code(ctx: Context) -> None:
    _fork(ctx, 0, lambda: None, ctypes.PyDLL(None).fork)


@situation(raw=True)
def copy_in_a_terminal(ctx: Context) -> None:
    _fork(ctx, 3, lambda: sys.exit(3), _forkpty)


@situation(raw=True)
def copy_of_a_copy(ctx: Context) -> None:
    def again() -> None:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)

    _fork(ctx, 0, again)


@situation(raw=True, modes=("coroutine",))
async def copy_of_a_coroutine(ctx: Context) -> None:
    _fork(ctx, 5, lambda: sys.exit(5))


@situation(raw=True, modes=("coroutine",))
async def copy_of_a_coroutine_returns(ctx: Context) -> None:
    _fork(ctx, 0, lambda: None)


@situation()
def copy_in_a_thread(ctx: Context) -> None:
    def fork() -> None:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()


_processes: Any = multiprocessing.get_context("fork")


@situation()
def process_terminated(ctx: Context) -> None:
    process = _processes.Process(target=threading.Event().wait, args=(600,))
    process.start()
    process.terminate()
    process.join(10)
    if process.exitcode != -signal.SIGTERM:
        raise RuntimeError(f"it ended with {process.exitcode}")


@situation()
def pool(ctx: Context) -> None:
    with ProcessPoolExecutor(2, mp_context=_processes) as workers:
        assert list(workers.map(abs, [-1, -2])) == [1, 2]


@situation()
def program(ctx: Context) -> None:
    subprocess.run([sys.executable, "-c", "raise SystemExit(4)"], check=False)
