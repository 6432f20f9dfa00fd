"""A task with a body of any size."""

from __future__ import annotations

from tests.faults.app import note
from typedq import Context, TypedQ


def declare(app: TypedQ) -> None:
    @app.task
    def bulk(ctx: Context, text: str) -> None:
        note(ctx, "start")
        note(ctx, "end")
