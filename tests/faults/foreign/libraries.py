"""What libraries do behind a task's back: hooks, patches, threads, daemons, other processes."""

from __future__ import annotations

import atexit
import builtins
import faulthandler
import io
import logging
import logging.handlers
import multiprocessing
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from tests.faults.foreign.table import UNDO, situation
from typedq import Context

_log = logging.getLogger("typedq")


def _refuse(*_: object, **__: object) -> Any:
    raise RuntimeError("patched")


def _run_in_thread(fn: Any) -> None:
    thread = threading.Thread(target=fn)
    thread.start()
    thread.join()


# --- threads and hooks


@situation(both=True)
def thread_exits(ctx: Context) -> None:
    _run_in_thread(lambda: sys.exit(3))


@situation(both=True)
def thread_hook_raises(ctx: Context) -> None:
    before, threading.excepthook = threading.excepthook, _refuse
    try:
        _run_in_thread(_refuse)
    finally:
        threading.excepthook = before


@situation("failed", both=True)
def excepthook_raises(ctx: Context) -> None:
    before, sys.excepthook = sys.excepthook, _refuse
    UNDO.append(lambda: setattr(sys, "excepthook", before))
    raise ValueError


@situation(both=True)
def exit_handler_raises(ctx: Context) -> None:
    atexit.register(_refuse)


@situation(both=True)
def watchdog_that_only_reports(ctx: Context) -> None:
    # Not to sys.stderr, which a coroutine beside it may have set to None.
    with Path(os.devnull).open("w", encoding="ascii") as output:
        faulthandler.dump_traceback_later(600, exit=True, file=output)
        faulthandler.cancel_dump_traceback_later()


# --- patches that are left while the attempt is settled and the next message is read


def _patched(owner: Any, name: str, outcome: Any = "done") -> None:
    def run(ctx: Context) -> None:
        before = getattr(owner, name)
        setattr(owner, name, _refuse)
        UNDO.append(lambda: setattr(owner, name, before))
        if outcome == "failed":
            raise ValueError(name)

    run.__name__ = f"patched_{owner.__name__}_{name}_{outcome}".lower()
    situation(outcome)(run)


for _owner, _name in (
    *((builtins, "print"), (builtins, "open"), (time, "sleep"), (socket, "create_connection")),
    *((subprocess, "Popen"), (os, "fork"), (traceback, "print_exc"), (warnings, "warn")),
    *((logging, "getLogger"), (threading, "Thread")),
):
    _patched(_owner, _name)
    _patched(_owner, _name, "failed")


@situation("failed")
def modules_removed(ctx: Context) -> None:
    removed = {
        name: sys.modules.pop(name) for name in ("decimal", "traceback", "json", "linecache")
    }
    UNDO.append(lambda: sys.modules.update(removed))
    raise ValueError


# --- streams and logging


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left on device")

    flush = _refuse


@situation()
def stdout_write_raises(ctx: Context) -> None:
    sys.stdout = sys.stderr = _Broken()


@situation("failed")
def print_fails(ctx: Context) -> None:
    sys.stdout = _Broken()
    print("x")


@situation("failed")
def queue_handler_left(ctx: Context) -> None:
    _log.addHandler(logging.handlers.QueueHandler(queue.Queue(1)))
    raise ValueError


@situation("failed")
def handler_that_raises_left(ctx: Context) -> None:
    handler = logging.NullHandler()
    handler.handle = _refuse  # type: ignore[method-assign]
    _log.addHandler(handler)
    raise ValueError


@situation("failed")
def level_left(ctx: Context) -> None:
    _log.setLevel(logging.CRITICAL + 1)
    raise ValueError


# --- limits and signals


@situation()
def cpu_time_lowered(ctx: Context) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (3_600, resource.getrlimit(resource.RLIMIT_CPU)[1]))


@situation("failed")
def address_space_lowered(ctx: Context) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, hard))
    bytearray(1 << 30)


@situation()
def processes_lowered(ctx: Context) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))


@situation("failed")
def own_signal_raises(ctx: Context) -> None:
    signal.signal(signal.SIGUSR2, _refuse)
    signal.raise_signal(signal.SIGUSR2)


@situation()
def own_signal_raises_in_a_finalizer(ctx: Context) -> None:
    class Last:
        def __del__(self) -> None:
            _refuse()

    before, sys.unraisablehook = sys.unraisablehook, lambda report: None
    Last()
    sys.unraisablehook = before


# --- other processes


@situation(raw=True)
def daemonizes(ctx: Context) -> None:
    from tests.faults.app import note

    note(ctx, "start")
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", "0.1"])
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    note(ctx, "end")


@situation()
def program_in_a_session_of_its_own(ctx: Context) -> None:
    subprocess.Popen(["/bin/sleep", "0.1"], start_new_session=True).wait()


@situation()
def program_that_is_not_waited_for(ctx: Context) -> None:
    os.posix_spawn("/bin/true", ["true"], os.environ)


def _spawned(method: str) -> None:
    def run(ctx: Context) -> None:
        processes: Any = multiprocessing.get_context(method)
        process = processes.Process(target=abs, args=(-1,))
        process.start()
        process.join(50)
        if process.exitcode != 0:
            raise RuntimeError(f"it ended with {process.exitcode}")

    run.__name__ = f"process_by_{method}"
    situation()(run)


for _method in ("spawn", "forkserver"):
    _spawned(_method)
