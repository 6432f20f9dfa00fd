"""Decide what the exception of a task means, and turn it into text.

An exception is foreign code: its attributes, text and class may raise, lie or be missing. Nothing
here raises, and nothing is set on the exception through its own `__setattr__`.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple

from typedq.errors import Cancelled, Reject, RetryIn
from typedq.policy import TEN_YEARS
from typedq.process import end_if_copy
from typedq.reasons import valid_text
from typedq.task import Task

_MAX_TEXT: Final = 8_000  # characters; the end of a traceback matters most
_MAX_LEAVES: Final = 1_000
# The slots of the base class, because a subclass may override them with properties.
_get_traceback: Any = vars(BaseException)["__traceback__"].__get__
_get_exceptions: Any = vars(BaseExceptionGroup)["exceptions"].__get__


class Failure(NamedTuple):
    """An exception as text.

    error: the exception, or None if formatting it raises
    """

    text: str
    traceback: str
    error: BaseException | None


def next_retry_delay(
    task: Task[..., Any], error: BaseException, attempt: int, jitter_fraction: float
) -> float | None:
    """Return the seconds until the next attempt after `error`, or None for a dead letter.

    A group is retried if all the exceptions in it would be, after the longest of their delays.
    attempt: the one that failed, 1 for the first; jitter_fraction: a random number in [0, 1).
    """
    delay = _delay(task, error, attempt, jitter_fraction)
    if delay is None and issubclass(type(error), BaseExceptionGroup):
        delays = [_delay(task, leaf, attempt, jitter_fraction) for leaf in _leaves(error)]
        known = [delay for delay in delays if delay is not None]
        return max(known) if known and len(known) == len(delays) else None
    return delay


def _delay(
    task: Task[..., Any], error: BaseException, attempt: int, jitter_fraction: float
) -> float | None:
    # `issubclass`, because `isinstance` reads `__class__`, which may raise.
    try:
        if issubclass(type(error), RetryIn):
            seconds = float(error.seconds)  # type: ignore[attr-defined]
            return seconds if 0 <= seconds < TEN_YEARS else None
        if issubclass(type(error), Reject) or task.retry is None:
            return None
        return task.retry.next(error, attempt, jitter_fraction)
    except BaseException:  # noqa: BLE001 - an exception that cannot be read is not retried
        return None


def is_cancellation(error: BaseException) -> bool:
    """Return True for a Cancelled, or a group of only Cancelled."""
    return all(issubclass(type(leaf), Cancelled) for leaf in _leaves(error))


def rejection(error: BaseException) -> str | None:
    """Return the reason of a Reject or of a group of only Rejects; None for other exceptions."""
    leaves = _leaves(error)
    if not all(issubclass(type(leaf), Reject) for leaf in leaves):
        return None
    return "; ".join(map(_reason, leaves))


def _reason(error: BaseException) -> str:
    try:
        return valid_text(str(error.reason)[:_MAX_TEXT])  # type: ignore[attr-defined]
    except BaseException:  # noqa: BLE001
        return "its reason cannot be shown"


def read_failure(error: BaseException) -> Failure:
    """Return the exception as text, without the frames that called the task."""
    trace = _get_traceback(error)
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    if trace is not None:
        # Of BaseException, because a subclass may override it.
        BaseException.with_traceback(error, trace)
    trace = _get_traceback(error)
    try:
        found = traceback.TracebackException(type(error), error, trace)
        text, lines = "".join(found.format_exception_only()), "".join(found.format())
    except BaseException as fault:  # noqa: BLE001 - whatever its attributes or text raise
        end_if_copy(fault)
        text = _plain_text(error)
        frames = ""
        with suppress(BaseException):
            frames = "".join(traceback.format_tb(trace)[-50:])
        return Failure(text, valid_text(f"{frames}{text}"[-_MAX_TEXT:]), None)
    return Failure(valid_text(text.strip()[-_MAX_TEXT:]), valid_text(lines[-_MAX_TEXT:]), error)


def _is_ours(trace: TracebackType) -> bool:
    package = trace.tb_frame.f_globals.get("__package__")
    return isinstance(package, str) and package.partition(".")[0] == "typedq"


def _plain_text(error: BaseException) -> str:
    name = type_name(error)
    try:
        return valid_text(f"{name}: {error!s}"[:_MAX_TEXT])
    except BaseException:  # noqa: BLE001
        return f"{name}: its text cannot be shown"


def type_name(error: BaseException) -> str:
    """Return the name of the exception's class."""
    try:
        return valid_text(str(type.__getattribute__(type(error), "__qualname__")))
    except BaseException:  # noqa: BLE001 - a metaclass may hide even that
        return "an exception"


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, nested ones included; otherwise the exception itself."""
    found, todo = list[BaseException](), [error]
    while todo:
        each = todo.pop()
        if issubclass(type(each), BaseExceptionGroup):
            todo.extend(reversed(_get_exceptions(each)))
        else:
            found.append(each)
        if len(found) + len(todo) > _MAX_LEAVES:
            return [error]
    return found
