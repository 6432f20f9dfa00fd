"""`typedq parked`: messages that wait for a worker that can read their contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from typedq.cli import messages
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import columns, print_rows
from typedq.cli.messages import Number, Shown

if TYPE_CHECKING:
    from typedq.admin.parked import Parked
    from typedq.app import TypedQ
    from typedq.broker.parking import Group

Contracts = Annotated[
    list[str] | None, Argument(metavar="CONTRACT", help="Only these, as `parked list` shows them.")
]
_GROUPS_HELP = "Count them by contract, and show who can read them, or why nobody can."
Groups = Annotated[bool, Option("--groups", help=_GROUPS_HELP)]
_KIND = "parked message(s)"
_OTHERS = "workers that can read the others fetched them meanwhile"


def list_(
    only: messages.Filter, *, groups: Groups = False, json: AsJson = False, app: AppOptions
) -> None:
    """List parked messages by queue and contract, the oldest first."""
    loaded = app.load()
    chosen = _parked(loaded).groups(only.selection)
    if groups:
        from typedq.admin.failures import parked_rows
        from typedq.admin.readers import LiveReaders

        found = parked_rows(loaded, chosen, LiveReaders.now(loaded))
        heads = columns("messages", "task", "contract", "oldest", "newest")
        shown = {**heads, "read by": messages.read_by}
    else:
        from typedq.admin.parked import rows

        found = rows(chosen)
        shown = {**columns("queue", "contract", "messages"), "parked since": "since"}
    print_rows(found, shown, as_json=json, none=_nothing(only))


def show(
    contracts: Contracts = None,
    *,
    only: messages.Filter,
    number: Number = 20,
    shown: Shown,
    json: AsJson = False,
    app: AppOptions,
) -> None:
    """Show parked messages. Exit code 1 if there are none."""
    loaded = app.load()
    parked = _parked(loaded)
    groups = parked.groups(only.selection, contracts)
    found = messages.first(parked.messages(groups, shown.payloads(loaded)), number)
    messages.show_messages(found, _nothing(only, contracts), as_json=json)
    raise typer.Exit(0 if found else 1)


def retry(contracts: Contracts = None, *, which: messages.Target, app: AppOptions) -> None:
    """Requeue parked messages. Asks for confirmation.

    A worker that cannot read them parks them again.
    """
    _change("retry", app, which, contracts, "ready")


def drop(contracts: Contracts = None, *, which: messages.Target, app: AppOptions) -> None:
    """Drop parked messages for good. Asks for confirmation."""
    _change("drop", app, which, contracts, "purged")


def _change(
    what: str,
    app: AppOptions,
    which: messages.Target,
    contracts: list[str] | None,
    to: Literal["ready", "purged"],
) -> None:
    which.check(contracts, "contract")
    loaded = app.load()
    parked = _parked(loaded)
    groups = parked.groups(which.selection, contracts)
    if which.dry_run:
        needs: dict[Group | None, int] = {group: size.messages for group, size in groups.items()}
        change = f"a {what} would {'requeue' if to == 'ready' else 'delete'}"
        messages.preview(loaded, change, _KIND, needs, as_json=which.json)
        return
    total = sum(size.messages for size in groups.values())
    messages.change(what, _KIND, total, parked.release(groups, to), _OTHERS, yes=which.yes)


def _parked(app: TypedQ) -> Parked:
    from typedq.admin.parked import Parked

    return Parked(app)


def _nothing(only: messages.Filter, contracts: Sequence[str] | None = None) -> str:
    return "nothing is parked" + (" that matches" if contracts or only.selection.narrows else "")
