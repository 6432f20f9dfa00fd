"""An app with a task for every payload; each task checks that its argument arrived as it was."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import typedq
from tests.contracts.models import msgspec_payloads, pydantic_payloads, standard_payloads

EXAMPLES: list[tuple[Any, Any]] = [
    *pydantic_payloads.EXAMPLES,
    *msgspec_payloads.EXAMPLES,
    *standard_payloads.EXAMPLES,
]
app = typedq.TypedQ(os.environ.get("TYPEDQ_TEST_NAMESPACE", "models"))


def _task(number: int, kind: Any, expected: Any) -> Callable[[Any], None]:
    def check(payload: Any) -> None:
        if payload != expected or type(payload) is not type(expected):
            raise AssertionError(f"{payload!r} is not {expected!r}")
        with pathlib.Path(os.environ["TYPEDQ_TEST_LOG"]).open("a") as log:
            log.write(f"{number}\n")

    check.__annotations__["payload"] = kind
    return check


TASKS = [
    app.task(name=f"task{number}")(_task(number, kind, value))
    for number, (kind, value) in enumerate(EXAMPLES)
]
