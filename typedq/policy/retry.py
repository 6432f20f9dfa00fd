"""Decide if and when a failed attempt is retried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from typedq.errors import ConfigurationError
from typedq.policy.durations import seconds

MAX_RETRIES = 998  # the attempt has three digits in a message's header


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """Run again after the exceptions in `on`, with exponential backoff.

    max_retries: 0 to 998, not counting the first attempt
    on: an exception class or several; any other exception makes the message a dead letter
    backoff: seconds or timedelta before the first retry, then multiplied by `factor` (1 or more)
    max_backoff: seconds or timedelta, never longer than this
    jitter: spread each delay evenly between 0 and its length
    Raises ConfigurationError with every problem.
    """

    max_retries: int
    on: tuple[type[BaseException], ...]
    backoff: float
    factor: float
    max_backoff: float
    jitter: bool

    def __init__(
        self,
        max_retries: int = 3,
        *,
        on: type[BaseException] | Iterable[type[BaseException]] = (Exception,),
        backoff: float | timedelta = 1.0,
        factor: float = 2.0,
        max_backoff: float | timedelta = 600.0,
        jitter: bool = True,
    ) -> None:
        classes = cast("tuple[type[BaseException], ...]", _as_tuple(on))
        first, longest, problems = 0.0, 0.0, list[str]()
        if not _is_number(max_retries, 0, MAX_RETRIES, whole=True):
            problems.append(
                f"max_retries takes a number from 0 to {MAX_RETRIES}, not {max_retries!r}"
            )
        if not classes or not all(map(_is_exception, classes)):
            problems.append(f"on takes one or more exception classes, not {on!r}")
        if not _is_number(factor, 1, 1e6):
            problems.append(f"factor takes a number from 1 to a million, not {factor!r}")
        try:
            first, longest = seconds(backoff, "backoff"), seconds(max_backoff, "max_backoff")
        except ValueError as error:
            problems.append(str(error))
        if first > longest:
            problems.append(f"backoff ({first:g} s) is longer than max_backoff ({longest:g} s)")
        if problems:
            raise ConfigurationError([f"Retry: {problem}" for problem in problems])
        kept = (int(max_retries), classes, first, float(factor), longest, bool(jitter))
        for field, value in zip(self.__slots__, kept, strict=True):
            object.__setattr__(self, field, value)

    def next(self, error: BaseException, attempt: int, jitter_fraction: float) -> float | None:
        """Return the seconds until the next attempt, or None to make the message a dead letter.

        attempt: the one that failed, 1 for the first
        jitter_fraction: a random number in [0, 1), the part of the backoff to wait
        """
        # As `except` does; `isinstance` would read `__class__` of the exception.
        if attempt > self.max_retries or not issubclass(type(error), self.on):
            return None
        try:
            delay = min(self.backoff * self.factor ** (attempt - 1), self.max_backoff)
        except OverflowError:
            delay = self.max_backoff if self.backoff else 0.0
        return delay * jitter_fraction if self.jitter else delay


def _as_tuple(given: object) -> tuple[object, ...]:
    return tuple(cast("Iterable[object]", given)) if isinstance(given, Iterable) else (given,)


def _is_exception(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseException)


def _is_number(given: object, lowest: float, highest: float, *, whole: bool = False) -> bool:
    if isinstance(given, bool) or not isinstance(given, int if whole else int | float):
        return False
    return lowest <= given <= highest
