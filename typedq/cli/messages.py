"""Options and output that commands on messages share: select, show, preview, confirm, count.

Arguments are shown only with --payload, because they may be confidential; and what is declared
secret, or may be, only with --show-secrets.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer import BadParameter, Option

from typedq.cli import console
from typedq.cli.console import columns, print_line, print_note
from typedq.cli.parameters import since as read_since

if TYPE_CHECKING:
    from typedq.admin.messages import Selection
    from typedq.admin.payloads import Payloads
    from typedq.app import TypedQ
    from typedq.broker.parking import Group

T = TypeVar("T")
_SINCE = "Only those of the last 30m, 1h or 2d, or since 2027-01-31."
_SHOWN = ("id", "contract", "queue", "enqueued", "due", "attempts", "bytes")

Yes = Annotated[bool, Option("-y", "--yes", help="Do not ask for confirmation.")]
Number = Annotated[int, Option("-n", "--number", min=1, help="Show at most this many.")]
_PAYLOAD = "Show the arguments too, with secrets, and values that may be secrets, as ***."
_SECRETS = "Show the arguments with their secrets."
_DRY_RUN = "Change nothing: show how many messages would change, and who can read them."


@dataclass(frozen=True)
class Filter:
    """Options that select messages; without any, all."""

    task: Annotated[str | None, Option("--task", metavar="NAME", help="Only of this task.")] = None
    queue: Annotated[
        str | None, Option("-Q", "--queue", metavar="NAME", help="Only of this queue.")
    ] = None
    since: Annotated[datetime | None, Option(parser=read_since, metavar="WHEN", help=_SINCE)] = None

    @property
    def values(self) -> dict[str, Any]:
        """Return the values of the options by name."""
        return {"task": self.task, "queue": self.queue, "since": self.since}

    @property
    def selection(self) -> Selection:
        from typedq.admin.messages import Selection

        return Selection(**self.values)


@dataclass(frozen=True)
class Shown:
    """Options that show the arguments of messages."""

    payload: Annotated[bool, Option("--payload", help=_PAYLOAD)] = False
    show_secrets: Annotated[bool, Option("--show-secrets", help=_SECRETS)] = False

    def payloads(self, app: TypedQ) -> Payloads | None:
        """Return what shows the arguments of the app's messages, or None to leave them out."""
        if not (self.payload or self.show_secrets):
            return None
        from typedq.admin.payloads import Payloads

        return Payloads(app, secrets=self.show_secrets)


@dataclass(frozen=True)
class Target(Filter):
    """Options of a command that changes messages."""

    all: Annotated[bool, Option("--all", help="Select all of them.")] = False
    yes: Yes = False
    dry_run: Annotated[bool, Option("--dry-run", help=_DRY_RUN)] = False
    json: Annotated[bool, Option("--json", help="With --dry-run: print JSON.")] = False

    def check(self, names: Sequence[str] | None, what: str) -> None:
        """Raise BadParameter unless messages are selected, or --all is given."""
        if self.json and not self.dry_run:
            raise BadParameter("it belongs to --dry-run", param_hint="--json")
        if bool(names) == (self.all or any(self.values.values())):
            options = ", ".join(f"--{name}" for name in self.values)
            reason = f"give {what}s, or choose by {options} or --all"
            raise BadParameter(reason, param_hint=what.upper())


def show_messages(messages: Sequence[dict[str, Any]], none: str, *, as_json: bool) -> None:
    """Print messages in the order of fetching."""
    has_meta = any(row["meta"] for row in messages)
    shown = {**columns(*_SHOWN), **({"meta": meta_text} if has_meta else {})}
    shown |= columns("payload") if any("payload" in row for row in messages) else {}
    console.print_rows(messages, shown, as_json=as_json, none=none)


def first(found: Iterable[T], number: int) -> list[T]:
    """Return the first; a note says if there are more."""
    shown = list(islice(found, number + 1))
    if len(shown) > number:
        print_note(f"there are more than these {number:,}; -n shows more")
    return shown[:number]


def preview(
    app: TypedQ,
    change: str,
    kind: str,
    needs: Mapping[Group | None, int],
    *,
    queues: Collection[str] | None = None,
    as_json: bool,
) -> None:
    """Print what a change would do; `change`: such as "a retry would requeue".

    needs, queues: as `destinations` takes them
    """
    from typedq.admin.failures import destinations
    from typedq.admin.readers import LiveReaders

    rows = destinations(needs, LiveReaders.now(app), queues)
    if as_json:
        console.print_json(rows)
        return
    total = sum(row["messages"] for row in rows if row["changed"])
    print_line(f"{change} {total:,} {kind}:")
    shown = {**columns("messages", "task", "queue", "contract"), "read by": _destination}
    console.print_rows(rows, shown, as_json=False, none="nothing")


def _destination(row: console.Row) -> str:
    return read_by(row) if row["changed"] else f"left as it is: {row['why']}"


def read_by(row: console.Row) -> str:
    """Return which live workers can read messages, or why none can."""
    names: list[str] = row["read_by"]
    if not names:
        return f"nobody: {row['why']}" if row["why"] else "-"
    from typedq.broker.server_checks import listed

    return listed(names, 2)


def meta_text(row: console.Row) -> str:
    """Return the metadata of a message as one text."""
    meta: dict[str, str] = row["meta"] or {}
    return " ".join(f"{key}={value}" for key, value in meta.items())


def change(what: str, kind: str, total: int, steps: Iterable[int], why: str, *, yes: bool) -> None:
    """Confirm, run the steps, print how many; if some are left, print `why` and exit with 1."""
    confirm(f"{what} {total:,} {kind}?", yes=yes or not total)
    done = count_steps(what, total, steps)
    print_line(f"{what}: {done:,} of {total:,} {kind}")
    if done < total:
        print_line(why)
        raise typer.Exit(1)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation; end the command with exit code 1 if refused."""
    if not yes:
        if not sys.stdin.isatty():
            raise BadParameter("there is no terminal to confirm at; use -y", param_hint="-y")
        typer.confirm(question, abort=True)


def count_steps(what: str, total: int, steps: Iterable[int]) -> int:
    """Run the steps with a progress bar; return their sum."""
    from rich.progress import Progress

    done = 0
    screen = console.console(stderr=True)
    with Progress(console=screen, disable=not screen.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        for step in steps:
            done += step
            progress.advance(bar, step)
    return done
