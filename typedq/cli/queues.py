"""`typedq peek`, `purge`, `pause` and `resume`: one queue at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter

from typedq.cli import messages
from typedq.cli.application import AsJson, Chosen, no_queue
from typedq.cli.console import say, tell_json
from typedq.cli.messages import Number, Payload, Yes

if TYPE_CHECKING:
    from typedq.broker import Broker

Queue = Annotated[str, Argument(metavar="QUEUE", help="The name of a queue of the app.")]


def peek(
    queue: Queue,
    *,
    number: Number = 20,
    payload: Payload = False,
    json: AsJson = False,
    app: Chosen,
) -> None:
    """Show the next messages of a queue, where they stay; their arguments only with --payload."""
    from typedq.broker import stats

    broker = _broker(app, queue)
    found = broker.call(stats.peek(broker.keys, queue, number))
    messages.tell(found, f"nothing is ready in {queue}", payload=payload, json=json)


def purge(queue: Queue, *, yes: Yes = False, json: AsJson = False, app: Chosen) -> None:
    """Drop for good what is ready or delayed in a queue, not what runs. Asks first."""
    from typedq.broker import stats

    broker = _broker(app, queue)
    depth = broker.call(stats.survey(broker.keys, [queue], [])).queues[queue]
    total = depth.ready + depth.delayed
    messages.ask(f"purge {total:,} message(s) from {queue}?", yes=yes or not total)
    purged = messages.tally("purge", total, _purges(broker, queue))
    if json:
        tell_json({"queue": queue, "purged": purged})
    else:
        say(f"purge: {purged:,} message(s) from {queue}")


def pause(queue: Queue, *, app: Chosen) -> None:
    """Let workers take nothing more from a queue until it is resumed; producers may go on."""
    from typedq.broker import stats

    broker = _broker(app, queue)
    new = broker.call(stats.pause(broker.keys, queue))
    say(f"{queue} is paused" if new else f"{queue} was paused already")


def resume(queue: Queue, *, app: Chosen) -> None:
    """Let workers take from a paused queue again."""
    from typedq.broker import stats

    broker = _broker(app, queue)
    was = broker.call(stats.resume(broker.keys, queue))
    say(f"{queue} is resumed" if was else f"{queue} was not paused")


def _broker(app: Chosen, queue: str) -> Broker:
    loaded = app.load()
    known = [each.name for each in loaded.settings.queues]
    if queue not in known:
        raise BadParameter(no_queue(queue, known), param_hint="QUEUE")
    return loaded.broker


def _purges(broker: Broker, queue: str) -> Iterator[int]:
    from typedq.broker import stats

    while purged := broker.call(stats.purge(broker.keys, queue)):
        yield purged
