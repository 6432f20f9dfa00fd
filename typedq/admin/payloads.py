"""Show the arguments of messages, with their secrets masked."""

from __future__ import annotations

from typing import Any, final

from typedq.app import TypedQ
from typedq.broker import stats
from typedq.broker.script import text
from typedq.compat import read_schema
from typedq.contracts import MASK, mask
from typedq.errors import InvalidSchema, UnknownTask


@final
class Payloads:
    """Shows the arguments of messages, with their secrets masked.

    secrets: if true, show them unmasked
    """

    def __init__(self, app: TypedQ, *, secrets: bool = False) -> None:
        self._app, self._secrets = app, secrets
        tasks = app.tasks.values()
        own = [(name, task.contract) for task in tasks for name in (task.name, *task.aliases)]
        own += [(task.name, old.contract) for task in tasks for old in task.upcasters]
        self._schemas: dict[str, dict[str, Any] | None] = {
            f"{name}@{contract.fingerprint}": contract.schema for name, contract in own
        }

    def __call__(self, body: bytes, contract: str | None) -> str:
        """Return the arguments as text; `contract` is None for malformed messages."""
        if self._secrets:
            return text(body)
        if contract is None:
            return MASK
        if contract not in self._schemas:
            self._schemas[contract] = self._published(contract)
        try:
            today = [self._app.declarations.find(contract.partition("@")[0]).contract.schema]
        except UnknownTask:
            today = []
        return mask(body, self._schemas[contract], *today)

    def _published(self, contract: str) -> dict[str, Any] | None:
        document = self._app.broker.call(stats.schema(self._app.broker.keys, contract))
        try:
            return None if document is None else read_schema(document)
        except InvalidSchema:
            return None
