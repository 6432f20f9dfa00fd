"""The app of the fault tests before and after a change of its contracts, and its producers.

`python -m tests.faults.rolling --count 200 --seed 1`, with FAULTS_ERA `old` or `new`, enqueues and
writes a line for each accepted message: id, task, era, value.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.faults.app import build, note
from typedq import Call, Context, TypedQ

ERA, SENT = "FAULTS_ERA", "FAULTS_SENT"
T = TypeVar("T")
_pause = threading.Event().wait

# Task and era of the producer -> the eras whose code can read the message.
READS: dict[tuple[str, str], set[str]] = {
    ("steady", "old"): {"old", "new"},
    ("steady", "new"): {"old", "new"},
    ("grown", "old"): {"old", "new"},
    ("grown", "new"): {"old", "new"},
    ("broken", "old"): {"old"},
    ("broken", "new"): {"new"},
    ("moved", "old"): {"old", "new"},
    ("moved", "new"): {"new"},
    ("removed", "old"): {"old"},
    ("added", "new"): {"new"},
    ("was_called", "old"): {"old", "new"},
    ("is_called", "new"): {"new"},
}


class Grown(msgspec.Struct):
    value: int


class GrownMore(msgspec.Struct):
    value: int
    note: str = ""


class Moved(msgspec.Struct):
    address: int


class MovedOn(msgspec.Struct):
    to: int


class Odd(msgspec.Struct):
    how: str


class OddToday(msgspec.Struct):
    what: str


def declare(app: TypedQ) -> None:
    """Add the tasks of one era to the app."""

    @app.task
    async def steady(ctx: Context, value: int) -> None:
        _saw(ctx, value)
        await asyncio.sleep(0.002)
        note(ctx, "end")

    {"old": _old, "new": _new}[os.environ[ERA]](app)


def _saw(ctx: Context, value: int) -> None:
    note(ctx, "start")
    note(ctx, f"saw:{os.environ[ERA]}:{value}")


def _work(ctx: Context, value: int) -> None:
    _saw(ctx, value)
    _pause(0.001)
    note(ctx, "end")


def _old(app: TypedQ) -> None:
    @app.task
    def grown(ctx: Context, args: Grown) -> None:
        _work(ctx, args.value)

    @app.task
    def broken(ctx: Context, value: int) -> None:
        _work(ctx, value)

    @app.task
    def moved(ctx: Context, args: Moved) -> None:
        _work(ctx, args.address)

    @app.task
    async def removed(ctx: Context, value: int) -> None:
        _saw(ctx, value)
        note(ctx, "end")

    @app.task
    def was_called(ctx: Context, value: int) -> None:
        _work(ctx, value)

    @app.task
    def odd(ctx: Context, args: Odd) -> None:
        _work(ctx, 0)


def _new(app: TypedQ) -> None:
    @app.task
    def grown(ctx: Context, args: GrownMore) -> None:
        _work(ctx, args.value)

    @app.task
    def broken(ctx: Context, value: str) -> None:
        _work(ctx, int(value))

    @app.task
    def moved(ctx: Context, args: MovedOn) -> None:
        _work(ctx, args.to)

    @moved.upcast
    def _(old: Moved) -> Call:
        return moved.call(MovedOn(to=old.address))

    @app.task
    async def added(ctx: Context, value: int) -> None:
        _saw(ctx, value)
        note(ctx, "end")

    @app.task(aliases=("was_called",))
    def is_called(ctx: Context, value: int) -> None:
        _work(ctx, value)

    @app.task(hard_timeout=0.3)
    def odd(ctx: Context, args: OddToday) -> None:
        _work(ctx, 0)

    @odd.upcast
    def _(old: Odd) -> Call:
        return _ODD[old.how](odd.call(OddToday(what=old.how)))


def _hang(call: Call) -> Call:
    _pause(30)
    return call


def _leave(call: Call) -> Call:
    sys.exit(3)


def _die(call: Call) -> Call:
    os.kill(os.getpid(), signal.SIGKILL)
    return call


def _make_nothing(call: Call) -> Any:
    return None


_ODD: dict[str, Callable[[Call], Call]] = {
    "well": lambda call: call,
    "hang": _hang,
    "leave": _leave,
    "die": _die,
    "nothing": _make_nothing,
}


def call(app: TypedQ, task: str, value: int) -> Call:
    """Return a call of the task as the era of `app` writes it."""
    payload: object = value
    if task in {"grown", "moved"}:
        kinds: dict[tuple[str, str], Callable[[int], object]] = {
            ("grown", "old"): Grown,
            ("grown", "new"): GrownMore,
            ("moved", "old"): Moved,
            ("moved", "new"): MovedOn,
        }
        payload = kinds[task, os.environ[ERA]](value)
    elif (task, os.environ[ERA]) == ("broken", "new"):
        payload = str(value)
    sender: Any = app.tasks[task]
    made: Call = sender.call(payload)
    return made


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--count", type=int, required=True)
    flags.add_argument("--seed", type=int, required=True)
    flags.add_argument("--every", type=float, default=0.005, help="seconds between two")
    given = flags.parse_args()
    era, dice, app = os.environ[ERA], random.Random(given.seed), build()
    tasks = sorted(task for task, of in READS if of == era)
    with Path(os.environ[SENT]).open("a", buffering=1) as sent:
        for value in range(given.count):
            task = dice.choice(tasks)
            sender: Any = app.tasks[task]
            options: dict[str, Any] = {"queue": dice.choice(("high", "mid", "low"))}
            if dice.random() < 0.2:
                options["delay"] = dice.uniform(0.01, 0.5)
            made = call(app, task, value)
            planned = msgspec.structs.replace(made, options=sender.options(**options)._options)
            (receipt,) = app.enqueue_many([planned])
            sent.write(f"{receipt.id} {task} {era} {value}\n")
            _pause(dice.uniform(0, 2 * given.every))


if __name__ == "__main__":
    # The app has the classes of the module; those of a script are others of the same names.
    from tests.faults import rolling

    rolling.main()
