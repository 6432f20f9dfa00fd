"""`typedq server`: the embedded server of this project."""

from __future__ import annotations

from pathlib import Path

import typer

from typedq.addresses import project
from typedq.admin.messages import age
from typedq.cli.application import AppOptions, AsJson
from typedq.cli.console import print_json, print_line

_NONE = "no embedded server is running for this project; a worker or an enqueue starts one"


def status(app: AppOptions, json: AsJson = False) -> None:
    """Show URL, data directory and log of the server. Exit code 1 if it is not running."""
    from typedq.embedded import status

    found = status(_namespace(app))
    if json:
        names = ("url", "pid", "version", "uptime", "directory", "log")
        about = {name: getattr(found, name) for name in names} if found else {}
        paths = {name: str(value) for name, value in about.items() if isinstance(value, Path)}
        print_json({"running": found is not None, **about, **paths})
    elif found:
        print_line(f"running for {age(found.uptime)}: version {found.version}, pid {found.pid}")
        for name, place in (("url", found.url), ("data", found.directory), ("log", found.log)):
            print_line(f"  {name:<4}  {place}")
    else:
        print_line(_NONE)
    raise typer.Exit(0 if found else 1)


def stop(app: AppOptions) -> None:
    """Stop the server; its data stays on disk. Exit code 1 if it was not running."""
    from typedq.embedded import stop

    stopped = stop(_namespace(app))
    print_line("stopped; its data stays on disk" if stopped else _NONE)
    raise typer.Exit(0 if stopped else 1)


def _namespace(app: AppOptions) -> str:
    """Return "" in a project, which has one server; otherwise the namespace, which then has one."""
    return "" if project() is not None else app.load().settings.namespace
