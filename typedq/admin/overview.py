"""Collect what `typedq info` shows. The number of calls does not depend on the queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from typedq import registry
from typedq.admin import cron, parked
from typedq.admin.messages import instant
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.broker import parking, stats
from typedq.broker.stats import QueueStats, Stats
from typedq.errors import BadMessage
from typedq.message import VERSIONS, decode_message

COMPARE_S = 5.0  # producers publish contracts: any number, and some that take long to compare
_MISSING_FIELDS = b" - - - -"  # contract, queue, options and body, which the server leaves out


class _Snapshot(NamedTuple):
    """Replies of the server. `created_ms`: when each parked group was created."""

    survey: Stats
    paused: list[str]
    delayed: parking.DelayedStats
    created_ms: dict[parking.Group, int]
    cron: cron.CronState


def _read(app: TypedQ) -> _Snapshot:
    broker, keys = app.broker, app.broker.keys
    names = [queue.name for queue in app.settings.queues]
    sessions = [session.name for session in broker.call(stats.sessions(keys))]
    created_ms = broker.call(parking.groups(keys))
    return _Snapshot(
        broker.call(stats.survey(keys, names, sessions)),
        broker.call(stats.paused(keys, names)),
        broker.call(parking.delayed_stats(keys, names, created_ms)),
        created_ms,
        cron.read(app),
    )


def published(app: TypedQ, max_checked: int | None = None) -> registry.Contracts:
    """Return the published contracts, for `overview`; see `Contracts`."""
    return registry.Contracts(app.broker, declared(app), max_checked, COMPARE_S)


def overview(app: TypedQ, contracts: registry.Contracts | None = None) -> dict[str, Any]:
    """Return the keys of `info --json`. Raises ServerError."""
    contracts = contracts or published(app)
    snapshot = _read(app)
    contracts.refresh()
    settings, survey = app.settings, snapshot.survey
    now_ms = survey.now_ms
    workers = registry.reported_workers(survey)
    live = registry.live_workers(survey, settings.lease)
    groups = parked.rows(parked.sizes(snapshot.created_ms, snapshot.delayed.parked))
    ours = {task.contract.id for task in app.tasks.values()}
    counts = {contract: n for contract, n in survey.counts.items() if n}
    shown = dict.fromkeys((*ours, *counts, *(_contract(group) for group in groups)))
    ranked = sorted(shown, key=lambda c: (c not in ours, -counts.get(c, 0), c))
    read_by = contracts.read_by(ranked, live)
    queues = [
        {
            **_queue(name, depth, now_ms),
            "last_due": instant(snapshot.delayed.last_due_ms[name]),
            "parked": sum(g["messages"] for g in groups if g["queue"] == name),
            "paused": name in snapshot.paused,
        }
        for name, depth in survey.queues.items()
    ]
    groups = [group for group in groups if _contract(group) in read_by]
    for group in groups:
        serving = {name: w for name, w in live.items() if group["queue"] in w.queues}
        group["read_by"] = contracts.readers.of(group["contract"], serving)
    return {
        "namespace": settings.namespace,
        "url": app.broker.url,
        "time": instant(now_ms),
        "queues": queues,
        "workers": [
            {**_worker(name, workers[name], now_ms), "alive": name in live}
            for name in sorted(workers, key=lambda name: (workers[name].host, workers[name].pid))
        ],
        "contracts": _contracts(ours, counts, groups, read_by),
        "parked": groups,
        "invalid_schemas": contracts.invalid(),
        "left_out": contracts.left_out(shown.keys() - read_by.keys(), counts),
        "cron": cron.rows(app, snapshot.cron, live, now_ms),
        "waiting": sum(survey.counts.values()),
        "in_flight": survey.in_flight,
        "dead": survey.dead,
        "since_start": survey.stats,
    }


def alive(seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the live workers of an overview, which says of each whether it is alive."""
    return [worker for worker in seen["workers"] if worker["alive"]]


def _queue(name: str, depth: QueueStats, now_ms: int) -> dict[str, Any]:
    try:
        # As format 1, which has no expiry: formats differ only behind the part that is known.
        head = decode_message(VERSIONS[0] + depth.oldest[1:] + _MISSING_FIELDS)
        oldest_s = max(0, now_ms - (head.due_ms or head.enqueued_ms)) / 1000
    except (BadMessage, ValueError):
        oldest_s = None  # the queue is empty, or its head is malformed
    due_ms = depth.next_due_ms
    return {
        "name": name,
        "ready": depth.ready,
        "oldest_s": oldest_s,
        "delayed": depth.delayed,
        "next_due": instant(due_ms),
        "next_due_s": None if due_ms is None else (due_ms - now_ms) / 1000,
    }


def _worker(name: str, about: registry.Worker, now_ms: int) -> dict[str, Any]:
    seen_ms = about.seen_ms
    return {
        "name": name,
        "host": about.host,
        "pid": about.pid,
        "children": about.children,
        "queues": about.queues,
        "reads": about.reads,
        "format": about.format,
        "protocols": about.protocols,
        "croniter": about.croniter or None,
        "started": instant(about.started_ms),
        "seen": instant(seen_ms),
        "seen_s": None if seen_ms is None else max(0, now_ms - seen_ms) / 1000,
    }


def _contract(group: Mapping[str, Any]) -> str:
    return parking.split_format(group["contract"])[0]


def _contracts(
    ours: Collection[str],
    counts: Mapping[str, int],
    groups: Iterable[Mapping[str, Any]],
    read_by: Mapping[str, list[str]],
) -> list[dict[str, Any]]:
    """Return the contracts that wait, and those of the app, which may wait later."""
    left = Counter[str]()
    for group in groups:
        if not group["read_by"]:  # by a worker that serves its queue and knows its format
            left[_contract(group)] += group["messages"]
    found = list[dict[str, Any]]()
    for contract in sorted(read_by.keys() & {*ours, *counts}):
        task, _, fingerprint = contract.partition("@")
        count, readers = counts.get(contract, 0), read_by[contract]
        row: dict[str, Any] = {"task": task, "fingerprint": fingerprint, "waiting": count}
        unreadable = min(count, left[contract]) if readers else count
        more = {"in_app": contract in ours, "read_by": readers, "unreadable": unreadable}
        found.append(row | more)
    return found
