"""`typedq info`: how much waits where, and who works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from typer import BadParameter, Option

from typedq.app import TypedQ
from typedq.cli.application import AsJson, Placed
from typedq.cli.console import Columns, Loud, Row, age, console, same, tell_json, view
from typedq.cli.quantities import length

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

TimeoutMonitor = Annotated[
    float | None,
    Option(parser=length, metavar="SECONDS", help="Show it again and again, so often."),
]


def info(app: Placed, json: AsJson = False, watch: TimeoutMonitor = None) -> None:
    """Show queues, workers, and what waits by contract."""
    if watch is not None and watch <= 0:
        raise BadParameter("it must be above 0", param_hint="--watch")
    loaded, screen = app.load(), console()
    while True:
        facts = look(loaded)
        if watch and screen.is_terminal and not json:
            screen.clear()
        tell_json(facts, one_line=watch is not None) if json else screen.print(_page(facts))
        if not watch:
            return
        time.sleep(watch)


def look(app: TypedQ) -> dict[str, Any]:
    """The keys of `info --json`, as they are now."""
    from typedq.cli import snapshot

    return snapshot.facts(app, snapshot.take(app))


def _readers(row: Row) -> str:
    """How many live workers read a contract; nobody is worth a warning where something waits."""
    if count := len(row["read_by"]):
        return f"{count} worker{'s' * (count > 1)}"
    return Loud("nobody") if row.get("messages") or row.get("waiting") else "nobody"


# Key of the facts -> how it is shown, and what is said if there is nothing.
_TABLES: dict[str, tuple[Columns, str]] = {
    "queues": (
        {
            "queue": lambda q: Loud(f"{q['name']} (paused)") if q["paused"] else q["name"],
            "ready": "ready",
            "oldest": lambda q: age(q["oldest_s"]),
            "delayed": "delayed",
            "next due in": lambda q: age(q["next_due_s"]),
            "last due": "last_due",
            "parked": "parked",
        },
        "",
    ),
    "workers": (
        {
            "worker": lambda w: f"{w['host']}:{w['pid']}",
            "processes": "children",
            "queues": lambda w: ", ".join(w["queues"]),
            "seen": lambda w: f"{age(w['seen_s'])} ago",
        },
        "no worker runs",
    ),
    "contracts": (
        {
            **same("task", "fingerprint", "waiting"),
            "in this app": lambda c: "yes" if c["in_app"] else "no",
            "read by": _readers,
        },
        "",
    ),
    "parked": (
        {"parked in": "queue", **same("contract", "messages", "since"), "read by": _readers},
        "",
    ),
    "cron": (
        {
            "cron": "name",
            "task": "task",
            "when": lambda c: f"{c['expression']} {c['tz']}",
            "last": "last",
            "next in": lambda c: age(c["next_s"]),
        },
        "",
    ),
}
_ALWAYS = ("queues", "contracts")


def _page(facts: dict[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    return Group(
        Text("{namespace} at {url}, {time}".format(**facts), style="bold"),
        "{waiting:,} waiting, {in_flight:,} in flight, {dead:,} dead".format(**facts),
        *_tables(facts),
    )


def _tables(facts: dict[str, Any]) -> Iterator[RenderableType]:
    for name, (columns, none) in _TABLES.items():
        if facts[name] or name in _ALWAYS:
            yield from ("", view(facts[name], columns))
        elif none:
            yield from ("", none)
