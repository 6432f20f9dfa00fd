"""`typedq show` and `cancel`: one message by its id."""

from __future__ import annotations

import json as json_text
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from typedq.cli import console
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import print_json, print_line
from typedq.cli.messages import Shown
from typedq.errors import TypedQError

if TYPE_CHECKING:
    from typedq.single import Cancellation, Progress

Id = Annotated[str, Argument(metavar="ID", help="As in a receipt, the log or `typedq peek`.")]
Ids = Annotated[list[str], Argument(metavar="ID", help="As in a receipt or the log.")]
Limit = Annotated[int, Option("--limit", min=1, help="Give up after this many waiting messages.")]
_LIMIT = 1_000_000  # `typedq.single.LIMIT`, which would load the broker for each `--help`


def show(
    id: Id,
    *,
    shown: Shown,
    limit: Limit = _LIMIT,
    json: AsJson = False,
    app: AppOptions,
) -> None:
    """Show where a message is, its header, and who reads it. Exit code 1 if it is unknown.

    There is no index, so this reads the waiting messages until it finds the one.
    """
    loaded = app.load()
    from typedq.admin import single

    with _progress() as progress:
        arguments = shown.payloads(loaded)
        about = single.show(loaded, id, arguments=arguments, limit=limit, progress=progress)
    known = about["state"] != "unknown"
    if json:
        print_json(about)
    elif not known:
        print_line(f"{id} is unknown: it has ended, was dropped, or was never accepted")
    else:
        for name, value in about.items():
            print_line(f"{name:<10} {_line(value)}")
    raise typer.Exit(0 if known else 1)


def cancel(ids: Ids, *, limit: Limit = _LIMIT, json: AsJson = False, app: AppOptions) -> None:
    """Cancel messages: drop one that waits; raise `typedq.Cancelled` in one that runs.

    Prints what it did with each. Exit code 1 if one was dead already, or unknown.
    """
    loaded = app.load()
    from typedq.admin import single

    done: list[Cancellation] = []
    try:
        with _progress() as progress:
            done.extend(single.cancel(loaded, ids, limit=limit, progress=progress))
    except TypedQError:
        if done:  # those before the one that could not be cancelled
            _print_cancelled(done, json=json)
        raise
    _print_cancelled(done, json=json)
    raise typer.Exit(0 if all(each.done for each in done) else 1)


def _print_cancelled(done: Sequence[Cancellation], *, json: bool) -> None:
    from typedq.admin.single import describe

    if json:
        print_json([{"outcome": each.outcome, **describe(each.message)} for each in done])
        return
    for each in done:
        print_line(f"{each.id} {_said(each)}")


def _said(done: Cancellation) -> str:
    message = done.message
    match done.outcome:
        case "dropped":
            return f"dropped: it was {message.state} in {message.queue}, and will not run"
        case "told":
            holder = f"worker {message.worker}" if message.worker else "the worker that holds it"
            return f"told {holder}: if it runs, it meets Cancelled; it will not wait again"
        case "dead":
            return f"not cancelled: it is a dead letter; see: typedq dead show {done.id}"
        case _:
            return "unknown: it has ended, was dropped, or was never accepted"


def _line(value: object) -> str:
    if isinstance(value, dict | list):
        return json_text.dumps(value) if value else "-"
    return "-" if value in (None, "") else str(value)


@contextmanager
def _progress() -> Generator[Progress | None]:
    """Show on a terminal how many messages were looked at."""
    screen = console.console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    with screen.status("searching") as status:
        yield lambda looked: status.update(f"searching: {looked:,} waiting messages")
