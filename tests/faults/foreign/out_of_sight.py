"""Foreign code where no task seems to run: in texts, finalizers, comparisons, callbacks."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
import time
import types
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from tests.faults.app import note
from tests.faults.foreign.exceptions import AGAIN
from tests.faults.foreign.table import UNDO, situation
from tests.faults.foreign.timeouts import SOFT_S, Lingering
from tests.faults.limited import spin
from typedq import Context, Reject

_log = logging.getLogger("typedq")


def _refuse(*_: object, **__: object) -> Any:
    raise RuntimeError("not for you")


def _fork() -> None:
    """The copy comes back."""
    if pid := os.fork():
        os.waitpid(pid, 0)


# --- forks


class TextForks(Exception):
    def __str__(self) -> str:
        _fork()
        return "forked"


class RetriedTextForks(TextForks, OSError):
    pass


class FinalizerForks:
    def __del__(self) -> None:
        _fork()


class HandlerForks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _log.removeHandler(self)
        _fork()


@situation("failed", both=True)
def text_forks(ctx: Context) -> None:
    raise TextForks


@situation("retried", both=True, **AGAIN)
def retried_text_forks(ctx: Context) -> None:
    if ctx.attempt == 1:
        raise RetriedTextForks


@situation("rejected", both=True)
def reject_text_forks(ctx: Context) -> None:
    raise Reject(TextForks())  # type: ignore[arg-type]


@situation(raw=True)
def finalizer_of_result_forks(ctx: Context) -> FinalizerForks:
    note(ctx, "start")
    note(ctx, "end")
    return FinalizerForks()


@situation("failed", both=True)
def handler_forks(ctx: Context) -> None:
    _log.addHandler(HandlerForks())
    raise ValueError


@situation(modes=("coroutine",))
def callback_forks(ctx: Context) -> Any:
    asyncio.get_running_loop().call_soon(_fork)
    return asyncio.sleep(0.01)


_left: list[Any] = []


@situation(modes=("coroutine",))
def left_task_forks(ctx: Context) -> None:
    async def fork() -> None:
        await asyncio.sleep(0.01)
        _fork()

    _left.append(asyncio.ensure_future(fork()))


# --- what is to be awaited


@types.coroutine
def _by_generator(ctx: Context) -> Generator[Any, Any, None]:
    note(ctx, "start")
    yield from asyncio.sleep(0.001).__await__()
    note(ctx, "end")


@situation(raw=True)
def returns_coroutine_by_generator(ctx: Context) -> Any:
    return _by_generator(ctx)


@situation(raw=True, modes=("coroutine",))
async def coroutine_of_task(ctx: Context) -> Any:
    note(ctx, "start")

    async def finish() -> None:
        await asyncio.sleep(0.1)
        note(ctx, "end")

    return asyncio.gather(finish())


@situation("failed", raw=True, modes=("coroutine",))
async def coroutine_of_failing_task(ctx: Context) -> Any:
    note(ctx, "start")
    return asyncio.ensure_future(asyncio.wait_for(asyncio.Event().wait(), 0.05))


class Awaited:
    """Its result is itself, as that of a pool of connections."""

    def __await__(self) -> Generator[Any, Any, Awaited]:
        yield from asyncio.sleep(0).__await__()
        return self


@situation(raw=True)
def returns_what_awaits_itself(ctx: Context) -> Any:
    note(ctx, "start")
    note(ctx, "end")
    return Awaited()


# --- comparisons of what was changed


class Incomparable:
    """As a mock or an array: its comparison raises, or says what it likes."""

    __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return logging.LogRecord(*args, **kwargs) if kwargs or len(args) > 3 else None


class Equal(Incomparable):
    def __eq__(self, *_: object, **__: object) -> Any:
        return True

    def __ne__(self, *_: object, **__: object) -> Any:
        return False

    __hash__ = object.__hash__


class Policy(asyncio.DefaultEventLoopPolicy):
    __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__


NONE: Any = None
CHANGES: dict[str, Callable[[], object]] = {
    "factory": lambda: logging.setLogRecordFactory(Incomparable()),
    "equal_factory": lambda: logging.setLogRecordFactory(Equal()),
    "profile": lambda: sys.setprofile(Incomparable()),
    "policy": lambda: asyncio.set_event_loop_policy(Policy()),
    "filter": lambda: warnings.filters.insert(0, Incomparable()),  # type: ignore[attr-defined]
    "no_filters": lambda: setattr(warnings, "filters", NONE),
    "handlers": lambda: setattr(_log, "handlers", [Incomparable()]),
    "no_handlers": lambda: setattr(_log, "handlers", NONE),
    "clock_ahead": lambda: setattr(time, "monotonic", lambda: 2e9),
    "clock_behind": lambda: setattr(time, "monotonic", lambda: 1.0),
    "memory": lambda: _lower("DATA", "STACK"),
}


def _lower(*names: str) -> None:
    for kind in (getattr(resource, f"RLIMIT_{name}") for name in names):
        resource.setrlimit(kind, (1 << 29, resource.getrlimit(kind)[1]))


def _changes(name: str, change: Callable[[], object]) -> Callable[[Context], None]:
    def run(ctx: Context) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # put back last
        change()

    run.__name__ = f"changes_{name}"
    return run


for _name, _change in CHANGES.items():
    situation()(_changes(_name, _change))


@situation("failed", both=True)
def handlers_gone(ctx: Context) -> None:
    _log.handlers = _log.filters = NONE
    raise ValueError


# --- soft timeouts


@situation("failed", soft_timeout=SOFT_S)
def limited_in_del_without_its_hook(ctx: Context) -> None:
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    UNDO.append(lambda: setattr(sys, "unraisablehook", before))
    Lingering()
    spin(20)


_open: list[AbstractContextManager[None]] = []


@situation()
def shield_left_open(ctx: Context) -> None:
    _open.append(ctx.shield())
    _open[-1].__enter__()


@situation("failed", soft_timeout=SOFT_S)
def limited_when_a_shield_of_another_ends(ctx: Context) -> None:
    while _open:
        _open.pop().__exit__(None, None, None)
    spin(20)
