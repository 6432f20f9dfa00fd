"""`typedq doctor`: check the server, the workers and the waiting messages."""

from __future__ import annotations

import typer

from typedq.cli.application import AppOrArgument, AsJson
from typedq.cli.console import Warn, console, print_json, table


def doctor(app: AppOrArgument, json: AsJson = False) -> None:
    """Check server, workers and waiting messages; print what to fix. Exit code 1: problems."""
    loaded = app.load()
    from typedq.admin.doctor import examine

    found = list(examine(loaded))
    bad = any(finding.level == "problem" for finding in found)
    if json:
        facts = [finding._asdict() for finding in found]
        print_json({"url": loaded.broker.url, "healthy": not bad, "findings": facts})
    else:
        rows = [(f.check, f.level if f.level == "ok" else Warn(f.level), f.found) for f in found]
        console().print(table("check, level, found", rows))
        todo = [(f.check, f.fix) for f in found if f.level != "ok" and f.fix]
        if todo:
            console().print("", table("check, what to do", todo))
    raise typer.Exit(1 if bad else 0)
