"""Which live workers can read a contract, as far as can be told from here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, final

import msgspec

from typedq.app import TypedQ
from typedq.broker.views import schema
from typedq.compat import compare
from typedq.task import Task


@final
class Readers:
    """Decides as workers do. Of upcasters and former names it knows those of this app's tasks."""

    def __init__(self, app: TypedQ) -> None:
        self._broker = app.broker
        self._ours = {task.contract.id: task for task in app.tasks.values()}
        self.is_read = cache(self._is_read)  # workers are many, what they read is much the same

    def of(self, contract: str, workers: Sequence[dict[str, Any]]) -> list[str]:
        """The names of those of the workers that read a contract; each says what it `reads`."""
        return [w["name"] for w in workers if any(self.is_read(contract, r) for r in w["reads"])]

    def _is_read(self, contract: str, read: str) -> bool:
        """Whether code whose task has the contract `read` takes messages of `contract`."""
        name, task = contract.partition("@")[0], self._ours.get(read)
        names = (task.name, *task.aliases) if task else (read.partition("@")[0],)
        if name not in names or "#" in contract:  # the message is in a newer format
            return False
        if contract.partition("@")[2] == read.partition("@")[2]:
            return True
        news = self._takes(task) if task else [self._schema(read)]
        old = self._schema(contract)
        return old is not None and any(new and compare(old, new).backward for new in news)

    def _takes(self, task: Task[..., Any]) -> list[dict[str, Any] | None]:
        return [c.schema for c in (task.contract, *(each.contract for each in task.upcasters))]

    def _schema(self, contract: str) -> dict[str, Any] | None:
        document = self._broker.call(schema(self._broker.keys, contract))
        try:
            return msgspec.json.decode(document, type=dict[str, Any]) if document else None
        except msgspec.MsgspecError:
            return None  # what another producer wrote may be anything
