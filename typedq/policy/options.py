"""Options of one call: due time, expiry, queue, time limits and metadata."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypedDict, cast

import msgspec

from typedq.errors import InvalidOptions, meant
from typedq.policy.durations import TEN_YEARS, seconds, timeouts
from typedq.policy.queue import NAME

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MAX_KEY_BYTES = 256  # of a unique key


class Options(TypedDict, total=False):
    """Options of a call. Durations are seconds or timedelta; None means not set.

    delay: run this long after now; eta: run at this aware datetime (past: now). Not both.
    expires: do not begin later than this long after the enqueue, or than this aware datetime
    queue: a queue of the app; soft_timeout, hard_timeout: instead of the task's own
    unique, unique_for: a key, and how long one message of this task is accepted for it
    meta: text that the task finds in `ctx.meta`; at most 16 keys and 1,024 bytes
    """

    delay: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    queue: str | None
    soft_timeout: float | timedelta | None
    hard_timeout: float | timedelta | None
    unique: str | None
    unique_for: float | timedelta | None
    meta: Mapping[str, str] | None


class CallOptions(msgspec.Struct, frozen=True, gc=False):
    """Checked options: at most one of `delay_ms` and `eta_ms` (since the epoch).

    The same holds for `expires_ms` (after the enqueue) and `expires_at_ms` (since the epoch).
    timeouts: JSON such as `{"soft":5.0,"hard":10.0}`, or `-`
    """

    queue: str | None = None
    delay_ms: int | None = None
    eta_ms: int | None = None
    timeouts: bytes = b"-"
    unique: str | None = None
    unique_ms: int = 0
    expires_ms: int | None = None
    expires_at_ms: int | None = None


NO_OPTIONS: Final = CallOptions()


def check_options(
    task: str, options: Options, *, now: datetime, queues: Collection[str] | None = None
) -> CallOptions:
    """Check the options of a call of `task` but for metadata, which `encode_meta` checks.

    queues: None while not yet known. Raises InvalidOptions.
    """
    for name in options.keys() - Options.__annotations__.keys():
        raise InvalidOptions(
            task, name, f"no such option; there are: {', '.join(Options.__annotations__)}"
        )
    values = cast("dict[str, Any]", {k: v for k, v in options.items() if v is not None})
    if "delay" in values and "eta" in values:
        raise InvalidOptions(task, "eta", "delay and eta exclude each other; give one of them")
    queue = values.get("queue")
    if queue is not None and queues is not None and queue not in queues:
        raise unknown_queue(task, queue, queues)
    if queue is not None and not NAME.fullmatch(str(queue)):  # no app can declare such a queue
        raise InvalidOptions(task, "queue", f"{queue!r} is not a queue name")
    delay = _duration_ms(task, "delay", values["delay"], at_least=0) if "delay" in values else None
    eta = _datetime_ms(task, "eta", values.get("eta"), now)
    limits, unique = _timeouts(task, values), _unique(task, values)
    expires = _expires(task, values.get("expires"), now)
    checked = CallOptions(queue, delay, eta, limits, *unique, *expires)
    if expires != (None, None):
        _refuse_late(task, checked, (now - EPOCH) // MILLISECOND)
    return checked


def refuse_options(
    task: str,
    checked: CallOptions,
    reason: str,
    *options: Literal["delay", "eta", "queue", "unique", "expires"],
) -> None:
    """Raise InvalidOptions if a call has one of these options."""
    values = {
        "delay": checked.delay_ms,
        "eta": checked.eta_ms,
        "queue": checked.queue,
        "unique": checked.unique,
        "expires": checked.expires_ms if checked.expires_at_ms is None else checked.expires_at_ms,
    }
    for option in options:
        if values[option] is not None:
            raise InvalidOptions(task, option, reason)


def unknown_queue(task: str, queue: str, queues: Collection[str]) -> InvalidOptions:
    """Return the error for a queue that the app does not declare, with the nearest name."""
    has = f"this app has: {', '.join(queues)}"
    return InvalidOptions(task, "queue", f"no queue named {queue!r}{meant(queue, queues)}; {has}")


def _datetime_ms(task: str, option: str, moment: object, now: datetime) -> int | None:
    """Return an aware datetime in ms since the epoch."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        reason = f"it takes an aware datetime, not {type(moment).__name__}"
        raise InvalidOptions(task, option, reason)
    if moment.utcoffset() is None:
        reason = f"{moment.isoformat()} has no time zone; add one, such as tzinfo=UTC"
        raise InvalidOptions(task, option, reason)
    if (moment - now).total_seconds() > TEN_YEARS:
        raise InvalidOptions(task, option, f"{moment.isoformat()} is more than 10 years away")
    return max(0, (moment - EPOCH) // MILLISECOND)


def _expires(task: str, expires: Any, now: datetime) -> tuple[int | None, int | None]:
    """Return after how many ms it expires, or when in ms since the epoch."""
    if expires is None or isinstance(expires, datetime):
        return None, _datetime_ms(task, "expires", expires, now)
    if isinstance(expires, bool) or not isinstance(expires, int | float | timedelta):
        reason = f"it takes seconds, a timedelta or an aware datetime, not {type(expires).__name__}"
        raise InvalidOptions(task, "expires", reason)
    return _duration_ms(task, "expires", expires), None


def _refuse_late(task: str, options: CallOptions, now_ms: int) -> None:
    """Raise InvalidOptions if a message would have expired before it is due."""
    due_ms = (options.eta_ms or 0) if options.delay_ms is None else now_ms + options.delay_ms
    expires_at_ms = options.expires_at_ms or now_ms + (options.expires_ms or 0)
    if due_ms > now_ms and due_ms >= expires_at_ms:
        raise InvalidOptions(task, "expires", "it would expire before it is due, and never run")


def _unique(task: str, values: dict[str, Any]) -> tuple[str | None, int]:
    """Return the unique key and how long it lives, in ms."""
    if "unique" not in values and "unique_for" not in values:
        return None, 0
    if "unique" not in values or "unique_for" not in values:
        reason = "unique takes a key, and unique_for how long one message is accepted; give both"
        raise InvalidOptions(task, "unique" if "unique" in values else "unique_for", reason)
    key = values["unique"]
    try:
        fits = isinstance(key, str) and 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeError:
        fits = False
    if not fits:
        reason = f"it takes a text of 1 to {MAX_KEY_BYTES} bytes, not {key!r:.100}"
        raise InvalidOptions(task, "unique", reason)
    return key, _duration_ms(task, "unique_for", values["unique_for"])


def _duration_ms(task: str, option: str, duration: float | timedelta, at_least: int = 1) -> int:
    """Return a duration in ms."""
    try:
        duration_ms = round(seconds(duration, "it") * 1000)
    except ValueError as error:
        raise InvalidOptions(task, option, str(error)) from None
    if duration_ms < at_least:
        raise InvalidOptions(task, option, "it must be at least a millisecond")
    return duration_ms


def _timeouts(task: str, values: dict[str, Any]) -> bytes:
    try:
        soft, hard = timeouts(values.get("soft_timeout"), values.get("hard_timeout"))
    except ValueError as error:
        option = "hard_timeout" if str(error).startswith("hard") else "soft_timeout"
        raise InvalidOptions(task, option, str(error)) from None
    limits = {name: limit for name, limit in (("soft", soft), ("hard", hard)) if limit is not None}
    return json.dumps(limits, separators=(",", ":")).encode() if limits else b"-"
