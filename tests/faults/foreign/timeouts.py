"""Soft timeouts that reach a task where Python drops every exception."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator
from typing import Any

from tests.faults.foreign.table import situation
from tests.faults.limited import spin
from typedq import Context

SOFT_S = 0.1


class Lingering:
    """Takes longer to go than the task may run."""

    def __del__(self) -> None:
        spin(20)


class Referred:
    """Something to refer to."""


@situation("failed", soft_timeout=SOFT_S)
def limited(ctx: Context) -> None:
    spin(20)


@situation("failed", soft_timeout=SOFT_S)
def limited_in_del(ctx: Context) -> None:
    Lingering()
    spin(20)


@situation("failed", soft_timeout=SOFT_S)
def limited_in_weakref(ctx: Context) -> None:
    it = Referred()
    reference = weakref.ref(it, lambda _: spin(20))
    del it
    spin(20)
    del reference


@situation("failed", soft_timeout=SOFT_S)
def limited_in_collector(ctx: Context) -> None:
    def callback(*_: Any) -> None:
        gc.callbacks.remove(callback)
        spin(20)

    gc.callbacks.append(callback)
    gc.collect()
    spin(20)


@situation("failed", soft_timeout=SOFT_S)
def limited_in_generator(ctx: Context) -> None:
    def generate() -> Generator[None]:
        try:
            yield
        finally:
            spin(20)

    next(generate())
    spin(20)


@situation(soft_timeout=30)
def hardly_limited(ctx: Context) -> None: ...
