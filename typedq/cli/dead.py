"""`typedq dead`: messages that failed for good."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument

from typedq.cli import messages
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import Row, columns, print_json, print_line, print_rows
from typedq.cli.messages import Filter, Number, Shown, Target

if TYPE_CHECKING:
    from typedq.admin.dead_letters import DeadLetters
    from typedq.app import TypedQ

Id = Annotated[str, Argument(help="As `typedq dead list` shows it.")]
Ids = Annotated[list[str] | None, Argument(metavar="ID", help="Only these dead letters.")]
_KIND = "dead letter(s)"
_OTHERS = "the others no longer exist, or are malformed or of a queue that this app does not have"


def list_(only: Filter, *, number: Number = 20, json: AsJson = False, app: AppOptions) -> None:
    """List dead letters, the youngest first."""
    found = list(islice(_dead_letters(app.load()).find(only.selection), number))
    shown = {**columns("id", "died", "task", "queue", "kind"), "error": _first_line}
    none = "no dead letters" + (" match" if only.selection.narrows else "")
    print_rows(found, shown, as_json=json, none=none)


def show(id: Id, *, shown: Shown, json: AsJson = False, app: AppOptions) -> None:
    """Show why a message failed, with the traceback. Exit code 1 if there is no such id."""
    loaded = app.load()
    facts = _dead_letters(loaded).get(id, shown.payloads(loaded))
    if facts is None:
        print_line(f"no dead letter with the id {id}")
        raise typer.Exit(1)
    if json:
        print_json(facts)
        return
    trace = str(facts.pop("traceback", ""))
    facts["meta"] = messages.meta_text(facts) or None
    for name, value in facts.items():
        print_line(f"{name:<10} {'-' if value is None else value}")
    for line in trace.splitlines():
        print_line(f"    {line}")


def retry(ids: Ids = None, *, which: Target, app: AppOptions) -> None:
    """Requeue dead letters with counters reset. Asks for confirmation unless you give IDs."""
    which.check(ids, "id")
    dead = _dead_letters(app.load())
    chosen = ids or dead.ids(which.selection)
    yes = which.yes or bool(ids)
    messages.change("retry", _KIND, len(set(chosen)), dead.requeue(chosen), _OTHERS, yes=yes)


def drop(ids: Ids = None, *, which: Target, app: AppOptions) -> None:
    """Delete dead letters for good. Asks for confirmation."""
    which.check(ids, "id")
    dead = _dead_letters(app.load())
    chosen = ids or dead.ids(which.selection)
    messages.change("drop", _KIND, len(set(chosen)), dead.delete(chosen), _OTHERS, yes=which.yes)


def _dead_letters(app: TypedQ) -> DeadLetters:
    from typedq.admin.dead_letters import DeadLetters

    return DeadLetters(app)


def _first_line(row: Row) -> str:
    line = next(iter(str(row["error"]).splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"
