"""The commands that findings and pages tell the user to run."""

from __future__ import annotations

import shlex

from typedq.app import TypedQ


def with_app(app: TypedQ, command: str) -> str:
    """Return a command of typedq with the app, if the app was an argument of this process.

    If TYPEDQ_APP names it, the command needs no app. Other texts are returned as they are.
    """
    path = app.declarations.app_path
    if not path or not command.startswith("typedq "):
        return command
    option = "" if command.startswith("typedq worker") else "-A "
    return f"{command} {option}{shlex.quote(path)}"
