"""`typedq parked`: messages that no worker could read, by queue and contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from typedq.cli import messages
from typedq.cli.application import AsJson, Chosen
from typedq.cli.console import instant, same, tell
from typedq.cli.messages import CHUNK, PAGE, Number, Payload

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.broker.parking import Group

    Held = Mapping[Group, tuple[int, int]]  # how many, and the ms at which it was begun

Contracts = Annotated[
    list[str] | None, Argument(metavar="CONTRACT", help="Only these, as `list` shows them.")
]
_KIND = "parked message(s)"
_OTHERS = "a worker that can read them fetched the others meanwhile"


@dataclass(frozen=True)
class Filter(messages.Filter):
    """Groups of one queue may be meant only."""

    queue: Annotated[
        str | None, Option("-Q", "--queue", metavar="NAME", help="Only of this queue.")
    ] = None

    @property
    def given(self) -> dict[str, object]:
        return {"task": self.task, "queue": self.queue, "since": self.since}


@dataclass(frozen=True)
class Choice(Filter, messages.Choice):
    """Groups that are changed."""


def list_(only: Filter, *, json: AsJson = False, app: Chosen) -> None:
    """List what is parked: queue, contract, how many, since when. The oldest is first."""
    columns = {**same("queue", "contract", "messages"), "parked since": "since"}
    found = rows(_chosen(app.load().broker, only))
    tell(found, columns, json=json, none=_nothing(only))


def show(
    contracts: Contracts = None,
    *,
    only: Filter,
    number: Number = 20,
    payload: Payload = False,
    json: AsJson = False,
    app: Chosen,
) -> None:
    """Show parked messages; exit code 1 if there are none. Their arguments only with --payload."""
    broker = app.load().broker
    found = list(islice(_messages(broker, _chosen(broker, only, contracts)), number))
    messages.tell(found, _nothing(only, contracts), payload=payload, json=json)
    raise typer.Exit(0 if found else 1)


def retry(contracts: Contracts = None, *, which: Choice, app: Chosen) -> None:
    """Put parked messages back in their queues. Who cannot read them parks them again. Asks."""
    _each("retry", app, which, contracts, "ready")


def drop(contracts: Contracts = None, *, which: Choice, app: Chosen) -> None:
    """Drop parked messages for good. Asks first."""
    _each("drop", app, which, contracts, "purged")


def rows(held: Held) -> list[dict[str, Any]]:
    """The keys of `parked list --json`."""
    return [
        {"queue": group.queue, "contract": group.contract, "messages": n, "since": instant(ms)}
        for group, (n, ms) in held.items()
    ]


def _chosen(broker: Broker, which: Filter, contracts: Sequence[str] | None = None) -> Held:
    """The groups that are meant and hold something; the oldest is first."""
    from typedq.broker.parking import extent, groups

    begun = {
        group: ms
        for group, ms in broker.call(groups(broker.keys)).items()
        if (not contracts or group.contract in contracts)
        and which.task in (None, group.contract.partition("@")[0])
        and which.queue in (None, group.queue)
        and ms >= which.oldest_ms
    }
    return held(begun, broker.call(extent(broker.keys, [], begun)).parked if begun else {})


def held(begun: Mapping[Group, int], counts: Mapping[Group, int]) -> Held:
    """Groups that hold something, with how many and the ms at which they were begun."""
    ordered = sorted(begun.items(), key=lambda each: (each[1], each[0]))
    return {group: (counts[group], ms) for group, ms in ordered if counts[group]}


def _messages(broker: Broker, held: Held) -> Iterator[bytes]:
    from typedq.broker.parking import parked

    for group in held:
        first = 0
        while page := broker.call(parked(broker.keys, group, first, first + PAGE - 1)):
            yield from page
            first += PAGE


def _each(
    what: str,
    app: Chosen,
    which: Choice,
    contracts: list[str] | None,
    fate: Literal["ready", "purged"],
) -> None:
    """Act on all that the groups hold now."""
    from typedq.broker.parking import release

    which.check(contracts, "contract")
    broker = app.load().broker
    held = _chosen(broker, which, contracts)
    # As often as it takes for what is held, and no more: others may park the same again meanwhile.
    rounds = (group for group, (n, _) in held.items() for _ in range(0, n, CHUNK))
    steps = (broker.call(release(broker.keys, group, fate)).released for group in rounds)
    total = sum(n for n, _ in held.values())
    messages.carry_out(what, _KIND, total, steps, _OTHERS, yes=which.yes)


def _nothing(only: Filter, contracts: Sequence[str] | None = None) -> str:
    return "nothing is parked" + (" like that" if contracts or any(only.given.values()) else "")
