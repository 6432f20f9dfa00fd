"""`typedq dead`: messages that failed for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, BadParameter, Option

from typedq.cli import messages
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import Row, columns, print_json, print_line, print_rows
from typedq.cli.messages import Number, Shown

if TYPE_CHECKING:
    from typedq.admin.dead_letters import DeadLetters, Letter
    from typedq.app import TypedQ

Id = Annotated[str, Argument(help="As `typedq dead list` shows it.")]
Ids = Annotated[list[str] | None, Argument(metavar="ID", help="Only these dead letters.")]
_DRY_RUN = "Change nothing: show how many messages would go where, and who can read them."
DryRun = Annotated[bool, Option("--dry-run", help=_DRY_RUN)]
_KIND = "dead letter(s)"
_OTHERS = "the others no longer exist, or are malformed or of a queue that this app does not have"


@dataclass(frozen=True)
class DeadFilter(messages.Filter):
    """Options that select dead letters; without any, all."""

    error: Annotated[
        str | None, Option("--error", metavar="TEXT", help="Only those whose error has this text.")
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        return {"task": self.task, "since": self.since, "error": self.error}


@dataclass(frozen=True)
class DeadTarget(DeadFilter, messages.Target):
    """Options of a command that changes dead letters."""


def list_(
    only: DeadFilter,
    *,
    groups: messages.Groups = False,
    number: Number = 20,
    json: AsJson = False,
    app: AppOptions,
) -> None:
    """List dead letters, the youngest first; with --groups, the largest group first."""
    loaded = app.load()
    letters = _dead_letters(loaded).find(only.selection)
    none = "no dead letters" + (" match" if only.selection.narrows else "")
    if groups:
        from typedq.admin.failures import dead_rows, group_dead
        from typedq.admin.readers import LiveReaders

        found = dead_rows(group_dead(letters), LiveReaders.now(loaded))[:number]
        shown = {**columns("messages", "task"), "error": _first_line}
        shown |= {**columns("oldest", "newest"), "read by": messages.read_by}
    else:
        found = [letter.shown for letter in islice(letters, number)]
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


def retry(
    ids: Ids = None,
    *,
    which: DeadTarget,
    dry_run: DryRun = False,
    json: AsJson = False,
    app: AppOptions,
) -> None:
    """Requeue dead letters with counters reset. Asks for confirmation unless you give IDs."""
    which.check(ids, "id")
    if json and not dry_run:
        raise BadParameter("it belongs to --dry-run", param_hint="--json")
    loaded = app.load()
    dead = _dead_letters(loaded)
    if dry_run:
        letters = filter(None, map(dead.get, ids)) if ids else dead.find(which.selection)
        _preview(loaded, list(letters), as_json=json)
        return
    chosen = ids or dead.ids(which.selection)
    yes = which.yes or bool(ids)
    messages.change("retry", _KIND, len(set(chosen)), dead.requeue(chosen), _OTHERS, yes=yes)


def drop(ids: Ids = None, *, which: DeadTarget, app: AppOptions) -> None:
    """Delete dead letters for good. Asks for confirmation."""
    which.check(ids, "id")
    dead = _dead_letters(app.load())
    chosen = ids or dead.ids(which.selection)
    messages.change("drop", _KIND, len(set(chosen)), dead.delete(chosen), _OTHERS, yes=which.yes)


def _preview(app: TypedQ, letters: Sequence[Letter], *, as_json: bool) -> None:
    from typedq.admin.failures import destinations
    from typedq.admin.readers import LiveReaders

    rows = destinations(letters, LiveReaders.now(app))
    malformed = len(letters) - sum(row["messages"] for row in rows)
    if as_json:
        nowhere: Row = {"messages": malformed, "read_by": [], "why": "malformed"}
        blank = dict.fromkeys(("task", "queue", "contract"))
        print_json([*rows, *([{**nowhere, **blank}] if malformed else [])])
        return
    shown = {**columns("messages", "task", "queue", "contract"), "read by": messages.read_by}
    print_line(f"a retry would requeue {sum(row['messages'] for row in rows):,} {_KIND}:")
    print_rows(rows, shown, as_json=False, none="nothing")
    if malformed:
        print_line(f"{malformed:,} malformed: a retry leaves them; typedq dead drop removes them")


def _dead_letters(app: TypedQ) -> DeadLetters:
    from typedq.admin.dead_letters import DeadLetters

    return DeadLetters(app)


def _first_line(row: Row) -> str:
    line = next(iter(str(row["error"]).splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"
