"""Enqueue one message by a form, checked by the task's own codec."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from typedq.admin.messages import iso
from typedq.broker import acl
from typedq.contracts import mask
from typedq.dashboard.changes import permit
from typedq.dashboard.form import Field, NotJson, fields, payload
from typedq.dashboard.view import Rejected, View
from typedq.errors import InvalidArguments, InvalidBody, InvalidOptions, UnknownTask
from typedq.task import Task

_DELAY = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)([smhdw])?")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, None: 1}


def enqueue(view: View) -> Response:
    """List the tasks, or show the form of one."""
    tasks = view.site.app.tasks
    name = view.query("task")
    if not name:
        q = view.query("q")
        return view.render(
            "enqueue.html",
            task=None,
            q=q,
            tasks=view.page([task for _, task in sorted(tasks.items()) if q in task.name]),
        )
    task = _task(view, name)
    return _form(view, task, given={}, errors={})


def send(view: View) -> Response:
    """Check the form; enqueue the message if that was asked for."""
    task, given = _task(view, view.text("task")), {k: view.text(k) for k in view.form}
    try:
        body = _body(task, given)
        limits = view.site.app.settings.max_body, view.site.app.settings.max_depth
        args, kwargs = task.contract.decode(body, *limits)
        options = _options(given)
        sender = task.options(**options)
    except NotJson as error:
        return _form(view, task, given, {error.path: error.reason}, status=400)
    except (InvalidBody, InvalidArguments) as error:
        return _form(view, task, given, {_place(error): error.reason}, status=400)
    except InvalidOptions as error:
        return _form(view, task, given, {error.option: error.reason}, status=400)
    command = _command(view, task, body, given)
    if given.get("do") != "enqueue":
        return _form(view, task, given, {}, command=command)
    broker, settings = view.site.app.broker, view.site.app.settings
    queue = given.get("queue") or task.queue or settings.default_queue
    permit(view, acl.required_commands(broker.keys, "producer", queue))
    try:
        receipt = sender.enqueue(*args, **kwargs)
    except InvalidArguments as error:
        return _form(view, task, given, {_place(error): error.reason}, status=400)
    view.log("message enqueued", task=task.name, id=receipt.id, queue=receipt.queue)
    sent = f"{receipt.id} in {receipt.queue}, due {iso(receipt.due)}"
    return _form(view, task, given, {}, command=command, sent=sent)


def _form(
    view: View,
    task: Task[..., Any],
    given: Mapping[str, str],
    errors: Mapping[str, str],
    *,
    command: str = "",
    sent: str = "",
    status: int = 200,
) -> Response:
    form = fields(task.contract.schema)
    paths = set(_paths(form)) | {"json", "delay", "queue"}
    return view.render(
        "enqueue.html",
        status,
        task=task,
        form=form,
        given=given,
        errors=errors,
        # An error inside of a field that is typed as JSON, or of the payload as a whole.
        other=[f"{path}: {reason}" for path, reason in errors.items() if path not in paths],
        queues=[queue.name for queue in view.site.app.settings.queues],
        command=command,
        sent=sent,
    )


def _paths(form: Field) -> list[str]:
    return [form.path] * (form.path != "$") + [p for part in form.parts for p in _paths(part)]


def _body(task: Task[..., Any], given: Mapping[str, str]) -> bytes:
    if given.get("json", "").strip():
        return given["json"].encode(errors="surrogatepass")
    return msgspec.json.encode(payload(fields(task.contract.schema), given))


def _place(error: InvalidBody | InvalidArguments) -> str:
    return error.path.partition("[")[0]  # an item is shown at the field of its list


def _options(given: Mapping[str, str]) -> Any:
    options: dict[str, object] = {}
    if given.get("queue"):
        options["queue"] = given["queue"]
    if delay := given.get("delay", "").strip():
        found = _DELAY.fullmatch(delay)
        if found is None:
            raise NotJson("delay", "expected a duration such as 90, 30m, 2h or 1d")
        options["delay"] = float(found[1]) * _SECONDS[found[2]]
    return options


def _command(view: View, task: Task[..., Any], body: bytes, given: Mapping[str, str]) -> str:
    text = body.decode(errors="backslashreplace")
    # A command line is kept in histories and seen in `ps`, so no secret is put into one.
    words = ["enqueue", task.name, text if mask(body, task.contract.schema) == text else "-"]
    for name in ("delay", "queue"):
        if given.get(name, "").strip():
            words += [f"--{name}", given[name].strip()]
    return view.command(shlex.join(words))


def _task(view: View, name: str) -> Task[..., Any]:
    try:
        return view.site.app.declarations.find(name)
    except UnknownTask as error:
        raise Rejected(404, "No such task", str(error)) from None
