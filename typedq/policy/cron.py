"""Compute the slots of cron entries, across clock changes and after missed slots."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple, final, get_args

from typedq.errors import ConfigurationError

CatchUp = Literal["skip", "once"]
LATE = timedelta(seconds=60)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_NEAR = timedelta(days=2)  # no zone has ever changed its offset by more
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# H and R of croniter, which it replaces by a random number.
_RANDOM = re.compile(r"(^|[\s,])[hr]($|[\s,(/])", re.IGNORECASE)
_LAST = ("59", "23", "31", "12 dec", "6 sat", "59")  # the last value of each field
_SEVEN = re.compile(r"(?<![#\d])0*7(?!\d)")
_NEVER = "there is no such date"

Wall = datetime  # local time of the zone, written as if it were UTC


@final
@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression on the wall clock of a time zone; its slots are whole seconds.

    expression: minute, hour, day, month, weekday and, if there is a sixth, second; or @daily etc.
    tz: name of a time zone
    catch_up: for slots missed by more than 60 s; "skip": drop them, "once": run once for all
    If the clock skips a time in spring, its slot is later by as much: 02:30 runs at 03:30. If a
    time occurs twice in autumn, both are slots if the hour field begins with *, else the first is.
    ambiguities: what croniter 6 and 7 read in different ways, and what to write instead
    Raises ConfigurationError with every problem.
    """

    expression: str
    tz: str = "UTC"
    catch_up: CatchUp = "skip"
    ambiguities: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())
    _zone: tzinfo = field(init=False, repr=False, compare=False)
    _next: Callable[[Wall], Wall] = field(init=False, repr=False, compare=False)
    _twice: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems, ambiguities = list[str](), tuple[str, ...]()
        try:
            fields = _fields(self.expression)
            object.__setattr__(self, "ambiguities", ambiguities := tuple(_ambiguities(fields)))
            object.__setattr__(self, "_next", _next_after(fields))
            object.__setattr__(self, "_twice", fields[1].startswith("*"))
        except ValueError as error:
            problems.append(
                f"cron expression {self.expression!r}: {'; '.join([str(error), *ambiguities])}"
            )
        try:
            object.__setattr__(self, "_zone", _zone(self.tz))
        except (KeyError, ValueError, OSError, TypeError, AttributeError):
            problems.append(
                f"tz {self.tz!r}: no such time zone here; expected a name such as 'Europe/Berlin'"
                " (a system without any needs the package tzdata)"
            )
        if self.catch_up not in get_args(CatchUp):
            problems.append(f"catch_up {self.catch_up!r}: expected 'skip' or 'once'")
        if problems:
            raise ConfigurationError(problems)

    def after(self, now: datetime) -> datetime:
        """Return the first slot after `now` (aware), in UTC."""
        now = now.astimezone(UTC).replace(microsecond=0)
        best: datetime | None = None
        # Near `now`, a slot is a local time minus one of these offsets; search with each.
        for offset in {self._offset(now + days) for days in (-_NEAR, 0 * _NEAR, _NEAR)}:
            wall = now + offset
            while best is None or wall - offset < best:
                wall = self._next(wall)
                later = [slot for slot in self._slots(wall) if slot > now]
                best = min([*later, best] if best else later, default=None)
        if best is None:
            raise AssertionError("an expression without slots was accepted")
        # Farther away, other offsets may apply: search again near what was found.
        return best if best - now <= _NEAR else self.after(best - _NEAR)

    def last(self, now: datetime) -> datetime:
        """Return the last slot not after `now` (aware), in UTC."""
        span = _SECOND
        while self.after(now - span) > now:
            span *= 2
        early, late = now - span, now
        while late - early > _SECOND:
            middle = early + (late - early) / 2
            early, late = (middle, late) if self.after(middle) <= now else (early, middle)
        return self.after(early)

    def pending(self, since: datetime, now: datetime) -> list[datetime]:
        """Return the slots to fire at `now` if the last one fired was `since`, oldest first."""
        recent = now - LATE
        if self.catch_up == "once" and self.after(since) <= recent:
            return [self.last(now)]
        slots, slot = list[datetime](), self.after(max(since, recent))
        while slot <= now:
            slots.append(slot)
            slot = self.after(slot)
        return slots

    def _offset(self, instant: datetime) -> timedelta:
        return instant.astimezone(self._zone).utcoffset() or timedelta()

    def _slots(self, wall: Wall) -> list[datetime]:
        """Return the slots of a local time: fold=0 before a clock change, fold=1 after it."""
        local = wall.replace(tzinfo=self._zone)
        before = local.utcoffset() or timedelta()
        after = local.replace(fold=1).utcoffset() or timedelta()
        return [wall - before, wall - after] if after < before and self._twice else [wall - before]


class Schedule(NamedTuple):
    """What a worker reports of a cron entry."""

    expression: str
    tz: str
    task: str


def _zone(name: str) -> tzinfo:
    if name == "UTC":  # known even if no time zones are installed
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _fields(expression: object) -> list[str]:
    if not isinstance(expression, str):
        raise ValueError(f"it takes text, not {type(expression).__name__}")
    fields = _ALIASES.get(expression.strip().lower(), expression).split()
    if len(fields) not in (5, 6):
        raise ValueError(
            f"{len(fields)} fields; expected 5 (minute hour day month weekday), or 6 with the"
            " second last"
        )
    if _RANDOM.search(" ".join(fields)):
        raise ValueError("H and R mean a different time in every process")
    if not "".join(fields).isascii():
        raise ValueError("write digits as 0 to 9, and names in English")
    return fields


def _ambiguities(fields: list[str]) -> Iterator[str]:
    for number, text in enumerate(fields):
        for token in text.lower().split(","):
            start, _, step = token.partition("/")
            if step.strip("0").isdigit() and start.lstrip("0") in _LAST[number].split():
                yield (
                    f"croniter 6 reads {token} as */{step}, croniter 7 as {start} alone;"
                    " write the one you mean"
                )
            if (number, len(fields)) == (4, 6) and _SEVEN.search(start):
                yield (
                    f"croniter 6 does not know {token} for Sunday beside seconds;"
                    " write 0 or sun for 7"
                )
    if fields[2][0] not in "*?" and fields[4][0] not in "*?":
        try:
            _next_after([*fields[:4], "*", *fields[5:]])
        except ValueError as error:
            if str(error) == _NEVER:
                yield (
                    f"no such month has the day {fields[2]}: croniter 6 refuses that, croniter 7"
                    " goes by the weekday alone; write * for the day"
                )


def _next_after(fields: list[str]) -> Callable[[Wall], Wall]:
    from croniter import croniter

    matches = croniter(" ".join(fields), _EPOCH)

    def following(wall: Wall) -> Wall:
        found: Wall = matches.get_next(datetime, start_time=wall)
        return found

    try:
        following(_EPOCH)
    except ValueError:
        raise ValueError(_NEVER) from None
    return following
