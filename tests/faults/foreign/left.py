"""What tasks leave behind that Python does not show, or only in the thread of the loop."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.app import note
from tests.faults.limited import spin
from typedq import Context, TypedQ

_SINGLE = ValueError("the same one each time")
_IGNORE = ctypes.c_void_p(1)


def _register() -> None:
    faulthandler.register(signal.SIGALRM, file=Path(os.devnull).open("w"), chain=False)  # noqa: SIM115


def _ignore() -> None:
    ctypes.CDLL(None).signal(int(signal.SIGALRM), _IGNORE)


HANDLERS: dict[str, Callable[[], object]] = {"faulthandler": _register, "C library": _ignore}


class _Moves:
    def __del__(self) -> None:
        os.chdir("/")


_kept = contextvars.ContextVar[_Moves]("_kept")


def _close_sockets() -> None:
    for found in gc.get_objects():
        if type(found) is socket.socket:
            found.close()


def dies_after_copy(ctx: Context) -> None:
    note(ctx, "start")
    if not (copy := ctypes.PyDLL(None).fork()):
        return
    os.waitpid(copy, 0)
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    note(ctx, "end")


def keeps_in_variable(ctx: Context) -> None:
    note(ctx, "start")
    _kept.set(_Moves())


def stands(ctx: Context) -> None:
    note(ctx, os.getcwd())  # noqa: PTH109


def declare(app: TypedQ) -> None:
    for fn in (dies_after_copy, keeps_in_variable, stands):
        app.task(fn)

    @app.task
    def takes_alarm_in_c(ctx: Context, how: str) -> None:
        HANDLERS[how]()

    @app.task(soft_timeout=0.1)
    def spins(ctx: Context) -> None:
        spin(1)

    @app.task
    async def unsets_running_loop(ctx: Context) -> None:
        note(ctx, "start")
        asyncio._set_running_loop(None)
        note(ctx, "end")

    @app.task
    async def traces(ctx: Context) -> None:
        note(ctx, "start")
        sys.setprofile(lambda *_: None)
        note(ctx, "end")

    @app.task
    async def is_traced(ctx: Context) -> None:
        note(ctx, "traced" if sys.getprofile() else "free")

    @app.task
    def closes_sockets(ctx: Context) -> None:
        note(ctx, "start")
        _close_sockets()
        note(ctx, "end")

    @app.task
    def raises_same(ctx: Context) -> None:
        raise _SINGLE

    @app.task
    async def araises_same(ctx: Context) -> None:
        raise _SINGLE
