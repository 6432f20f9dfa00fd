"""`typedq parked`: messages that no worker could read, by queue and contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from typedq.cli import messages
from typedq.cli.application import HERE, AppDir, AppOption, AsJson, load
from typedq.cli.console import console, instant, say, table, tell_json
from typedq.cli.messages import CHUNK, PAGE, All, Number, OfTask, Payload, Since, Yes

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.broker.parking import Group

program = typer.Typer(
    help="Messages that no worker could read, kept for one that can: look, try again, drop.",
    epilog="Example: typedq parked list",
    no_args_is_help=True,
)
Contracts = Annotated[
    list[str] | None, Argument(metavar="CONTRACT", help="Only these, as `list` shows them.")
]
OfQueue = Annotated[str | None, Option("-Q", "--queue", metavar="NAME", help="Only of this queue.")]


@program.command("list", epilog="Example: typedq parked list --task send_email -A myapp.tasks:app")
def list_(
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    since: Since = None,
    json: AsJson = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """List what is parked: queue, contract, how many, since when. The oldest is first."""
    broker = load(app, app_dir).broker
    found = look(broker, _chosen(broker, None, task, queue, since))
    if json:
        tell_json(found)
    elif found:
        rows = [tuple(group.values()) for group in found]
        console().print(table("queue, contract, messages, parked since", rows))
    else:
        say(_nothing(task or queue or since))


@program.command(epilog="Example: typedq parked show send_email@0123456789abcdef -n 5 --payload")
def show(
    contracts: Contracts = None,
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    number: Number = 20,
    payload: Payload = False,
    json: AsJson = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Show parked messages; exit code 1 if there are none. Their arguments only with --payload."""
    broker = load(app, app_dir).broker
    groups = _chosen(broker, contracts, task, queue, None)
    found = list(islice(_messages(broker, groups), number))
    if not found and not json:
        say(_nothing(contracts or task or queue))
    else:
        messages.tell(found, payload=payload, json=json)
    raise typer.Exit(0 if found else 1)


@program.command(epilog="Example: typedq parked retry --task send_email -y")
def retry(
    contracts: Contracts = None,
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    since: Since = None,
    all: All = False,
    yes: Yes = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Put parked messages back in their queues. Who cannot read them parks them again. Asks."""
    messages.check_choice(contracts, "contract", task=task, queue=queue, since=since, all=all)
    broker = load(app, app_dir).broker
    _each("retry", broker, _chosen(broker, contracts, task, queue, since), "ready", yes=yes)


@program.command(epilog="Example: typedq parked drop send_email@0123456789abcdef -y")
def drop(
    contracts: Contracts = None,
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    since: Since = None,
    all: All = False,
    yes: Yes = False,
    app: AppOption = None,
    app_dir: AppDir = HERE,
) -> None:
    """Drop parked messages for good. Asks first."""
    messages.check_choice(contracts, "contract", task=task, queue=queue, since=since, all=all)
    broker = load(app, app_dir).broker
    _each("drop", broker, _chosen(broker, contracts, task, queue, since), "purged", yes=yes)


def look(broker: Broker, groups: Mapping[Group, int]) -> list[dict[str, Any]]:
    """The keys of `parked list --json`, for groups with the ms at which they were begun."""
    from typedq.broker.parking import count

    found = [(group, broker.call(count(broker.keys, group)), ms) for group, ms in groups.items()]
    return [
        {"queue": group.queue, "contract": group.contract, "messages": n, "since": instant(ms)}
        for group, n, ms in found
        if n
    ]


def _chosen(
    broker: Broker,
    contracts: list[str] | None,
    task: str | None,
    queue: str | None,
    since: datetime | None,
) -> dict[Group, int]:
    """The groups that are meant, with the ms at which they were begun; the oldest is first."""
    from typedq.broker.parking import groups

    oldest_ms = since.timestamp() * 1000 if since else 0.0
    begun = broker.call(groups(broker.keys))
    return {
        group: ms
        for group, ms in sorted(begun.items(), key=lambda each: (each[1], each[0]))
        if (not contracts or group.contract in contracts)
        and task in (None, group.contract.partition("@")[0])
        and queue in (None, group.queue)
        and ms >= oldest_ms
    }


def _messages(broker: Broker, groups: Mapping[Group, int]) -> Iterator[bytes]:
    from typedq.broker.parking import parked

    for group in groups:
        first = 0
        while page := broker.call(parked(broker.keys, group, first, first + PAGE - 1)):
            yield from page
            first += PAGE


def _each(
    what: str,
    broker: Broker,
    groups: Mapping[Group, int],
    fate: Literal["ready", "purged"],
    *,
    yes: bool,
) -> None:
    """Act on all that the groups hold now, after asking; exit code 1 if some is gone meanwhile."""
    from typedq.broker.parking import count, release

    held = {group: broker.call(count(broker.keys, group)) for group in groups}
    total = sum(held.values())
    messages.ask(f"{what} {total:,} parked message(s)?", yes=yes or not total)
    # As often as it takes for what is held, and no more: others may park the same again meanwhile.
    rounds = (group for group, n in held.items() for _ in range(0, n, CHUNK))
    steps = (broker.call(release(broker.keys, group, fate)).released for group in rounds)
    done = messages.tally(what, total, steps)
    why = "a worker that can read them fetched the others meanwhile"
    messages.report(what, done, total, "parked message(s)", why)


def _nothing(chosen: object) -> str:
    return "nothing is parked" + (" like that" if chosen else "")
