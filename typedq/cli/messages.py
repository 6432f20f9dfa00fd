"""What commands on messages share: how one is shown, how some are chosen, how many are dealt with.

A payload is shown only to those who ask for it: it may hold what not everybody should see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from typer import BadParameter, Option

from typedq.cli import console
from typedq.cli.console import instant, same, say
from typedq.cli.quantities import since as read_since
from typedq.errors import BadMessage
from typedq.message import decode_message

CHUNK = 500  # what one move takes
PAGE = 100  # messages are read whole, and each may have a megabyte
_SINCE = "Only younger: 30m, 1h, 2d or 2027-01-31."
_ABOUT = ("id", "task", "contract", "queue", "enqueued", "due", "attempts", "crashes", "losses")
_SHOWN = ("id", "contract", "queue", "enqueued", "due", "attempts", "bytes")

Yes = Annotated[bool, Option("-y", "--yes", help="Do not ask.")]
Number = Annotated[int, Option("-n", "--number", min=1, help="At most so many.")]
Payload = Annotated[bool, Option("--payload", help="Show the arguments too.")]


@dataclass(frozen=True)
class Filter:
    """Which messages a command is about, if not all."""

    task: Annotated[str | None, Option("--task", metavar="NAME", help="Only of this task.")] = None
    since: Annotated[datetime | None, Option(parser=read_since, metavar="WHEN", help=_SINCE)] = None

    @property
    def oldest_ms(self) -> float:
        return self.since.timestamp() * 1000 if self.since else 0.0

    @property
    def given(self) -> dict[str, object]:
        """What may narrow the choice, by option."""
        return {"task": self.task, "since": self.since}


@dataclass(frozen=True)
class Choice(Filter):
    """Which messages a command changes, and whether it asks first."""

    all: Annotated[bool, Option("--all", help="All of them.")] = False
    yes: Yes = False

    def check(self, names: Sequence[str] | None, what: str) -> None:
        """Nothing given means nothing, not everything."""
        if bool(names) == (self.all or any(self.given.values())):
            options = ", ".join(f"--{name}" for name in self.given)
            reason = f"name {what}s, or choose by {options} or --all"
            raise BadParameter(reason, param_hint=what.upper())


def facts(message: bytes, *, payload: bool = False) -> dict[str, Any]:
    """The keys of a message in JSON; None for all that cannot be read."""
    body = message
    try:
        envelope = decode_message(message)
        times = instant(envelope.enqueued_ms), instant(envelope.due_ms or None)
        counts = envelope.attempt, int(envelope.crashes), int(envelope.losses)
        contract, queue = text(envelope.contract), text(envelope.queue)
        known = (text(envelope.id), envelope.task, contract, queue, *times, *counts)
        about: dict[str, Any] = dict(zip(_ABOUT, known, strict=True))
        body = envelope.body
    except (BadMessage, ValueError):
        about = dict.fromkeys(_ABOUT)
    return {**about, "bytes": len(message), **({"payload": text(body)} if payload else {})}


def tell(messages: Iterable[bytes], none: str, *, payload: bool, json: bool) -> None:
    """Messages as they wait, the next one first."""
    found = [facts(message, payload=payload) for message in messages]
    console.tell(found, same(*_SHOWN, *["payload"] * payload), json=json, none=none)


def text(raw: bytes) -> str:
    """Bytes as they are shown."""
    return raw.decode(errors="backslashreplace")


def carry_out(
    what: str, kind: str, total: int, steps: Iterable[int], why: str, *, yes: bool
) -> None:
    """Ask, take the steps, say how many; if that is not all, `why`, and exit code 1."""
    ask(f"{what} {total:,} {kind}?", yes=yes or not total)
    done = tally(what, total, steps)
    say(f"{what}: {done:,} of {total:,} {kind}")
    if done < total:
        say(why)
        raise typer.Exit(1)


def ask(question: str, *, yes: bool) -> None:
    """Ask at the terminal; whoever says no ends the command with exit code 1."""
    if not yes:
        if not sys.stdin.isatty():
            raise BadParameter("no terminal to ask at; say yes by -y", param_hint="-y")
        typer.confirm(question, abort=True)


def tally(what: str, total: int, steps: Iterable[int]) -> int:
    """The sum of the steps, with a bar at a terminal while they are taken."""
    from rich.progress import Progress

    screen, done = console.console(stderr=True), 0
    with Progress(console=screen, disable=not screen.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        for step in steps:
            done += step
            progress.advance(bar, step)
    return done
