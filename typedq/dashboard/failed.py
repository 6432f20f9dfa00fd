"""Dead letters and parked messages: groups by what went wrong, and single messages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, final

from starlette.responses import Response

from typedq.admin.dead_letters import DeadLetters
from typedq.admin.messages import Selection
from typedq.admin.parked import Parked
from typedq.admin.payloads import Payloads
from typedq.broker.parking import split_format
from typedq.dashboard.pages import alive, reading
from typedq.dashboard.rendering import cut
from typedq.dashboard.view import Rejected, View

MOST = 500  # dead letters that are read for one page ...
READ_S = 0.08  # ... and for how long: they may have large arguments
_PARKED = 20  # messages of a parked group that are shown


@final
@dataclass
class Group:
    """Dead letters of one task that failed alike."""

    task: str
    error: str
    kind: str
    last: str
    first: str = ""
    ids: list[str] = field(default_factory=list[str])
    contracts: set[str] = field(default_factory=set[str])


class Sample(NamedTuple):
    """The youngest dead letters of a selection; `whole`: there are no more."""

    letters: list[Mapping[str, Any]]
    whole: bool


def sample(view: View, task: str = "", error: str = "") -> Sample:
    """Read as many dead letters of a task and error as there is time for. Raises ServerError."""
    end, letters = time.monotonic() + READ_S, list[Mapping[str, Any]]()
    for read, letter in enumerate(DeadLetters(view.site.app).find(), 1):
        if (not task or letter["task"] == task) and (not error or line(letter) == error):
            letters.append(letter)
        if read >= MOST or (read % 100 == 0 and time.monotonic() > end):
            return Sample(letters, whole=False)
    return Sample(letters, whole=True)


def line(letter: Mapping[str, Any]) -> str:
    """Return the error by which a dead letter is grouped."""
    return cut(str(letter["error"]) or str(letter["kind"]))


def groups(letters: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Return dead letters by task and error, the largest group first."""
    found: dict[tuple[Any, str], Group] = {}
    for letter in letters:  # the youngest first
        key, died = (letter["task"], line(letter)), str(letter["died"])
        if key not in found:
            found[key] = Group(letter["task"] or "", key[1], str(letter["kind"]), died)
        group = found[key]
        group.first = died
        group.ids.append(letter["id"])
        if letter["contract"]:
            group.contracts.add(letter["contract"])
    return sorted(found.values(), key=lambda group: -len(group.ids))


def dead(view: View) -> Response:
    """Show groups of dead letters, or the dead letters of one group."""
    task, error = view.query("task"), view.query("error")
    seen, found = view.facts.seen, sample(view, task, error)
    grouped = groups(found.letters)
    return view.render(
        "dead.html",
        live=True,
        total=seen["dead"],
        found=found,
        most=MOST,
        groups=view.page(grouped),
        letters=view.page(found.letters) if task or error else None,
        task=task,
        error=error,
        readers={group.error + group.task: readers(view, group.contracts) for group in grouped},
    )


def readers(view: View, contracts: Iterable[str]) -> int:
    """Return how many of today's workers read all of some contracts."""
    seen, known = view.facts.seen, view.facts.contracts.readers
    workers = reading(view, seen)
    names = set(workers)
    for contract in contracts:
        names &= set(known.of(contract, workers))
    return len(names)


def letter(view: View) -> Response:
    """Show one dead letter."""
    id = str(view.request.path_params["id"])
    payload = view.query("payload") == "1"
    app = view.site.app
    found = DeadLetters(app).get(id, Payloads(app) if payload else None)
    if found is None:
        raise Rejected(404, "No such dead letter", f"{id}: it was retried, dropped or never died.")
    return view.render(
        "letter.html",
        letter=found,
        readers=readers(view, [found["contract"]] if found["contract"] else []),
        workers=len(alive(view, view.facts.seen)),
        payload=payload,
    )


def parked(view: View) -> Response:
    """Show parked messages by queue and contract, and why no worker takes them."""
    facts, app = view.facts, view.site.app
    queue, contract = view.query("queue"), view.query("contract")
    rows = [
        {**row, "why": _why(view, row["contract"]), "task": row["contract"].partition("@")[0]}
        for row in view.page(facts.seen["parked"]).rows
    ]
    shown = list[dict[str, Any]]()
    if queue and contract:
        admin = Parked(app)
        chosen = admin.groups(Selection(queue=queue), [contract])
        shown = list(islice(admin.messages(chosen), _PARKED))
    return view.render(
        "parked.html",
        live=True,
        page=view.page(facts.seen["parked"])._replace(rows=rows),
        workers=len(alive(view, facts.seen)),
        queue=queue,
        contract=contract,
        messages=shown,
    )


def _why(view: View, contract: str) -> str:
    """Return why live workers cannot read a contract; "" if one can."""
    known, reasons = view.facts.contracts.readers, list[str]()
    _, format = split_format(contract)
    workers = reading(view, view.facts.seen).values()
    for reads, newest in {(tuple(worker.reads), worker.format) for worker in workers}:
        for read in known.of_task(contract, reads):
            how, why = known.reading(contract, read)
            if how and newest >= format:
                return ""
            reasons.append(why or f"its message format {format} is newer than the worker")
    return reasons[0] if reasons else f"no live worker has a task {contract.partition('@')[0]}"
