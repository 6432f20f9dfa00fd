"""Declare queues."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from typedq.errors import ConfigurationError, meant
from typedq.policy.durations import timeouts

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


# `__init__` by hand, because arguments may be timedelta and fields are seconds.
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


def parse_queues(given: object) -> tuple[Queue, ...]:
    """Return the queues that an app, the environment or pyproject.toml lists.

    given: a list of names, `Queue`s and tables (`{name = "high", soft_timeout = 3}`), or names
        separated by commas. Raises ValueError with every problem.
    """
    items = given
    if isinstance(given, str):
        items = [name.strip() for name in given.split(",") if name.strip()]
    if not isinstance(items, list | tuple):
        raise ValueError("this is not a list of queues")
    queues, problems = list[Queue](), list[str]()
    for item in cast("Iterable[object]", items):
        try:
            queues.append(_parse_queue(item))
        except ConfigurationError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(str(error))
    names = [queue.name for queue in queues]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"declared twice: {', '.join(twice)}")
    if not items:
        problems.append("there should be at least one")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(queues)


def _parse_queue(item: object) -> Queue:
    if isinstance(item, Queue):
        return item
    plain: dict[str, Any] = {"name": item}
    options = cast("dict[str, Any]", item) if isinstance(item, dict) else plain
    known = ("name", "soft_timeout", "hard_timeout")
    if unknown := [key for key in options if key not in known]:
        raise ValueError(f"a queue has no {unknown[0]!r}{meant(unknown[0], known)}")
    if "name" not in options:
        raise ValueError("a queue has no name")
    return Queue(**options)


def _name_problems(given: object) -> list[str]:
    if isinstance(given, str) and NAME.fullmatch(given):
        return []
    rule = "1 to 64 of a-z 0-9 _ . - are allowed, beginning with a letter or digit"
    return [f"queue name {given!r}: {rule}"]
