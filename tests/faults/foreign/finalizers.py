"""What is finalized after its attempt, and forks: the copy is in the worker's own code by then."""

from __future__ import annotations

import contextvars
import os

import msgspec

from tests.faults.app import EFFECTS, note
from typedq import Context, TypedQ


class Forks:
    """The copy comes back from the finalizer."""

    def __del__(self) -> None:
        if pid := os.fork():
            os.waitpid(pid, 0)


class ErrorForks(Forks, Exception):
    pass


class ValueForks(msgspec.Struct):
    n: int = 0

    def __del__(self) -> None:
        if EFFECTS in os.environ:  # not where it is sent from
            Forks()


_variable = contextvars.ContextVar[Forks]("_variable")
KINDS = ("of_error", "of_frame", "of_variable", "of_value")


def declare(app: TypedQ) -> None:
    """A task for each kind."""

    @app.task
    def of_error(ctx: Context) -> None:
        note(ctx, "start")
        raise ErrorForks

    @app.task
    def of_frame(ctx: Context) -> None:
        note(ctx, "start")
        kept = Forks()
        raise ValueError(id(kept))

    @app.task
    def of_variable(ctx: Context) -> None:
        note(ctx, "start")
        _variable.set(Forks())

    @app.task
    def of_value(ctx: Context, value: ValueForks) -> None:
        note(ctx, "start")
