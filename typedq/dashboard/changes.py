"""Pause queues, retry and drop messages: only with `write`; each change is logged with its user."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from starlette.responses import Response

from typedq.admin.dead_letters import DeadLetters, Letter
from typedq.admin.failures import read_by
from typedq.admin.messages import EVERYTHING, Selection
from typedq.admin.parked import Parked
from typedq.admin.queues import QueueAdmin
from typedq.broker import acl
from typedq.broker.parking import Group
from typedq.broker.server_checks import listed
from typedq.dashboard.failed import sample
from typedq.dashboard.pages import reading
from typedq.dashboard.view import Rejected, View
from typedq.errors import ServerRefused

Act = Literal["retry", "drop"]
_REFUSED = ("invalid_body", "rejected")  # kinds of dead letters: the same again is in vain


class Preview(NamedTuple):
    """What a change would do.

    kind: of the messages, for the log; what: which messages, in words
    needs: the queues and contracts that a worker must read to run them
    fields: what the form sends; back: the page to return to
    apply: makes the change and returns how many messages it changed
    """

    kind: str
    what: str
    messages: int
    needs: set[Group]
    fields: dict[str, str]
    command: str
    back: str
    apply: Callable[[], int]
    note: str = ""


GetField = Callable[[str], str]  # of the form, or of the query of the URL; "" if it is missing
Select = Callable[[View, GetField], Preview]


def switch(act: Literal["pause", "resume"], view: View) -> Response:
    """Stop workers from fetching from a queue, or let them fetch again."""
    queue = str(view.request.path_params["queue"])
    names = [each.name for each in view.site.app.settings.queues]
    if queue not in names:
        raise Rejected(404, "No such queue", f"This app has the queues {', '.join(names)}.")
    paused = view.site.app.broker.keys.paused
    permit(view, [["SADD", paused, "v"], ["SREM", paused, "v"]])
    admin = QueueAdmin(view.site.app, queue)
    changed = admin.pause() if act == "pause" else admin.resume()
    view.log(f"queue {act}d", queue=queue, changed=str(changed))
    return view.go("/", act=act, done=int(changed), of=queue)


def confirm(select: Select, view: View) -> Response:
    """Show how many messages a retry or drop would change, and who could read them."""
    preview = select(view, view.query)
    if not preview.messages:
        raise Rejected(404, "Nothing to change", f"These {preview.kind} are gone.")
    live = reading(view, view.facts.seen)
    return view.render(
        "confirm.html",
        act=preview.fields["act"],
        preview=preview,
        readers=read_by(preview.needs, live),
        workers=len(live.alive),
    )


def change(select: Select, view: View) -> Response:
    """Retry or drop messages."""
    keys, queue = view.site.app.broker.keys, view.site.app.settings.default_queue
    permit(view, acl.required_commands(keys, "admin", queue))
    preview = select(view, view.text)
    act, done = preview.fields["act"], preview.apply()
    view.log(f"{preview.kind}: {act}", of=preview.what, count=done)
    return view.go(preview.back, act=act, done=done)


def dead(view: View, field: GetField) -> Preview:
    """Select dead letters by id, by task and error, or else all."""
    id, task, error, before = (field(name) for name in ("id", "task", "error", "before"))
    act, admin, note = _act(field("act")), DeadLetters(view.site.app), ""
    if id:
        letter = admin.get(id)
        letters = [letter] if letter else []
        what, command = f"dead letter {id}", shlex.join(["dead", act, id])
        ids = [id] if letter else []
    elif task or error:
        found = sample(view, task, error)
        letters = [e for e in found.letters if not before or str(e.shown["died"]) <= before]
        ids = [str(each.shown["id"]) for each in letters]
        what = " ".join(filter(None, ["dead letters", task and f"of {task}", error]))
        options = [*(["--task", task] if task else []), *(["--error", error] if error else [])]
        command = shlex.join(["dead", act, *options])
        if not found.whole:
            note = "There may be more, older ones. Repeat it for those, or use the command. "
    else:
        letters, ids = list[Letter](), admin.ids(EVERYTHING)
        what, command = "dead letters, all of them", f"dead {act} --all"
    refused = sum(each.shown["kind"] in _REFUSED for each in letters)
    if act == "retry" and refused:
        note += f"Contract or task refused {refused:,} of them: unless that has changed,"
        note += " they die again."
    needs = {each.needs for each in letters if each.needs}
    last = max((str(each.shown["died"]) for each in letters), default="")
    fields = {"act": act, "id": id, "task": task, "error": error, "before": before or last}
    change = admin.requeue if act == "retry" else admin.delete
    return Preview(
        kind="dead letters",
        what=what,
        messages=len(ids),
        needs=needs,
        fields=fields,
        command=view.command(command),
        back="/dead",
        apply=lambda: sum(change(ids)),
        note=note,
    )


def parked(view: View, field: GetField) -> Preview:
    """Select the parked messages of one queue and contract."""
    act, queue, contract = _act(field("act")), field("queue"), field("contract")
    if not (queue and contract):
        raise Rejected(400, "Nothing is chosen", "Choose a group on the page Parked.")
    admin = Parked(view.site.app)
    groups = admin.groups(Selection(queue=queue), [contract])
    count = sum(size.messages for size in groups.values())
    command = shlex.join(["parked", act, contract, "--queue", queue])
    note = "A worker that cannot read them parks them again." if act == "retry" else ""
    return Preview(
        kind="parked messages",
        what=f"parked messages of {contract} in {queue}",
        messages=count,
        needs={Group(queue, contract)},
        fields={"queue": queue, "act": act, "contract": contract},
        command=view.command(command),
        back="/parked",
        apply=lambda: sum(admin.release(groups, "ready" if act == "retry" else "purged")),
        note=note,
    )


def _act(word: str) -> Act:
    if word == "retry":
        return "retry"
    if word == "drop":
        return "drop"
    raise Rejected(400, "Unknown action", "It must be retry or drop.")


def permit(view: View, commands: Iterable[Sequence[str]]) -> None:
    """Raise Rejected unless changes are allowed, and the user of the server may run all commands.

    A script that is stopped in the middle would be worse than one that is not started.
    """
    if not view.site.write:
        text = "This dashboard only shows. Start it with --write, or asgi(app, write=True)."
        raise Rejected(403, "Read-only", text)
    broker = view.site.app.broker
    try:
        user = broker.call(acl.whoami())
        missing = [
            " ".join(words[:2])
            for words in commands
            if not broker.call(acl.is_allowed(user, *words))
        ]
    except ServerRefused:
        return  # this user may not read its own ACL: the server decides
    if missing:
        text = f"The user {user} of the server may not run {listed(missing)}."
        text += " docs/security.md lists what each role needs."
        raise Rejected(403, "Not permitted", text)
