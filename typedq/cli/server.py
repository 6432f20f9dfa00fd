"""`typedq server`: the embedded server of this project."""

from __future__ import annotations

from pathlib import Path

import typer

from typedq.addresses import project
from typedq.cli.application import HERE, AppDir, AppOption, AsJson, load
from typedq.cli.console import age, say, tell_json

program = typer.Typer(
    help="The embedded server of this project.",
    epilog="Example: typedq server status",
    no_args_is_help=True,
)
_NONE = "no embedded server runs for this project; a worker or an enqueue starts it"


@program.command(epilog="Example: typedq server status --json")
def status(app: AppOption = None, app_dir: AppDir = HERE, json: AsJson = False) -> None:
    """Say where it runs; exit code 1 if it does not."""
    from typedq.localserver import status

    found = status(_namespace(app, app_dir))
    if json:
        facts = ("url", "pid", "version", "uptime", "directory", "log")
        about = {name: getattr(found, name) for name in facts} if found else {}
        paths = {name: str(value) for name, value in about.items() if isinstance(value, Path)}
        tell_json({"running": found is not None, **about, **paths})
    elif found:
        say(f"running for {age(found.uptime)}: version {found.version}, pid {found.pid}")
        say(f"  url   {found.url}")
        say(f"  data  {found.directory}")
        say(f"  log   {found.log}")
    else:
        say(_NONE)
    raise typer.Exit(0 if found else 1)


@program.command(epilog="Example: typedq server stop")
def stop(app: AppOption = None, app_dir: AppDir = HERE) -> None:
    """Stop it; what it holds is kept. Exit code 1 if it was not running."""
    from typedq.localserver import stop

    stopped = stop(_namespace(app, app_dir))
    say("stopped; what it held is kept on disk" if stopped else _NONE)
    raise typer.Exit(0 if stopped else 1)


def _namespace(app: str | None, app_dir: Path) -> str:
    """The server belongs to the project; only where there is none, to the app's namespace."""
    return "" if project() is not None else load(app, app_dir).settings.namespace
