"""Dead letters and parked messages: groups by what went wrong, and single messages."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, NamedTuple

from starlette.responses import Response

from typedq.admin.dead_letters import DeadLetters, Letter
from typedq.admin.failures import group_dead, read_by
from typedq.admin.messages import Selection
from typedq.admin.parked import Parked
from typedq.admin.payloads import Payloads
from typedq.dashboard.pages import reading
from typedq.dashboard.view import Rejected, View

MOST = 500  # dead letters that are read for one page ...
READ_S = 0.08  # ... and for how long: they may have large arguments
_PARKED = 20  # messages of a parked group that are shown


class Sample(NamedTuple):
    """The newest dead letters of a selection; `whole`: there are no more."""

    letters: list[Letter]
    whole: bool


def sample(view: View, task: str = "", error: str = "") -> Sample:
    """Read as many dead letters of a task and error as there is time for. Raises ServerError."""
    end, letters = time.monotonic() + READ_S, list[Letter]()
    for read, letter in enumerate(DeadLetters(view.site.app).find(), 1):
        if (not task or letter.shown["task"] == task) and (not error or letter.error == error):
            letters.append(letter)
        if read >= MOST or (read % 100 == 0 and time.monotonic() > end):
            return Sample(letters, whole=False)
    return Sample(letters, whole=True)


def dead(view: View) -> Response:
    """Show groups of dead letters, or the dead letters of one group."""
    task, error = view.query("task"), view.query("error")
    seen, found = view.facts.seen, view.shared(lambda: sample(view, task, error))
    groups = view.page(group_dead(found.letters))
    live = reading(view, seen)
    return view.render(
        "dead.html",
        live=True,
        total=seen["dead"],
        found=found,
        most=MOST,
        groups=groups,
        letters=view.page([each.shown for each in found.letters]) if task or error else None,
        task=task,
        error=error,
        readers=[read_by(group.needs, live) for group in groups.rows],
        workers=len(live.alive),
    )


def letter(view: View) -> Response:
    """Show one dead letter."""
    id = str(view.request.path_params["id"])
    payload = view.query("payload") == "1"
    app = view.site.app
    found = DeadLetters(app).get(id, Payloads(app) if payload else None)
    if found is None:
        raise Rejected(404, "No such dead letter", f"{id}: it was retried, dropped or never died.")
    live = reading(view, view.facts.seen)
    return view.render(
        "letter.html",
        letter=found.shown,
        readers=read_by([found.needs] if found.needs else [], live),
        workers=len(live.alive),
        payload=payload,
    )


def parked(view: View) -> Response:
    """Show parked messages by queue and contract, and why no worker takes them."""
    facts, app = view.facts, view.site.app
    queue, contract = view.query("queue"), view.query("contract")
    live = reading(view, facts.seen)
    rows = [
        {
            **row,
            "why": live.why(row["contract"], row["queue"]),
            "task": row["contract"].partition("@")[0],
        }
        for row in view.page(facts.seen["parked"]).rows
    ]
    shown = list[dict[str, Any]]()
    if queue and contract:
        admin = Parked(app)
        chosen = Selection(queue=queue), [contract]
        shown = view.shared(lambda: list(islice(admin.messages(admin.groups(*chosen)), _PARKED)))
    return view.render(
        "parked.html",
        live=True,
        page=view.page(facts.seen["parked"])._replace(rows=rows),
        workers=len(live.alive),
        queue=queue,
        contract=contract,
        messages=shown,
    )
