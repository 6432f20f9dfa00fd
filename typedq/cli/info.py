"""`typedq info`: how much waits where, and who works."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from typer import BadParameter, Option

from typedq.app import TypedQ
from typedq.cli import parked
from typedq.cli.application import HERE, AppArgument, AppDir, AppOption, AsJson, load
from typedq.cli.console import Loud, age, console, instant, iso, table, tell_json
from typedq.cli.quantities import length
from typedq.envelope import unseal
from typedq.errors import BadMessage

if TYPE_CHECKING:
    from rich.console import Group

    from typedq.broker.views import Depth, Survey

Watch = Annotated[
    float | None,
    Option(parser=length, metavar="SECONDS", help="Show it again and again, so often."),
]
_HEADER_ONLY = b" - - - -"  # what a header lacks to be a whole message


class _About(msgspec.Struct):
    """What a supervisor says of itself."""

    host: str = "?"
    pid: int = 0
    children: int = 0
    queues: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    started_ms: int | None = None
    seen_ms: int | None = None


def info(
    place: AppArgument = None,
    app: AppOption = None,
    app_dir: AppDir = HERE,
    json: AsJson = False,
    watch: Watch = None,
) -> None:
    """Show queues, workers, and what waits by contract."""
    if watch is not None and watch <= 0:
        raise BadParameter("it must be above 0", param_hint="--watch")
    loaded = load(app, app_dir, place)
    screen = console()
    while True:
        facts = look(loaded)
        if watch and screen.is_terminal and not json:
            screen.clear()
        tell_json(facts, one_line=watch is not None) if json else screen.print(_page(facts))
        if not watch:
            return
        time.sleep(watch)


def look(app: TypedQ) -> dict[str, Any]:
    """The keys of `info --json`: times ISO 8601 in UTC, `*_s` in seconds."""
    from typedq.broker import parking, views
    from typedq.cli.readable import Readers

    broker, settings = app.broker, app.settings
    keys, names = broker.keys, [queue.name for queue in settings.queues]
    sessions = [session.name for session in broker.call(views.sessions(keys))]
    seen = broker.call(views.survey(keys, names, sessions))
    paused = broker.call(views.paused(keys, names))
    dues = {name: broker.call(views.last_due(keys, name)) for name in names}
    workers = [_worker(name, about, seen.now_ms) for name, about in seen.workers.items() if about]
    living = [w for w in workers if (w["seen_s"] or 0) <= 2 * settings.lease]
    readers = Readers(app)
    begun = broker.call(parking.groups(keys))
    groups = parked.look(broker, begun)
    for group in groups:
        serving = [worker for worker in living if group["queue"] in worker["queues"]]
        group["read_by"] = readers.of(group["contract"], serving)
    return {
        "namespace": settings.namespace,
        "url": broker.url,
        "time": instant(seen.now_ms),
        "queues": [
            {
                **_queue(name, seen.queues[name], seen.now_ms),
                "last_due": instant(dues[name]),
                "parked": sum(g["messages"] for g in groups if g["queue"] == name),
                "paused": name in paused,
            }
            for name in names
        ],
        "workers": sorted(workers, key=lambda worker: (worker["host"], worker["pid"])),
        "contracts": [
            {**each, "read_by": readers.of("{task}@{fingerprint}".format(**each), living)}
            for each in _contracts(app, seen)
        ],
        "parked": groups,
        "cron": _cron(app, seen.now_ms),
        "waiting": sum(seen.counts.values()),
        "in_flight": seen.in_flight,
        "dead": seen.dead,
        "since_start": seen.stats,
    }


def _queue(name: str, depth: Depth, now_ms: int) -> dict[str, Any]:
    try:
        head = unseal(depth.oldest + _HEADER_ONLY)
        oldest_s = max(0, now_ms - (head.due_ms or head.enqueued_ms)) / 1000
    except (BadMessage, ValueError):
        oldest_s = None  # no message, or none that can be read
    due_ms = depth.next_due_ms
    return {
        "name": name,
        "ready": depth.ready,
        "oldest_s": oldest_s,
        "delayed": depth.delayed,
        "next_due": instant(due_ms),
        "next_due_s": None if due_ms is None else (due_ms - now_ms) / 1000,
    }


def _worker(name: str, line: bytes, now_ms: int) -> dict[str, Any]:
    try:
        about = msgspec.json.decode(line, type=_About)
    except msgspec.MsgspecError:
        about = _About()
    return {
        "name": name,
        "host": about.host,
        "pid": about.pid,
        "children": about.children,
        "queues": about.queues,
        "reads": about.reads,
        "started": instant(about.started_ms),
        "seen": instant(about.seen_ms),
        "seen_s": None if about.seen_ms is None else max(0, now_ms - about.seen_ms) / 1000,
    }


def _contracts(app: TypedQ, seen: Survey) -> list[dict[str, Any]]:
    ours = {task.contract.id for task in app.tasks.values()}
    rows = ((*c.split("@", 1), c in ours) for c in sorted(ours | seen.counts.keys()))
    found = [
        {"task": t, "fingerprint": f, "waiting": seen.counts.get(f"{t}@{f}", 0), "in_app": known}
        for t, f, known in rows
    ]
    return [contract for contract in found if contract["waiting"] or contract["in_app"]]


def _cron(app: TypedQ, now_ms: int) -> list[dict[str, Any]]:
    from typedq.broker.schedule import last_slots

    last = app.broker.call(last_slots(app.broker.keys)) if app.entries else {}
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return [
        {
            "name": seen.entry.name,
            "task": seen.entry.call.task,
            "expression": seen.entry.cron.expression,
            "tz": seen.entry.cron.tz,
            "last": seen.last and iso(seen.last),
            "next": iso(seen.next),
            "next_s": (seen.next - now).total_seconds(),
        }
        for seen in app.outlook(last, now)
    ]


def _page(facts: Mapping[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    queues = [
        (
            *(Loud(f"{q['name']} (paused)") if q["paused"] else q["name"], q["ready"]),
            *(age(q["oldest_s"]), q["delayed"], age(q["next_due_s"]), q["last_due"], q["parked"]),
        )
        for q in facts["queues"]
    ]
    workers = [
        (
            f"{w['host']}:{w['pid']}",
            w["children"],
            ", ".join(w["queues"]),
            f"{age(w['seen_s'])} ago",
        )
        for w in facts["workers"]
    ]
    contracts = [
        (c["task"], c["fingerprint"], c["waiting"], "yes" if c["in_app"] else "no", _readers(c))
        for c in facts["contracts"]
    ]
    groups = [
        (g["queue"], g["contract"], g["messages"], g["since"], _readers(g)) for g in facts["parked"]
    ]
    entries = [
        (c["name"], c["task"], f"{c['expression']} {c['tz']}", c["last"], age(c["next_s"]))
        for c in facts["cron"]
    ]
    more = [
        table(heads, rows)
        for heads, rows in (
            ("parked in, contract, messages, since, read by", groups),
            ("cron, task, when, last, next in", entries),
        )
        if rows
    ]
    total = "{waiting:,} waiting, {in_flight:,} in flight, {dead:,} dead".format(**facts)
    return Group(
        Text("{namespace} at {url}, {time}".format(**facts), style="bold"),
        f"{total}\n",
        table("queue, ready, oldest, delayed, next due in, last due, parked", queues),
        "",
        table("worker, processes, queues, seen", workers) if workers else "no worker runs",
        "",
        table("task, fingerprint, waiting, in this app, read by", contracts),
        *(part for each in more for part in ("", each)),
    )


def _readers(facts: Mapping[str, Any]) -> str:
    """How many live workers read a contract; nobody is worth a warning where something waits."""
    if count := len(facts["read_by"]):
        return f"{count} worker{'s' * (count > 1)}"
    return Loud("nobody") if facts.get("messages") or facts.get("waiting") else "nobody"
