"""Middleware and upcasters that do what tasks do, round tasks of both kinds."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any

import msgspec

from tests.faults.app import note
from tests.faults.foreign.exceptions import (
    CauseProperty,
    Frozen,
    Lying,
    NoAttributes,
    NoText,
)
from typedq import Call, Context, TypedQ

outer_var = contextvars.ContextVar("outer_var", default="-")
middle_var = contextvars.ContextVar("middle_var", default="-")
inner_var = contextvars.ContextVar("inner_var", default="-")
STORIES = (
    "plain", "frozen", "stop_iteration", "enter_raises", "leave_raises", "enter_forks",
    "leave_forks", "cancelled", "no_text", "nested_timeout", "lying", "no_attributes", "cause",
)  # fmt: skip


class Old(msgspec.Struct):
    """The payload of the task's older contract."""

    how: str


def declare(app: TypedQ) -> None:
    """Three layers, and a task of each kind for every story."""
    _layers(app)
    app.on_process_start(_fork)  # the copy comes back from the hook
    for name in STORIES:

        def sync(ctx: Context) -> None:
            _play(ctx)

        async def coroutine(ctx: Context) -> None:
            await asyncio.sleep(0)
            _play(ctx)

        app.task(name=f"{name}.sync")(sync)
        app.task(name=f"{name}.coroutine")(coroutine)
    _upcasting(app)


def _play(ctx: Context) -> None:
    note(ctx, "start")
    note(ctx, f"sees:{outer_var.get()},{middle_var.get()},{inner_var.get()}")
    story = ctx.task.partition(".")[0]
    raised: dict[str, BaseException] = {
        "frozen": Frozen(),
        "stop_iteration": StopIteration(3),
        "cancelled": asyncio.CancelledError(),
        "no_text": NoText(),
        "lying": Lying(),
        "no_attributes": NoAttributes(),
        "cause": CauseProperty(),
    }
    if story in raised:
        raise raised[story]
    note(ctx, "end")


def _fork() -> None:
    """The copy goes on in the middleware; it must not come to the task."""
    if pid := os.fork():
        os.waitpid(pid, 0)


def _layers(app: TypedQ) -> None:
    @app.middleware
    async def outer(ctx: Context) -> AsyncGenerator[None]:
        token = outer_var.set("outer")
        try:
            async with asyncio.timeout(60), Scope():
                yield
        finally:
            outer_var.reset(token)
            note(ctx, f"left:{outer_var.get()}")

    @app.middleware
    def middle(ctx: Context) -> Generator[None]:
        token = middle_var.set(f"{outer_var.get()}>middle")
        story = ctx.task.partition(".")[0]
        if story == "enter_raises":
            raise Frozen
        if story == "enter_forks":
            _fork()
        try:
            yield
        finally:
            middle_var.reset(token)
        if story == "leave_raises":
            raise Frozen
        if story == "leave_forks":
            _fork()

    @app.middleware
    async def inner(ctx: Context) -> AsyncGenerator[None]:
        with Setting(inner_var, f"{middle_var.get()}>inner"):
            await asyncio.sleep(0)
            if ctx.task.startswith("nested_timeout"):
                async with asyncio.timeout(30):
                    yield
            else:
                yield


class Scope:
    """As the cancel scopes of libraries: to be left in the asyncio task that entered it."""

    async def __aenter__(self) -> None:
        self.task = asyncio.current_task()

    async def __aexit__(self, *_: object) -> None:
        if asyncio.current_task() is not self.task:
            raise RuntimeError("left in another task")


class Setting:
    def __init__(self, variable: contextvars.ContextVar[str], value: str) -> None:
        self.variable, self.value = variable, value

    def __enter__(self) -> None:
        self.token = self.variable.set(self.value)

    def __exit__(self, *_: object) -> None:
        self.variable.reset(self.token)


UPCASTS: dict[str, Any] = {
    "exits": lambda: sys.exit(3),
    "raises": lambda: (_ for _ in ()).throw(NoText()),
    "frozen": lambda: (_ for _ in ()).throw(Frozen()),
    "returns": lambda: None,
    "forks": _fork,
}


def _upcasting(app: TypedQ) -> None:
    @app.task
    def upcasted(ctx: Context, how: int) -> None:
        note(ctx, "start")
        note(ctx, "end")

    @upcasted.upcast
    def _(old: Old) -> Call:
        outer_var.set("upcaster")
        UPCASTS[old.how]()
        return upcasted.call(1) if old.how == "forks" else UPCASTS[old.how]()
