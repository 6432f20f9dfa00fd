"""Tasks that set up streams and the interpreter for themselves, and leave it so for all others."""

from __future__ import annotations

import asyncio
import builtins
import codecs
import gc
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tests.faults.app import EFFECTS, note
from tests.faults.foreign.table import situation, stream
from typedq import Context, TypedQ

_left: list[object] = []


def _refuse(*_: object, **__: object) -> Any:
    raise RuntimeError("patched")


def _do_not_block() -> None:
    os.set_blocking(1, False)
    os.set_blocking(2, False)


def _rewrite() -> None:
    sys.stdout = codecs.getwriter("utf8")(stream("stdout").detach())


def _rewrap() -> None:
    sys.stdout = io.TextIOWrapper(stream("stdout").buffer, encoding="utf-16")


def _close_stdin() -> None:
    sys.stdin.close()  # that of the worker, and not of whoever imports this


def _detach_buffer() -> None:
    buffer = stream("stdout").buffer
    if hasattr(buffer, "detach"):  # a stream without a buffer has its file here
        _left.append(buffer.detach())


def _small_stacks() -> None:
    threading.stack_size(1 << 15)


def _stop_clock() -> None:
    time.__dict__.update(time=lambda: 1.0, sleep=_refuse)


SETTINGS: dict[str, Callable[[], object]] = {
    "stdout_detached": _rewrite,
    "stderr_detached": lambda: _left.append(stream("stderr").detach()),
    "buffer_detached": _detach_buffer,
    "stdout_rewrapped": _rewrap,
    "stdout_in_ascii": lambda: stream("stdout").reconfigure(encoding="ascii", errors="strict"),
    "stdin_closed": _close_stdin,
    "streams_that_do_not_block": _do_not_block,
    "short_tracebacks": lambda: setattr(sys, "tracebacklimit", 0),
    "short_integers": lambda: sys.set_int_max_str_digits(640),
    "small_stacks": _small_stacks,
    "garbage_saved": lambda: gc.set_debug(gc.DEBUG_SAVEALL),
    "clock_of_1970": _stop_clock,
}


def _sets(name: str, change: Callable[[], object]) -> None:
    def run(ctx: Context) -> None:
        change()

    def fail(ctx: Context) -> None:
        change()
        raise ValueError(name)

    run.__name__, fail.__name__ = f"sets_{name}", f"sets_{name}_and_fails"
    situation()(run)
    if name != "buffer_detached":
        situation("failed", both=name in FAILING_COROUTINES)(fail)


# What a coroutine breaks of the log is mended before its failure is logged.
FAILING_COROUTINES = ("stderr_detached", "short_tracebacks", "streams_that_do_not_block")
for _name, _change in SETTINGS.items():
    _sets(_name, _change)


class _NoSource:
    def get_source(self, name: str) -> str:
        raise SystemExit(name)


@situation("failed", both=True)
def source_that_exits_and_fails(ctx: Context) -> None:
    """What formats a traceback asks the loader of the code."""
    code = compile("def fail(): raise ValueError\nfail()", "nowhere.py", "exec")
    exec(code, {"__name__": "nowhere", "__loader__": _NoSource()})


# --- what ends the process after the attempt, each in a test of its own


BREAKS: dict[str, Callable[[], object]] = {
    "builtins": lambda: setattr(builtins, "len", _refuse),
    "types": lambda: setattr(builtins, "isinstance", _refuse),
}


class Breaking(msgspec.Struct):
    """A value whose own check breaks the process that reads it, and then refuses."""

    how: str

    def __post_init__(self) -> None:
        if EFFECTS in os.environ:  # not where it is sent from
            BREAKS[self.how]()
            raise ValueError("refused")


def _drop(loop: Any, coroutine: Any, **_: Any) -> Any:
    coroutine.close()
    return asyncio.Task(asyncio.sleep(0), loop=loop)


LOOPS: dict[str, Callable[[Any], object]] = {
    "create_task": lambda loop: setattr(loop, "create_task", _refuse),
    "call_soon": lambda loop: setattr(loop, "call_soon", _refuse),
    "factory": lambda loop: loop.set_task_factory(lambda *_, **__: None),
    "dropping_factory": lambda loop: loop.set_task_factory(_drop),
}


def declare(app: TypedQ) -> None:
    """The tasks of these tests."""

    @app.task
    def breaks(ctx: Context, how: str) -> None:
        note(ctx, "start")
        BREAKS[how]()
        raise ValueError(how)

    @app.task
    def refuses(ctx: Context, value: Breaking) -> None:
        note(ctx, "start")

    @app.task
    async def patches_loop(ctx: Context, how: str) -> None:
        note(ctx, "start")
        if ctx.attempt == 1:
            LOOPS[how](asyncio.get_running_loop())
        note(ctx, "end")
