"""`typedq tasks` and `typedq enqueue`: what there is to run, and one message by hand."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, BadParameter, Option

from typedq.app import TypedQ
from typedq.cli.application import AsJson, Chosen, Placed
from typedq.cli.console import Row, age, iso, same, say, tell, tell_json
from typedq.cli.quantities import length, moment
from typedq.errors import InvalidArguments, InvalidBody, meant

if TYPE_CHECKING:
    from typedq.registry import Declared
    from typedq.task import Task

Name = Annotated[str, Argument(help="The name of a task.")]
Payload = Annotated[
    str, Argument(metavar="JSON", help="Its arguments as an object, or - to read stdin.")
]
Delay = Annotated[
    float | None, Option(parser=length, metavar="LENGTH", help="Run it after 90 (s), 30m, 2h, 1d.")
]
Eta = Annotated[
    datetime | None, Option(parser=moment, metavar="MOMENT", help="At 2027-01-31T09:30:00Z.")
]
OtherQueue = Annotated[str | None, Option(metavar="NAME", help="Instead of the task's own.")]


def tasks(app: Placed, json: AsJson = False) -> None:
    """List the tasks: signature, queue, retries, time limits, fingerprint."""
    loaded = app.load()
    columns = {
        "task": "name",
        **same("signature", "queue"),
        "retry": _retry,
        "limits": _limits,
        "fingerprint": "fingerprint",
    }
    tell([_facts(loaded, task) for _, task in sorted(loaded.tasks.items())], columns, json=json)


def enqueue(
    app: Chosen,
    task: Name,
    payload: Payload = "{}",
    *,
    delay: Delay = None,
    eta: Eta = None,
    queue: OtherQueue = None,
    json: AsJson = False,
) -> None:
    """Send one message, checked against the task's contract as any call is."""
    loaded = app.load()
    if task not in loaded.tasks and (hint := meant(task, loaded.tasks)):
        raise BadParameter(f"no task named {task!r}{hint}", param_hint="TASK")
    known = loaded.find(task)
    body = sys.stdin.buffer.read() if payload == "-" else payload.encode(errors="surrogateescape")
    given = {"delay": delay, "eta": eta, "queue": queue}
    options: Any = {name: value for name, value in given.items() if value is not None}
    sender = known.options(**options)
    known.bound(*loaded.limits())
    try:
        args, kwargs = known.contract.decode(body)
    except InvalidBody as error:
        raise InvalidArguments(task, error.path, error.reason) from None
    receipt = sender.enqueue(*args, **kwargs)
    due = iso(receipt.due)
    if json:
        tell_json({"id": receipt.id, "task": task, "queue": receipt.queue, "due": due})
    else:
        say(f"{receipt.id} {task} in {receipt.queue}, due {due}")


def declared(app: TypedQ) -> list[Declared]:
    """The tasks as the registry of contracts knows them."""
    from typedq.registry import Declared

    return [
        Declared(
            task.name,
            task.contract.fingerprint,
            task.contract.schema,
            task.aliases,
            tuple(upcaster.contract.schema for upcaster in task.upcasters),
        )
        for task in app.tasks.values()
    ]


def _facts(app: TypedQ, task: Task[..., Any]) -> dict[str, Any]:
    """The keys of `tasks --json`; limits in seconds, as they apply in the end."""
    settings, name = app.settings, task.queue or app.settings.default_queue
    queue = next(queue for queue in settings.queues if queue.name == name)
    errors = [error.__qualname__ for error in task.retry.on] if task.retry else []
    return {
        "name": task.name,
        "signature": task.contract.signature,
        "async": task.contract.is_async,
        "queue": name,
        "retry": asdict(task.retry) | {"on": errors} if task.retry else None,
        "soft_timeout": task.soft_timeout or queue.soft_timeout or settings.soft_timeout,
        "hard_timeout": task.hard_timeout or queue.hard_timeout or settings.hard_timeout,
        "fingerprint": task.contract.fingerprint,
    }


def _retry(facts: Row) -> str | None:
    retry = facts["retry"]
    return f"{retry['max_retries']} on {', '.join(retry['on'])}" if retry else None


def _limits(facts: Row) -> str:
    given = [(kind, age(facts[f"{kind}_timeout"])) for kind in ("soft", "hard")]
    return ", ".join(f"{kind} {limit}" for kind, limit in given if limit)
