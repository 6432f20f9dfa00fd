"""List, run, pause and resume the cron entries of a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, final

from typedq import registry
from typedq.admin.messages import instant
from typedq.app import TypedQ
from typedq.broker import cron, stats
from typedq.encoder import MessageEncoder
from typedq.errors import ConfigurationError
from typedq.policy import Cron, Schedule
from typedq.task import Receipt


class CronState(NamedTuple):
    """The state of cron entries on the server, by name, in ms since the epoch.

    last_slot_ms: 0 or less if no slot was enqueued yet
    """

    last_slot_ms: dict[str, int]
    paused_since_ms: dict[str, int]


def read(app: TypedQ) -> CronState:
    """Read the state of all entries from the server. Raises ServerError."""
    broker, keys = app.broker, app.broker.keys
    return CronState(broker.call(cron.last_slots(keys)), broker.call(cron.paused_cron(keys)))


def rows(
    app: TypedQ, state: CronState, live: Mapping[str, registry.Worker], now_ms: int
) -> list[dict[str, Any]]:
    """Return the keys of `cron list --json`: entries of the app, of live workers, and paused ones.

    live: the live workers by name
    """
    known: dict[str, Schedule | None] = dict.fromkeys(state.paused_since_ms)
    for worker in live.values():
        known |= worker.cron
    known |= app.declarations.schedules()  # last, because the app's own schedule is the newest
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return [
        _row(name, schedule, state, [n for n, w in live.items() if name in w.cron], now)
        for name, schedule in sorted(known.items())
    ]


def _row(
    name: str, schedule: Schedule | None, state: CronState, fired_by: list[str], now: datetime
) -> dict[str, Any]:
    following = schedule and _next(schedule, now)
    return {
        "name": name,
        "task": schedule and schedule.task,
        "expression": schedule and schedule.expression,
        "tz": schedule and schedule.tz,
        "last": instant(max(state.last_slot_ms.get(name, 0), 0) or None),
        "next": following and instant(round(following.timestamp() * 1000)),
        "next_s": following and (following - now).total_seconds(),
        "paused": name in state.paused_since_ms,
        "paused_since": instant(state.paused_since_ms.get(name)),
        "fired_by": fired_by,
    }


def _next(schedule: Schedule, now: datetime) -> datetime | None:
    with suppress(ConfigurationError):  # a worker knows a time zone that this machine does not
        return Cron(schedule.expression, schedule.tz).after(now)
    return None


@final
class CronAdmin:
    """The cron entries of an app, and those the server knows. All methods raise ServerError."""

    def __init__(self, app: TypedQ) -> None:
        self._app, self._broker, self._keys = app, app.broker, app.broker.keys

    def rows(self) -> list[dict[str, Any]]:
        """Return `rows` with the present state of the server."""
        state, survey = read(self._app), self._broker.call(stats.survey(self._keys, [], []))
        live = registry.live_workers(survey, self._app.settings.lease)
        return rows(self._app, state, live, survey.now_ms)

    def names(self) -> list[str]:
        """Return the entries of the app, and each that a worker ever loaded."""
        return sorted({*(row["name"] for row in self.rows()), *read(self._app).last_slot_ms})

    def pause(self, name: str) -> bool:
        """Stop workers from firing an entry; return False if it was paused already."""
        return self._broker.call(cron.switch_cron(self._keys, name, "pause"))

    def resume(self, name: str) -> bool:
        """Let workers fire the slots of an entry from now on; return False if it was not paused."""
        return self._broker.call(cron.switch_cron(self._keys, name, "resume"))

    def run(self, name: str) -> Receipt:
        """Enqueue the call of an entry once, as a slot does: with its options, without hooks.

        The schedule does not change. Raises KeyError for an entry that the app does not declare.
        """
        call = self._app.declarations.cron_entries[name].call
        batch = MessageEncoder(self._app.declarations, self._app.settings).encode([call])
        contract = self._app.declarations.find(call.task).contract
        duplicates = self._broker.enqueue(batch.messages, lambda _: contract.schema_json())
        return batch.accepted(duplicates)[0]
