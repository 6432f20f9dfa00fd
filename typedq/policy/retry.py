"""Whether a failed attempt is followed by another, and after how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from typedq.errors import ConfigurationError
from typedq.policy.durations import seconds

MOST_RETRIES = 998  # the attempt has three digits in a message's header


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """Run again after the exceptions in `on`, with exponential backoff.

    max_retries: 0 to 998, not counting the first attempt
    on: an exception class or several; any other exception buries the message
    backoff: seconds or timedelta before the first retry, then multiplied by `factor` (1 or more)
    max_backoff: seconds or timedelta, never longer than this
    jitter: spread each delay evenly between 0 and its length
    Raises ConfigurationError.
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
        problems: list[str] = []
        first = _length(backoff, "backoff", problems)
        longest = _length(max_backoff, "max_backoff", problems)
        kept = {
            "max_retries": _count(max_retries, problems),
            "on": _classes(on, problems),
            "backoff": first,
            "factor": _factor(factor, problems),
            "max_backoff": longest,
            "jitter": jitter,
        }
        if not problems and first > longest:
            problems.append(
                f"Retry: backoff ({first:g} s) is longer than max_backoff ({longest:g} s)"
            )
        if problems:
            raise ConfigurationError(problems)
        for field, value in kept.items():
            object.__setattr__(self, field, value)

    def next(self, error: BaseException, attempt: int, roll: float) -> float | None:
        """Seconds until the next attempt, or None to bury the message.

        attempt: the one that failed, 1 for the first; roll: a random number in [0, 1).
        """
        if attempt > self.max_retries or not isinstance(error, self.on):
            return None
        try:
            delay = min(self.backoff * self.factor ** (attempt - 1), self.max_backoff)
        except OverflowError:
            delay = self.max_backoff if self.backoff else 0.0
        return delay * roll if self.jitter else delay


def _count(given: object, problems: list[str]) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MOST_RETRIES:
        return given
    problems.append(f"Retry: max_retries takes a number from 0 to {MOST_RETRIES}, not {given!r}")
    return 0


def _classes(given: object, problems: list[str]) -> tuple[type[BaseException], ...]:
    several = tuple(cast("Iterable[object]", given)) if isinstance(given, Iterable) else (given,)
    classes = tuple(c for c in several if isinstance(c, type) and issubclass(c, BaseException))
    if len(classes) < len(several) or not several:
        problems.append(f"Retry: on takes one or more exception classes, not {given!r}")
    return classes


def _factor(given: object, problems: list[str]) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool) and 1 <= given < 1e6:
        return float(given)
    problems.append(f"Retry: factor takes a number of 1 or more, not {given!r}")
    return 1.0


def _length(given: float | timedelta, what: str, problems: list[str]) -> float:
    try:
        return seconds(given, f"Retry: {what}")
    except ValueError as error:
        problems.append(str(error))
        return 0.0
