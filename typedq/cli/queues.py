"""`typedq peek`, `purge`, `pause` and `resume`: one queue at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter

from typedq.cli import messages
from typedq.cli.application import AppOptions, AsJson, no_queue
from typedq.cli.console import print_json, print_line
from typedq.cli.messages import Number, Shown, Yes

if TYPE_CHECKING:
    from typedq.admin.queues import QueueAdmin
    from typedq.app import TypedQ

Queue = Annotated[str, Argument(metavar="QUEUE", help="The name of a queue of the app.")]


def peek(
    queue: Queue,
    *,
    number: Number = 20,
    shown: Shown,
    json: AsJson = False,
    app: AppOptions,
) -> None:
    """Show the next messages of a queue without taking them."""
    loaded = app.load()
    found = _queue(loaded, queue).peek(number, shown.payloads(loaded))
    messages.show_messages(found, f"nothing is ready in {queue}", as_json=json)


def purge(queue: Queue, *, yes: Yes = False, json: AsJson = False, app: AppOptions) -> None:
    """Delete the ready and delayed messages of a queue; running ones continue. Asks first."""
    chosen = _queue(app.load(), queue)
    total = chosen.size()
    messages.confirm(f"purge {total:,} message(s) from {queue}?", yes=yes or not total)
    purged = messages.count_steps("purge", total, chosen.purge())
    if json:
        print_json({"queue": queue, "purged": purged})
    else:
        print_line(f"purge: {purged:,} message(s) from {queue}")


def pause(queue: Queue, *, app: AppOptions) -> None:
    """Stop workers from fetching from a queue until it is resumed. Enqueuing still works."""
    changed = _queue(app.load(), queue).pause()
    print_line(f"{queue} is paused" if changed else f"{queue} was paused already")


def resume(queue: Queue, *, app: AppOptions) -> None:
    """Let workers fetch from a paused queue again."""
    changed = _queue(app.load(), queue).resume()
    print_line(f"{queue} is resumed" if changed else f"{queue} was not paused")


def _queue(app: TypedQ, name: str) -> QueueAdmin:
    known = [each.name for each in app.settings.queues]
    if name not in known:
        raise BadParameter(no_queue(name, known), param_hint="QUEUE")
    from typedq.admin.queues import QueueAdmin

    return QueueAdmin(app, name)
