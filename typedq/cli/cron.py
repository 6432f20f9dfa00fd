"""`typedq cron`: list, run, pause and resume cron entries."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, BadParameter, Option

from typedq.admin.messages import age, iso
from typedq.app import TypedQ
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import Columns, Row, Warn, plural, print_json, print_line, print_rows
from typedq.errors import meant

if TYPE_CHECKING:
    from typedq.admin.cron import CronAdmin

Name = Annotated[str, Argument(metavar="NAME", help="As `typedq cron list` shows it.")]
_NAMESPACE_HELP = (
    "Without an app: read what workers have published on the server of TYPEDQ_URL. "
    "\\[default: TYPEDQ_NAMESPACE, if no app is given]"
)


@dataclass(frozen=True)
class AppOrNamespace(AppOptions):
    """Options of a command that knows less without the app, and works."""

    namespace: Annotated[str, Option(metavar="NAME", help=_NAMESPACE_HELP, show_default=False)] = ""

    def admin(self) -> CronAdmin:
        """Return what acts on the entries. Raises ConfigurationError."""
        if self.namespace and self.app:
            raise BadParameter("give it or the app, not both", param_hint="--namespace")
        usual = "" if self.path else os.environ.get("TYPEDQ_NAMESPACE", "")
        namespace = self.namespace or usual
        app = TypedQ(namespace) if namespace else self.load()
        from typedq.admin.cron import CronAdmin

        return CronAdmin(app)


def list_(*, json: AsJson = False, app: AppOrNamespace) -> None:
    """List cron entries: schedule, last and next slot, and who fires them.

    It lists the entries of the app and of live workers, and all paused ones.
    """
    none = "no live worker has cron entries, and none is paused"
    print_rows(app.admin().rows(), SHOWN, as_json=json, none=none)


def run(name: Name, *, json: AsJson = False, app: AppOptions) -> None:
    """Enqueue the call of an entry now, once. Its schedule does not change.

    A paused entry runs, too. As on schedule, the options of the call apply, and `on_enqueue` hooks
    do not run.
    """
    loaded = app.load()
    from typedq.admin.cron import CronAdmin

    _check(name, sorted(loaded.declarations.cron_entries), "this app has")
    receipt = CronAdmin(loaded).run(name)
    if json:
        about = {"id": receipt.id, "cron": name, "task": receipt.task, "queue": receipt.queue}
        print_json(about | {"due": iso(receipt.due)})
    else:
        print_line(f"{receipt.id} {receipt.task} in {receipt.queue}, for the cron entry {name}")


def pause(name: Name, *, json: AsJson = False, app: AppOrNamespace) -> None:
    """Stop workers from firing an entry until it is resumed. Slots that pass are skipped."""
    _switch(app.admin(), name, "pause", as_json=json)


def resume(name: Name, *, json: AsJson = False, app: AppOrNamespace) -> None:
    """Let workers fire a paused entry again, from its next slot on."""
    _switch(app.admin(), name, "resume", as_json=json)


def _switch(admin: CronAdmin, name: str, act: Literal["pause", "resume"], *, as_json: bool) -> None:
    _check(name, admin.names(), "the server and the app know")
    changed = admin.pause(name) if act == "pause" else admin.resume(name)
    if as_json:
        print_json({"name": name, "paused": act == "pause", "changed": changed})
    elif changed:
        print_line(f"{name} is {act}d")
    else:
        print_line(f"{name} was {'paused already' if act == 'pause' else 'not paused'}")


def _check(name: str, known: list[str], who: str) -> None:
    if name not in known:
        names = f"{who}: {', '.join(known)}" if known else f"{who} none"
        hint = "" if known else "; give the app that declares it with -A"
        text = f"no cron entry named {name!r}{meant(name, known)}; {names}{hint}"
        raise BadParameter(text, param_hint="NAME")


def _fired_by(row: Row) -> str:
    count = len(row["fired_by"])
    return plural(count, "worker") if count else Warn("nobody")


SHOWN: Columns = {
    "cron": lambda c: Warn(f"{c['name']} (paused)") if c["paused"] else c["name"],
    "task": "task",
    "when": lambda c: f"{c['expression']} {c['tz']}" if c["expression"] else None,
    "last": "last",
    "next": "next",
    "in": lambda c: age(c["next_s"]),
    "fired by": _fired_by,
}
