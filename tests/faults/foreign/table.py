"""The table of situations, how they become tasks, and what a probe sees of the process."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import gc
import json
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.faults.app import EFFECTS, note
from typedq import Context, TypedQ
from typedq.middleware import is_awaitable

Mode = Literal["sync", "coroutine"]
Outcome = Literal["done", "failed", "rejected", "retried"]
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
_log = logging.getLogger("typedq")
tenant = contextvars.ContextVar("tenant", default="none")


@dataclass(frozen=True)
class Situation:
    """What a task does, and what must become of its message.

    raw: the function is the task itself, and writes its own notes
    """

    name: str
    chapter: str
    run: Callable[[Context], Any]
    outcome: Outcome = "done"
    modes: tuple[Mode, ...] = ("sync",)
    raw: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


TABLE: dict[str, Situation] = {}
UNDO: list[Callable[[], object]] = []  # called before the probe looks


def situation(
    outcome: Outcome = "done",
    *,
    both: bool = False,
    raw: bool = False,
    modes: tuple[Mode, ...] = ("sync",),
    **options: Any,
) -> Callable[[Callable[[Context], Any]], Callable[[Context], Any]]:
    """Add a function to the table; its module is its chapter."""

    def add(fn: Callable[[Context], Any]) -> Callable[[Context], Any]:
        chapter = fn.__module__.rpartition(".")[2]
        chosen: tuple[Mode, ...] = ("sync", "coroutine") if both else modes
        TABLE[fn.__name__] = Situation(
            fn.__name__, chapter, fn, outcome, chosen, raw=raw, options=options
        )
        return fn

    return add


def names(mode: Mode) -> list[str]:
    """The tasks of a mode, in the order of the table."""
    return [f"{each.name}.{mode}" for each in TABLE.values() if mode in each.modes]


def declare(app: TypedQ) -> None:
    """Make tasks of them, and the probe."""
    _declare_alone(app)
    for each in TABLE.values():
        for mode in each.modes:
            fn = each.run if each.raw else _task(each, mode)
            app.task(name=f"{each.name}.{mode}", **each.options)(fn)

    @app.task
    def closes_files(ctx: Context) -> None:
        note(ctx, "start")
        note(ctx, "end")
        os.closerange(3, 64)

    @app.task
    async def sets_task_factory(ctx: Context) -> None:
        note(ctx, "start")
        asyncio.get_running_loop().set_task_factory(_no_task)
        note(ctx, "end")

    app.task(name="silences_log")(_silences_log)

    @app.task
    def probe(ctx: Context) -> None:
        note(ctx, "state:" + json.dumps(state(), separators=(",", ":")).replace(" ", "_"))
        note(ctx, "start")
        note(ctx, "end")


async def _silences_log(ctx: Context, how: str) -> None:
    if how == "level":
        _log.setLevel(logging.CRITICAL + 1)
    elif how == "handlers":
        _log.handlers.clear()
    else:
        _log.filters.append(lambda record: False)
    raise ValueError(how)


def _declare_alone(app: TypedQ) -> None:
    """What a test of its own is about."""

    @app.task
    async def closes_selector(ctx: Context) -> None:
        note(ctx, "start")
        if ctx.attempt == 1:
            selector: Any = getattr(asyncio.get_running_loop(), "_selector")  # noqa: B009
            asyncio.get_running_loop().call_soon(selector.close)
            await asyncio.Event().wait()
        note(ctx, "end")

    @app.task
    async def cancels_all(ctx: Context) -> None:
        note(ctx, "start")
        for task in asyncio.all_tasks():  # itself, and those that have not begun
            task.cancel()
        note(ctx, "end")

    @app.task(hard_timeout=0.5)
    def reads(ctx: Context, value: Deadly) -> None:
        note(ctx, "start")

    @app.task
    def removes_stop_handler(ctx: Context, path: str) -> None:
        handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(ctx, "start")
        while not Path(path).exists():
            threading.Event().wait(0.01)
        signal.signal(signal.SIGTERM, handler)
        note(ctx, "end")


class Deadly(msgspec.Struct):
    """A value whose own checks end the process that reads it, or never end."""

    how: str

    def __post_init__(self) -> None:
        if EFFECTS in os.environ:  # not where it is sent from
            if self.how == "kills":
                os._exit(3)
            threading.Event().wait()


def _no_task(loop: Any, coroutine: Any) -> Any:
    raise RuntimeError("no task of mine")


def _task(each: Situation, mode: Mode) -> Callable[..., Any]:
    def sync(ctx: Context) -> None:
        note(ctx, "start")
        each.run(ctx)
        note(ctx, "end")

    async def coroutine(ctx: Context) -> None:
        note(ctx, "start")
        await asyncio.sleep(0)
        result = each.run(ctx)
        if is_awaitable(result):
            await result
        note(ctx, "end")

    return sync if mode == "sync" else coroutine


_opened = deque[Any](maxlen=16)  # kept, because a stream that nobody has closes its buffer


def stream(name: Literal["stdout", "stderr"]) -> Any:
    """The standard stream; an open one like it if a coroutine beside has left none."""
    found = getattr(sys, name)
    try:
        found.flush()
    except Exception:  # noqa: BLE001 - it is None, closed, or without its buffer
        _opened.append(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        return _opened[-1]
    return found


def _handler(number: int) -> str:
    found = signal.getsignal(number)
    return str(getattr(found, "__qualname__", found))


def state() -> dict[str, Any]:
    """What a task finds of its process; the same for each task."""
    while UNDO:
        UNDO.pop()()
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "handlers": {number: _handler(number) for number in range(1, 32) if number not in (9, 19)},
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timers": [signal.getitimer(timer)[0] for timer in (0, 1, 2)],
        "wakeup": fd,
        "cwd": str(Path.cwd()),
        "umask": umask,
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
        "trace": [str(sys.gettrace()), str(sys.getprofile())],
        "tracebacks": getattr(sys, "tracebacklimit", None),
        "stdin": sys.stdin.closed,
        "gc": [gc.isenabled(), *gc.get_threshold()],
        "switch": sys.getswitchinterval(),
        "streams": [_stream(fd, name) for fd, name in ((1, "stdout"), (2, "stderr"))],
        "filters": len(warnings.filters),
        "tenant": tenant.get(),
        "decimal": decimal.getcontext().prec,
        "limits": [resource.getrlimit(kind) for kind in _LIMITS],
        "socket": socket.getdefaulttimeout(),
        "policy": type(asyncio.get_event_loop_policy()).__name__,
        "logging": [logging.root.manager.disable, str(logging.getLogRecordFactory())[:20]],
        "interpreter": [sys.get_int_max_str_digits(), _stack_size(), gc.get_debug()],
        "clock": [vars(time)[name].__name__ for name in ("time", "sleep")],
        "logger": [_log.disabled, _log.level, len(_log.handlers), len(_log.filters)],
    }


def _stream(fd: int, name: str) -> list[Any]:
    stream, status = getattr(sys, name), os.fstat(fd)
    text = [getattr(stream, "encoding", None), getattr(stream, "errors", None)]
    whole = stream is not None and not stream.closed
    return [whole, status.st_ino, status.st_dev, os.get_blocking(fd), *text]


def _stack_size() -> int:
    now = threading.stack_size(0)
    threading.stack_size(now)
    return now
