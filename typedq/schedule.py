"""The cron entries of an app: checked where they are declared, each known by its name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from typedq import errors, policy
from typedq.policy import NAME, CatchUp, Cron
from typedq.task import Call, Task


class Entry(NamedTuple):
    """A call, and when it is made. The name alone says which entry it is."""

    name: str
    cron: Cron
    call: Call


class CronStatus(NamedTuple):
    """An entry as operators see it; `last` is None until it has fired. Times are aware, in UTC."""

    entry: Entry
    last: datetime | None
    next: datetime


class Schedule:
    """What an app does by the clock."""

    def __init__(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        self._known = tasks
        self._entries: dict[str, Entry] = {}
        self.entries: Mapping[str, Entry] = MappingProxyType(self._entries)

    def cron(
        self,
        expression: str,
        call: Call,
        *,
        name: str | None = None,
        tz: str = "UTC",
        catch_up: CatchUp = "skip",
    ) -> None:
        """Enqueue `call` at every slot, once however many workers run; `ctx.due` tells the slot.

        expression: minute, hour, day, month, weekday and, if there is a sixth, second; or @daily
        name: says which entry it is when its call or expression changes (default: the task's)
        catch_up: slots more than 60 s late are dropped ("skip"), or run once for all ("once")
        An entry begins when a worker first hears of it. Raises ConfigurationError with every
        problem, InvalidOptions, UnknownTask.
        """
        given = cast("object", call)
        if not isinstance(given, Call):  # what no type checker held back
            reason = f"cron takes a call, such as my_task.call(1), not {given!r}"
            raise errors.ConfigurationError([reason])
        if call.task not in self._known:
            raise errors.UnknownTask(call.task, list(self._known))
        why = "a cron entry runs at its slots; leave it out"
        policy.refuse(call.task, call.options, why, "delay", "eta")
        chosen, problems = call.task if name is None else name, list[str]()
        if not NAME.fullmatch(str(chosen)):
            problems.append("a name is 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit")
        try:
            entry = Entry(chosen, Cron(expression, tz, catch_up), call)
            # A module that is imported twice declares the same again.
            if self._entries.get(chosen, entry) != entry:
                problems.append("the name is taken by another entry; give one with name=")
            elif not problems:
                self._entries[chosen] = entry
        except errors.ConfigurationError as error:
            problems += error.problems
        if problems:
            raise errors.ConfigurationError([f"cron {chosen!r}: {problem}" for problem in problems])

    def outlook(self, last_slots: Mapping[str, int], now: datetime) -> list[CronStatus]:
        """When each entry fired last, and when it will next.

        last_slots: what `typedq.broker.cron.last_slots` answered; now: aware
        """
        return [
            CronStatus(
                entry,
                datetime.fromtimestamp(last / 1000, UTC) if last is not None else None,
                entry.cron.after(now),
            )
            for name, entry in self._entries.items()
            for last in [last_slots.get(name)]
        ]
