"""The commands that findings and pages tell the user to run."""

from __future__ import annotations

import shlex

from typedq.app import TypedQ


def with_app(app: TypedQ, command: str) -> str:
    """Return a command of typedq with the app, if it was given to this process as a word.

    Whoever sets TYPEDQ_APP need not repeat it. A text that is no such command stays as it is.
    """
    given = app.declarations.given
    if not given or not command.startswith("typedq "):
        return command
    option = "" if command.startswith("typedq worker") else "-A "
    return f"{command} {option}{shlex.quote(given)}"
