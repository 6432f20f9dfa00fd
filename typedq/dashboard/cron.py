"""Cron: the entries, and to run, pause or resume one."""

from __future__ import annotations

from typing import Literal

from starlette.responses import Response

from typedq.admin.cron import CronAdmin
from typedq.broker import acl
from typedq.dashboard.changes import permit
from typedq.dashboard.view import Rejected, View


def cron(view: View) -> Response:
    """Show the cron entries: their last and next slot, and who fires them."""
    ours, seen = view.site.app.declarations.cron_entries, view.facts.seen
    changed = view.one_of(entry["name"] for entry in seen["cron"])
    return view.render("cron.html", live=True, seen=seen, ours=ours, changed=changed)


def run(view: View) -> Response:
    """Enqueue the call of an entry now."""
    app, name = view.site.app, view.text("name")
    entry = app.declarations.cron_entries.get(name)
    if entry is None:
        known = ", ".join(app.declarations.cron_entries)
        raise Rejected(404, "No such cron entry", f"This app declares {known or 'none'}.")
    queue = entry.call.options.queue or app.tasks[entry.call.task].queue
    queue = queue or app.settings.default_queue
    permit(view, acl.required_commands(app.broker.keys, "producer", queue))
    receipt = CronAdmin(app).run(name)
    view.log("cron entry run", cron=name, id=receipt.id, queue=receipt.queue)
    return view.go("/cron", act="run", done=1, of=name, sent=receipt.id)


def pause(view: View) -> Response:
    """Let no worker fire an entry."""
    return _switch(view, "pause")


def resume(view: View) -> Response:
    """Let workers fire an entry again."""
    return _switch(view, "resume")


def _switch(view: View, act: Literal["pause", "resume"]) -> Response:
    paused, name = view.site.app.broker.keys.cron_paused, view.text("name")
    permit(view, [["HGET", paused, "f"], ["HSET", paused, "f", "v"]])
    admin = CronAdmin(view.site.app)
    if name not in (known := admin.names()):
        names = ", ".join(known[:20]) or "none"
        raise Rejected(404, "No such cron entry", f"This app and its workers have {names}.")
    changed = admin.pause(name) if act == "pause" else admin.resume(name)
    view.log(f"cron entry {act}d", cron=name, changed=str(changed))
    return view.go("/cron", act=act, done=int(changed), of=name)
