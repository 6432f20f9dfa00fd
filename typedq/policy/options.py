"""Options of one call: when, where and for how long it runs."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Literal, TypedDict

import msgspec

from typedq.errors import InvalidOptions, meant
from typedq.policy.durations import TEN_YEARS, seconds, timeouts
from typedq.policy.queue import NAME

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class Options(TypedDict, total=False):
    """Options of a call. Lengths of time are seconds or timedelta.

    delay: run this long after now; eta: run at this aware datetime (past: now). Not both.
    queue: a queue of the app; soft_timeout, hard_timeout: instead of the task's own.
    """

    delay: float | timedelta
    eta: datetime
    queue: str
    soft_timeout: float | timedelta
    hard_timeout: float | timedelta


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Options after checking: at most one of `delay_ms` and `eta_ms` (since the epoch).

    `limits` is what the envelope carries: JSON such as `{"soft":5.0,"hard":10.0}`, or `-`.
    """

    queue: str | None = None
    delay_ms: int | None = None
    eta_ms: int | None = None
    limits: bytes = b"-"


def plan(
    task: str, options: Options, *, now: datetime, queues: Collection[str] | None = None
) -> Plan:
    """Check the options of a call of `task`; `queues` is None while not yet known.

    Raises InvalidOptions.
    """
    for name in options.keys() - Options.__annotations__.keys():
        raise InvalidOptions(
            task, name, f"no such option; there are: {', '.join(Options.__annotations__)}"
        )
    if "delay" in options and "eta" in options:
        raise InvalidOptions(task, "eta", "delay and eta exclude each other; give one of them")
    queue = options.get("queue")
    if queue is not None and queues is not None and queue not in queues:
        raise unknown_queue(task, queue, queues)
    if queue is not None and not NAME.fullmatch(str(queue)):  # nor can it turn out to be one
        raise InvalidOptions(task, "queue", f"{queue!r} is no name of a queue")
    return Plan(queue, _delay(task, options), _eta(task, options, now), _limits(task, options))


def refuse(task: str, plan: Plan, why: str, *options: Literal["delay", "eta", "queue"]) -> None:
    """Raise InvalidOptions if a call that is made by others has one of these options."""
    given = {"delay": plan.delay_ms, "eta": plan.eta_ms, "queue": plan.queue}
    for option in options:
        if given[option] is not None:
            raise InvalidOptions(task, option, why)


def unknown_queue(task: str, queue: str, queues: Collection[str]) -> InvalidOptions:
    """The error for a queue that the app does not declare, with the nearest name."""
    has = f"this app has: {', '.join(queues)}"
    return InvalidOptions(task, "queue", f"no queue named {queue!r}{meant(queue, queues)}; {has}")


def _delay(task: str, options: Options) -> int | None:
    if "delay" not in options:
        return None
    try:
        return round(seconds(options["delay"], "it") * 1000)
    except ValueError as error:
        raise InvalidOptions(task, "delay", str(error)) from None


def _eta(task: str, options: Options, now: datetime) -> int | None:
    return _instant(task, options["eta"], now) if "eta" in options else None


def _instant(task: str, eta: object, now: datetime) -> int:
    if not isinstance(eta, datetime):
        raise InvalidOptions(task, "eta", f"it takes an aware datetime, not {type(eta).__name__}")
    if eta.utcoffset() is None:
        raise InvalidOptions(
            task, "eta", f"{eta.isoformat()} has no time zone; add one, such as tzinfo=UTC"
        )
    if (eta - now).total_seconds() > TEN_YEARS:
        raise InvalidOptions(task, "eta", f"{eta.isoformat()} is more than 10 years away")
    return max(0, (eta - EPOCH) // MILLISECOND)


def _limits(task: str, options: Options) -> bytes:
    soft, hard = options.get("soft_timeout"), options.get("hard_timeout")
    if soft is None and hard is None:
        return b"-"
    try:
        soft, hard = timeouts(soft, hard)
    except ValueError as error:
        option = "hard_timeout" if str(error).startswith("hard") else "soft_timeout"
        raise InvalidOptions(task, option, str(error)) from None
    given = {name: limit for name, limit in (("soft", soft), ("hard", hard)) if limit is not None}
    return json.dumps(given, separators=(",", ":")).encode()
