"""`typedq info`: queues, workers, contracts, cron."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from typer import BadParameter, Option

from typedq.admin.messages import age
from typedq.cli.application import AppOrArgument, AsJson
from typedq.cli.console import Columns, Row, Warn, columns, console, plural, print_json, table_of
from typedq.cli.cron import SHOWN
from typedq.cli.parameters import duration

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

Watch = Annotated[
    float | None,
    Option(parser=duration, metavar="SECONDS", help="Refresh every SECONDS."),
]


def info(app: AppOrArgument, json: AsJson = False, watch: Watch = None) -> None:
    """Show queues, workers, cron entries, and waiting messages by contract."""
    if watch is not None and watch <= 0:
        raise BadParameter("it must be above 0", param_hint="--watch")
    loaded, screen = app.load(), console()
    from typedq.admin.overview import overview, published

    contracts = published(loaded)  # kept, so that each refresh compares more
    while True:
        facts = overview(loaded, contracts)
        if watch and screen.is_terminal and not json:
            screen.clear()
        print_json(facts, one_line=watch is not None) if json else screen.print(_page(facts))
        if not watch:
            return
        time.sleep(watch)


def _readers(row: Row) -> str:
    """Return how many live workers read a contract; a warning if messages wait and none does."""
    if count := len(row["read_by"]):
        text, left = plural(count, "worker"), row.get("unreadable")
        return Warn(f"{text}, {left:,} parked for none") if left else text
    return Warn("nobody") if row.get("messages") or row.get("waiting") else "nobody"


# key of the facts -> columns, and the text for an empty table
_TABLES: dict[str, tuple[Columns, str]] = {
    "queues": (
        {
            "queue": lambda q: Warn(f"{q['name']} (paused)") if q["paused"] else q["name"],
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
            **columns("task", "fingerprint", "waiting"),
            "in this app": lambda c: "yes" if c["in_app"] else "no",
            "read by": _readers,
        },
        "",
    ),
    "parked": (
        {"parked in": "queue", **columns("contract", "messages", "since"), "read by": _readers},
        "",
    ),
    "cron": (SHOWN, ""),
}
_MOST_INVALID = 5
_ALWAYS = ("queues", "contracts")


def _invalid(schemas: dict[str, str]) -> Iterator[Text]:
    from rich.text import Text

    for contract in sorted(schemas)[:_MOST_INVALID]:
        line = f"the schema published for {contract} is invalid: {schemas[contract]}"
        yield Text(line, style="yellow")
    if (more := len(schemas) - _MOST_INVALID) > 0:
        yield Text(f"and {more} more invalid schemas; see typedq doctor", style="yellow")


def _left_out(counts: dict[str, int]) -> Iterator[Text]:
    from rich.text import Text

    if counts["contracts"]:
        found = "{contracts:,} contracts of {messages:,} messages are not shown".format(**counts)
        yield Text(f"{found}: there was no time to compare them", style="yellow")
    if counts["schemas"]:
        found = "{schemas:,} published schemas were not checked".format(**counts)
        yield Text(f"{found}: there was no time", style="yellow")


def _page(facts: dict[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    return Group(
        Text("{namespace} at {url}, {time}".format(**facts), style="bold"),
        "{waiting:,} waiting, {in_flight:,} in flight, {dead:,} dead".format(**facts),
        *_invalid(facts["invalid_schemas"]),
        *_left_out(facts["left_out"]),
        *_tables(facts),
    )


def _tables(facts: dict[str, Any]) -> Iterator[RenderableType]:
    for name, (shown, none) in _TABLES.items():
        if facts[name] or name in _ALWAYS:
            yield from ("", table_of(facts[name], shown))
        elif none:
            yield from ("", none)
