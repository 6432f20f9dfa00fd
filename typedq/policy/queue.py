"""A queue as the app declares it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from typedq.errors import ConfigurationError
from typedq.policy.durations import timeouts

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


# Written out, because the arguments are wider than what is kept: the fields are seconds.
@dataclass(frozen=True, slots=True, init=False)
class Queue:
    """A queue; the order in which an app lists its queues is their strict priority.

    name: matches ^[a-z0-9][a-z0-9_.-]{0,63}$
    soft_timeout, hard_timeout: seconds or timedelta (kept as seconds), for tasks without their own
    Raises ConfigurationError.
    """

    name: str
    soft_timeout: float | None
    hard_timeout: float | None

    def __init__(
        self,
        name: str,
        soft_timeout: float | timedelta | None = None,
        hard_timeout: float | timedelta | None = None,
    ) -> None:
        problems = _name_problems(name)
        soft: float | None = None
        hard: float | None = None
        try:
            soft, hard = timeouts(soft_timeout, hard_timeout)
        except ValueError as error:
            problems.append(f"queue {name!r}: {error}")
        if problems:
            raise ConfigurationError(problems)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "soft_timeout", soft)
        object.__setattr__(self, "hard_timeout", hard)


def _name_problems(given: object) -> list[str]:
    if isinstance(given, str) and NAME.fullmatch(given):
        return []
    rule = "1 to 64 of a-z 0-9 _ . - are allowed, beginning with a letter or digit"
    return [f"queue name {given!r}: {rule}"]
