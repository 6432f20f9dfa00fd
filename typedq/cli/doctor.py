"""`typedq doctor`: whether the server is fit for the job, and what waits there gets done."""

from __future__ import annotations

import typer

from typedq.cli.application import AsJson, Placed
from typedq.cli.console import Loud, console, table, tell_json


def doctor(app: Placed, json: AsJson = False) -> None:
    """Examine the server and what waits on it; exit code 1 if there is a problem."""
    from typedq.cli.examination import examine

    loaded = app.load()
    found = list(examine(loaded))
    bad = any(finding.level == "problem" for finding in found)
    if json:
        facts = [finding._asdict() for finding in found]
        tell_json({"url": loaded.broker.url, "healthy": not bad, "findings": facts})
    else:
        rows = [(f.check, f.level if f.level == "ok" else Loud(f.level), f.found) for f in found]
        console().print(table("check, level, found", rows))
        todo = [(f.check, f.fix) for f in found if f.level != "ok" and f.fix]
        if todo:
            console().print("", table("check, what to do", todo))
    raise typer.Exit(1 if bad else 0)
