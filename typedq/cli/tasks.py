"""`typedq tasks` and `typedq enqueue`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

from typedq.admin.messages import age, iso
from typedq.cli.application import AppOptions, AppOrArgument, AsJson
from typedq.cli.console import Row, columns, print_json, print_line, print_rows
from typedq.cli.parameters import duration, expiry, moment, pairs
from typedq.errors import InvalidArguments, InvalidBody, meant

Name = Annotated[str, Argument(metavar="TASK", help="Name of the task.")]
Payload = Annotated[
    str, Argument(metavar="JSON", help="Arguments as a JSON object, or - to read stdin.")
]
Delay = Annotated[
    float | None,
    Option(parser=duration, metavar="DURATION", help="Run it after 90 (s), 30m, 2h or 1d."),
]
Eta = Annotated[
    datetime | None,
    Option(parser=moment, metavar="MOMENT", help="Run it at a time such as 2027-01-31T09:30:00Z."),
]
Expires = Annotated[
    Any,  # seconds, a moment, or None: Typer knows no unions
    Option(
        parser=expiry,
        metavar="DURATION or MOMENT",
        help="Drop it if it has not started after 10m, or by 2027-01-31T09:30:00Z.",
    ),
]
OtherQueue = Annotated[
    str | None, Option(metavar="NAME", help="Send it to this queue.", show_default="the task's")
]

Unique = Annotated[
    str | None,
    Option(metavar="KEY", help="Accept one message for this key within --unique-for."),
]
UniqueFor = Annotated[
    float | None, Option(parser=duration, metavar="DURATION", help="How long --unique holds.")
]
Meta = Annotated[
    list[str] | None,
    Option(
        metavar="KEY=VALUE",
        help="Metadata, which the task finds in ctx.meta. May be given several times.",
    ),
]


def tasks(app: AppOrArgument, json: AsJson = False) -> None:
    """List tasks with signature, queue, retries, time limits and fingerprint."""
    loaded = app.load()
    from typedq.admin.tasks import tasks as described

    shown = {
        "task": "name",
        **columns("signature", "queue"),
        "retry": _retry,
        "limits": _limits,
        "fingerprint": "fingerprint",
    }
    print_rows(described(loaded), shown, as_json=json)


def enqueue(
    app: AppOptions,
    task: Name,
    payload: Payload = "{}",
    *,
    delay: Delay = None,
    eta: Eta = None,
    expires: Expires = None,
    queue: OtherQueue = None,
    unique: Unique = None,
    unique_for: UniqueFor = None,
    meta: Meta = None,
    json: AsJson = False,
) -> None:
    """Enqueue one message, checked against the contract of the task."""
    loaded = app.load()
    names = {*loaded.tasks, *loaded.declarations.remote}
    if task not in names and (hint := meant(task, names)):
        raise BadParameter(f"no task named {task!r}{hint}", param_hint="TASK")
    known = loaded.declarations.find_sender(task)
    body = sys.stdin.buffer.read() if payload == "-" else payload.encode(errors="surrogateescape")
    chosen = {"delay": delay, "eta": eta, "expires": expires, "queue": queue}
    chosen |= {"unique": unique, "unique_for": unique_for}
    chosen |= {"meta": pairs(meta, "--meta") if meta else None}
    options: Any = {name: value for name, value in chosen.items() if value is not None}
    sender = known.options(**options)
    limits = loaded.settings.max_body, loaded.settings.max_depth
    try:
        args, kwargs = known.contract.decode(body, *limits)
    except InvalidBody as error:
        raise InvalidArguments(task, error.path, error.reason) from None
    receipt = sender.enqueue(*args, **kwargs)
    due = iso(receipt.due)
    if json:
        more = {"duplicate": True} if receipt.duplicate else {}
        print_json({"id": receipt.id, "task": task, "queue": receipt.queue, "due": due, **more})
    elif receipt.duplicate:
        print_line(f"{receipt.id} {task} holds the unique key; nothing was enqueued")
    else:
        print_line(f"{receipt.id} {task} in {receipt.queue}, due {due}")


def _retry(facts: Row) -> str | None:
    retry = facts["retry"]
    return f"{retry['max_retries']} on {', '.join(retry['on'])}" if retry else None


def _limits(facts: Row) -> str:
    chosen = [(kind, age(facts[f"{kind}_timeout"])) for kind in ("soft", "hard")]
    return ", ".join(f"{kind} {limit}" for kind, limit in chosen if limit)
