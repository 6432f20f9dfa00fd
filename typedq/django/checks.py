"""The gate as a system check: `manage.py check` fails where `check-schemas` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks

from typedq.admin import schemas
from typedq.django.application import app
from typedq.errors import TypedQError

_SEE = "manage.py typedq check-schemas shows the change and what to do."
_EXPORT = "Run manage.py typedq export-schemas, and commit the files."


def add() -> None:
    """Register the check."""
    checks.register(check_contracts)


def check_contracts(**_: Any) -> list[checks.CheckMessage]:
    """Compare the contracts with the committed ones. It needs no server."""
    try:
        return list(_findings())
    except TypedQError as error:
        return [checks.Error(str(error), id="typedq.E001")]


def _findings() -> Iterator[checks.CheckMessage]:
    app.load()
    committed = schemas.read()
    if not app.tasks and not committed.histories:
        return
    found = schemas.check(app, committed)
    for verdict in found.verdicts:
        unsafe = [finding for finding in verdict.findings if finding.fails]
        if unsafe:
            text = f"The contract of task {verdict.task!r} changed in a way that is not safe."
            yield checks.Error(text, hint=_SEE, obj=verdict.task, id="typedq.E002")
        elif not verdict.exported:
            text = f"The contract of task {verdict.task!r} is not exported."
            yield checks.Warning(text, hint=_EXPORT, obj=verdict.task, id="typedq.W001")
