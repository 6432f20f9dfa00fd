"""What commands on messages share: how one is shown, how some are chosen, how many are dealt with.

A payload is shown only to those who ask for it: it may hold what not everybody should see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from typer import BadParameter, Option

from typedq.cli.console import console, instant, say, table, tell_json
from typedq.cli.quantities import since as read_since
from typedq.envelope import Envelope, unseal
from typedq.errors import BadMessage

CHUNK = 500  # what one move takes
PAGE = 100  # messages are read whole, and each may have a megabyte
_SINCE = "Only younger: 30m, 1h, 2d or 2027-01-31."

OfTask = Annotated[str | None, Option("--task", metavar="NAME", help="Only of this task.")]
Since = Annotated[datetime | None, Option(parser=read_since, metavar="WHEN", help=_SINCE)]
All = Annotated[bool, Option("--all", help="All of them.")]
Yes = Annotated[bool, Option("-y", "--yes", help="Do not ask.")]
Number = Annotated[int, Option("-n", "--number", min=1, help="At most so many.")]
Payload = Annotated[bool, Option("--payload", help="Show the arguments too.")]


def facts(message: bytes, *, payload: bool = False) -> dict[str, Any]:
    """The keys of a message in JSON; None for all that cannot be read."""
    envelope = opened(message)
    about = {
        "id": envelope and text(envelope.id),
        "task": envelope and envelope.task,
        "contract": envelope and text(envelope.contract),
        "queue": envelope and text(envelope.queue),
        "enqueued": envelope and instant(envelope.enqueued_ms),
        "due": envelope and instant(envelope.due_ms or None),
        "attempts": envelope and envelope.attempt,
        "crashes": envelope and int(envelope.crashes),
        "losses": envelope and int(envelope.losses),
        "bytes": len(message),
    }
    return about | ({"payload": text(envelope.body if envelope else message)} if payload else {})


def tell(messages: Iterable[bytes], *, payload: bool, json: bool) -> None:
    """Messages as they wait, the next one first."""
    found = [facts(message, payload=payload) for message in messages]
    if json:
        tell_json(found)
        return
    heads = ["id", "contract", "queue", "enqueued", "due", "attempts", "bytes"]
    heads += ["payload"] * payload
    rows = [[each[head] for head in heads] for each in found]
    console().print(table(", ".join(heads), rows))


def opened(message: bytes) -> Envelope | None:
    """The message, if all of its header can be read."""
    try:
        envelope = unseal(message)
        _ = envelope.task, envelope.attempt, envelope.enqueued_ms, envelope.due_ms
        _ = int(envelope.crashes), int(envelope.losses)
    except (BadMessage, ValueError):
        return None
    return envelope


def text(raw: bytes) -> str:
    """Bytes as they are shown."""
    return raw.decode(errors="backslashreplace")


def check_choice(given: Sequence[str] | None, what: str, **others: object) -> None:
    """Nothing given means nothing, not everything."""
    if bool(given) == any(others.values()):
        *names, last = (f"--{name}" for name in others)
        reason = f"name {what}s, or choose by {', '.join(names)} or {last}"
        raise BadParameter(reason, param_hint=what.upper())


def ask(question: str, *, yes: bool) -> None:
    """Ask at the terminal; whoever says no ends the command with exit code 1."""
    if not yes:
        if not sys.stdin.isatty():
            raise BadParameter("no terminal to ask at; say yes by -y", param_hint="-y")
        typer.confirm(question, abort=True)


def tally(what: str, total: int, steps: Iterable[int]) -> int:
    """The sum of the steps, with a bar at a terminal while they are taken."""
    from rich.progress import Progress

    screen, done = console(stderr=True), 0
    with Progress(console=screen, disable=not screen.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        for step in steps:
            done += step
            progress.advance(bar, step)
    return done


def report(what: str, done: int, total: int, kind: str, why: str) -> None:
    """Say how many; if that is not all, `why`, and exit code 1."""
    say(f"{what}: {done:,} of {total:,} {kind}")
    if done < total:
        say(why)
        raise typer.Exit(1)
