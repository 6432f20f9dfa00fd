"""Message: where one is, by its id, and its cancellation."""

from __future__ import annotations

from starlette.responses import Response

from typedq.admin import single
from typedq.admin.overview import alive
from typedq.admin.payloads import Payloads
from typedq.broker import acl
from typedq.dashboard.changes import permit
from typedq.dashboard.view import Rejected, View
from typedq.errors import InvalidId, SearchLimit

LIMIT = 20_000  # waiting messages that one page looks at; `typedq show` looks at a million
_OUTCOMES = {
    "dropped": "Cancelled: it waited, is gone, and will never run.",
    "told": "Cancelled: a worker holds it. If it runs, its task meets Cancelled; it will not wait"
    " again.",
    "dead": "Not cancelled: it is a dead letter, and stays one.",
    "unknown": "Not cancelled: it has ended, was dropped before, or was never accepted.",
}


def message(view: View) -> Response:
    """Ask for an id, or show the message that has it."""
    id, payload = view.query("id").strip(), view.query("payload") == "1"
    app = view.site.app
    arguments = Payloads(app) if payload else None
    found, problem, limited = None, "", False
    try:
        found = single.show(app, id, arguments=arguments, limit=LIMIT) if id else None
    except (InvalidId, SearchLimit) as error:
        problem, limited = str(error), isinstance(error, SearchLimit)
    return view.render(
        "message.html",
        400 if problem else 200,
        id=id,
        found=found,
        problem=problem,
        limited=limited,
        payload=payload,
        workers=len(alive(view.facts.seen)) if found else 0,
        outcome=_OUTCOMES.get(view.query("outcome"), ""),
    )


def cancel(view: View) -> Response:
    """Cancel a message."""
    broker, queue = view.site.app.broker, view.site.app.settings.default_queue
    permit(view, acl.required_commands(broker.keys, "admin", queue))
    id = view.text("id")
    try:
        (done,) = single.cancel(view.site.app, [id], limit=LIMIT)
    except (InvalidId, SearchLimit) as error:
        raise Rejected(400, "Not cancelled", str(error)) from None
    view.log("message cancelled", id=id, outcome=done.outcome)
    return view.go("/message", id=id, outcome=done.outcome)
