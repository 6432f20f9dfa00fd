"""`typedq peek`, `purge`, `pause` and `resume`: one queue at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter

from typedq.cli import messages
from typedq.cli.application import HERE, AppDir, AppOption, AsJson, load, no_queue
from typedq.cli.console import say, tell_json
from typedq.cli.messages import Number, Payload, Yes

if TYPE_CHECKING:
    from typedq.app import TypedQ
    from typedq.broker import Broker

Queue = Annotated[str, Argument(metavar="QUEUE", help="The name of a queue of the app.")]


def peek(
    queue: Queue,
    *,
    number: Number = 20,
    payload: Payload = False,
    json: AsJson = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Show the next messages of a queue, where they stay; their arguments only with --payload."""
    from typedq.broker import views

    broker = _app_with(queue, app, app_dir).broker
    found = broker.call(views.peek(broker.keys, queue, number))
    if found or json:
        messages.tell(found, payload=payload, json=json)
    else:
        say(f"nothing is ready in {queue}")


def purge(
    queue: Queue,
    yes: Yes = False,
    json: AsJson = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Drop for good what is ready or delayed in a queue, not what runs. Asks first."""
    from typedq.broker import views

    broker = _app_with(queue, app, app_dir).broker
    depth = broker.call(views.survey(broker.keys, [queue], [])).queues[queue]
    total = depth.ready + depth.delayed
    messages.ask(f"purge {total:,} message(s) from {queue}?", yes=yes or not total)
    purged = messages.tally("purge", total, _purges(broker, queue))
    if json:
        tell_json({"queue": queue, "purged": purged})
    else:
        say(f"purge: {purged:,} message(s) from {queue}")


def pause(queue: Queue, app: AppOption = None, app_dir: AppDir = HERE) -> None:
    """Let workers take nothing more from a queue until it is resumed; producers may go on."""
    from typedq.broker import views

    broker = _app_with(queue, app, app_dir).broker
    new = broker.call(views.pause(broker.keys, queue))
    say(f"{queue} is paused" if new else f"{queue} was paused already")


def resume(queue: Queue, app: AppOption = None, app_dir: AppDir = HERE) -> None:
    """Let workers take from a paused queue again."""
    from typedq.broker import views

    broker = _app_with(queue, app, app_dir).broker
    was = broker.call(views.resume(broker.keys, queue))
    say(f"{queue} is resumed" if was else f"{queue} was not paused")


def _app_with(queue: str, app: str | None, app_dir: AppDir) -> TypedQ:
    loaded = load(app, app_dir)
    known = [each.name for each in loaded.settings.queues]
    if queue not in known:
        raise BadParameter(no_queue(queue, known), param_hint="QUEUE")
    return loaded


def _purges(broker: Broker, queue: str) -> Iterator[int]:
    from typedq.broker import views

    while purged := broker.call(views.purge(broker.keys, queue)):
        yield purged
