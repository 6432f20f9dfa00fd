"""`typedq dead`: messages that failed for good."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from typedq.cli import messages
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import Row, columns, print_json, print_line, print_rows
from typedq.cli.messages import Number, Shown

if TYPE_CHECKING:
    from typedq.admin.dead_letters import DeadLetters
    from typedq.app import TypedQ

Id = Annotated[str, Argument(help="As `typedq dead list` shows it.")]
Ids = Annotated[list[str] | None, Argument(metavar="ID", help="Only these dead letters.")]
_GROUPS_HELP = "Count them by task and error, and show who can read them."
Groups = Annotated[bool, Option("--groups", help=_GROUPS_HELP)]
_KIND = "dead letter(s)"
_OTHERS = "the others no longer exist, or are malformed or of a queue that this app does not have"


@dataclass(frozen=True)
class DeadFilter(messages.Filter):
    """Options that select dead letters; without any, all."""

    error: Annotated[
        str | None,
        Option("--error", metavar="TEXT", help="Only those whose error contains this text."),
    ] = None

    @property
    def values(self) -> dict[str, Any]:
        return {**super().values, "error": self.error}


@dataclass(frozen=True)
class DeadTarget(DeadFilter, messages.Target):
    """Options of a command that changes dead letters."""


def list_(
    only: DeadFilter,
    *,
    groups: Groups = False,
    number: Number = 20,
    json: AsJson = False,
    app: AppOptions,
) -> None:
    """List dead letters, the newest first; with --groups, the largest group first."""
    loaded = app.load()
    letters = _dead_letters(loaded).find(only.selection)
    none = "no dead letters" + (" match" if only.selection.narrows else "")
    if groups:
        from typedq.admin.failures import dead_rows, group_dead
        from typedq.admin.readers import LiveReaders

        found = dead_rows(messages.first(group_dead(letters), number), LiveReaders.now(loaded))
        shown = {**columns("messages", "task"), "error": _first_line}
        shown |= {**columns("oldest", "newest"), "read by": messages.read_by}
    else:
        found = [letter.shown for letter in messages.first(letters, number)]
        shown = {**columns("id", "died", "task", "queue", "kind"), "error": _first_line}
    print_rows(found, shown, as_json=json, none=none)


def show(id: Id, *, shown: Shown, json: AsJson = False, app: AppOptions) -> None:
    """Show why a message failed, with the traceback. Exit code 1 if there is no such id."""
    loaded = app.load()
    letter = _dead_letters(loaded).get(id, shown.payloads(loaded))
    if letter is None:
        print_line(f"no dead letter with the id {id}")
        raise typer.Exit(1)
    facts = letter.shown
    if json:
        print_json(facts)
        return
    trace = str(facts.pop("traceback", ""))
    facts["meta"] = messages.meta_text(facts) or None
    for name, value in facts.items():
        print_line(f"{name:<10} {'-' if value is None else value}")
    for line in trace.splitlines():
        print_line(f"    {line}")


def retry(ids: Ids = None, *, which: DeadTarget, app: AppOptions) -> None:
    """Requeue dead letters with counters reset. Asks for confirmation unless you give IDs."""
    _change("retry", ids, which, app.load())


def drop(ids: Ids = None, *, which: DeadTarget, app: AppOptions) -> None:
    """Delete dead letters for good. Asks for confirmation."""
    _change("drop", ids, which, app.load())


def _change(what: Literal["retry", "drop"], ids: Ids, which: DeadTarget, app: TypedQ) -> None:
    which.check(ids, "id")
    dead, is_retry = _dead_letters(app), what == "retry"
    if which.dry_run:
        given = filter(None, map(dead.get, dict.fromkeys(ids or ())))
        letters = given if ids else dead.find(which.selection)
        needs = Counter(letter.needs for letter in letters)
        queues = [queue.name for queue in app.settings.queues] if is_retry else None
        change = f"a {what} would {'requeue' if is_retry else 'delete'}"
        messages.preview(app, change, _KIND, needs, queues=queues, as_json=which.json)
        return
    chosen = ids or dead.ids(which.selection)
    steps = dead.requeue(chosen) if is_retry else dead.delete(chosen)
    yes = which.yes or (is_retry and bool(ids))
    messages.change(what, _KIND, len(set(chosen)), steps, _OTHERS, yes=yes)


def _dead_letters(app: TypedQ) -> DeadLetters:
    from typedq.admin.dead_letters import DeadLetters

    return DeadLetters(app)


def _first_line(row: Row) -> str:
    line = next(iter(str(row["error"]).splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"
