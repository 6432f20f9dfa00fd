"""Which of today's tasks reads a message of a given contract, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, final

import msgspec

from typedq.app import TypedQ
from typedq.broker import Broker
from typedq.broker.views import schema
from typedq.compat import compare
from typedq.errors import InvalidBody, UnknownTask
from typedq.task import Task, Upcaster

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Reading(NamedTuple):
    """A task, and what makes its arguments of a body. `decode` raises InvalidBody."""

    task: Task[..., Any]
    decode: Callable[[bytes], Arguments]


@final
class Readings:
    """Decides once per contract: equal, then an upcaster, then compatible; else not readable."""

    def __init__(self, app: TypedQ) -> None:
        self._app, self._broker = app, app.broker
        self._decided: dict[bytes, Reading | None] = {
            f"{name}@{task.contract.fingerprint}".encode(): Reading(task, task.contract.decode)
            for task in app.tasks.values()
            for name in (task.name, *task.aliases)
        }

    def of(self, contract: bytes) -> Reading | None:
        """How to read a contract, or None. Raises ServerError."""
        try:
            return self._decided[contract]
        except KeyError:
            return self._decide(contract)

    def _decide(self, contract: bytes) -> Reading | None:
        name, _, fingerprint = contract.decode().partition("@")
        try:
            task = self._app.find(name)
        except UnknownTask:
            return self._decided.setdefault(contract, None)
        for upcaster in task.upcasters:
            if upcaster.contract.fingerprint == fingerprint:
                return self._decided.setdefault(contract, Reading(task, _through(upcaster, task)))
        document = _schema(self._broker, contract.decode())
        if document is None:
            return None  # somebody may publish it yet
        reading = None
        for upcaster in task.upcasters:
            if compare(document, upcaster.contract.schema).backward:
                reading = Reading(task, _through(upcaster, task))
                break
        else:
            if compare(document, task.contract.schema).backward:
                reading = Reading(task, task.contract.decode)
        return self._decided.setdefault(contract, reading)


def _schema(broker: Broker, contract: str) -> dict[str, Any] | None:
    document = broker.call(schema(broker.keys, contract))
    try:
        return None if document is None else msgspec.json.decode(document, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _through(upcaster: Upcaster, task: Task[..., Any]) -> Callable[[bytes], Arguments]:
    def decode(body: bytes) -> Arguments:
        args, kwargs = upcaster.contract.decode(body)
        try:
            call = upcaster.fn(*args, **kwargs)
        except Exception as error:
            raise InvalidBody(
                "$", f"the upcaster failed: {type(error).__name__}: {error}"
            ) from error
        if call.task != task.name:
            raise InvalidBody("$", f"the upcaster made a call of {call.task!r}")
        return task.contract.decode(call.body)

    return decode
