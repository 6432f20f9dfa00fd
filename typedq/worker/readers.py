"""Which of today's tasks reads a message of a given contract, and how."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, final

import msgspec

from typedq.app import TypedQ
from typedq.broker import Broker
from typedq.broker.stats import schema
from typedq.errors import InvalidBody, UnknownTask
from typedq.task import Call, Task, Upcaster
from typedq.telemetry import event
from typedq.worker.delivery import Arguments


class ContractReader(NamedTuple):
    """A task, and what makes its arguments of a body. `decode` raises InvalidBody.

    upcasts: it runs an upcaster, which is the app's code and may hang or end the process
    """

    task: Task[..., Any]
    decode: Callable[[bytes], Arguments]
    upcasts: bool = False


@final
class ContractReaders:
    """Decides once per contract: equal, then an upcaster, then compatible; else not readable."""

    def __init__(self, app: TypedQ) -> None:
        self._app, self._broker = app, app.broker
        for task in app.tasks.values():
            task.bound(*app.limits())
        self._decided: dict[bytes, ContractReader | None] = {
            f"{name}@{task.contract.fingerprint}".encode(): ContractReader(
                task, task.contract.decode
            )
            for task in app.tasks.values()
            for name in (task.name, *task.aliases)
        }

    def of(self, contract: bytes) -> ContractReader | None:
        """How to read a contract, or None. Raises ServerError."""
        try:
            return self._decided[contract]
        except KeyError:
            return self._decide(contract)

    def _decide(self, contract: bytes) -> ContractReader | None:
        name, _, fingerprint = contract.decode().partition("@")
        try:
            task = self._app.find(name)
        except UnknownTask:
            return None  # not remembered: strangers can make up as many names as they like
        for upcaster in task.upcasters:
            if upcaster.contract.fingerprint == fingerprint:
                return self._decided.setdefault(contract, _through(upcaster, task))
        document = _schema(self._broker, contract.decode())
        if document is None:
            return None  # somebody may publish it yet
        return self._decided.setdefault(contract, _best(contract, document, task))


def _schema(broker: Broker, contract: str) -> dict[str, Any] | None:
    document = broker.call(schema(broker.keys, contract))
    try:
        return None if document is None else msgspec.json.decode(document, type=dict[str, Any])
    except (ValueError, RecursionError):  # what another producer wrote may be anything
        return None


def _best(contract: bytes, document: dict[str, Any], task: Task[..., Any]) -> ContractReader | None:
    """An upcaster or today's contract: what drops the fewest values; upcasters come first.

    Where all members have defaults, an upcaster would take a *newer* contract too, and lose it all.
    """
    from typedq.compat import compare  # most workers never meet another contract

    ways = [(u.contract.schema, _through(u, task)) for u in task.upcasters]
    ways.append((task.contract.schema, ContractReader(task, task.contract.decode)))
    try:
        compared = [(compare(document, schema), way) for schema, way in ways]
    except Exception as error:  # noqa: BLE001 - nor may it be a schema
        name = contract.decode()
        event(logging.WARNING, "a published schema makes no sense", contract=name, why=repr(error))
        return None
    readable = [
        (sum(change.rule == "VALUE_DROPPED" for change in found.changes), place, way)
        for place, (found, way) in enumerate(compared)
        if found.backward
    ]
    return min(readable)[2] if readable else None


def _through(upcaster: Upcaster, task: Task[..., Any]) -> ContractReader:
    def decode(body: bytes) -> Arguments:
        args, kwargs = upcaster.contract.decode(body)
        try:
            call: Any = upcaster.fn(*args, **kwargs)
        except BaseException as error:  # SystemExit, too, would end the child, and the next one
            raise InvalidBody(
                "$", f"the upcaster failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(call, Call):
            raise InvalidBody("$", f"the upcaster made no call, but {type(call).__name__}")
        if call.task != task.name:
            raise InvalidBody("$", f"the upcaster made a call of {call.task!r}")
        return task.contract.decode(call.body)

    return ContractReader(task, decode, upcasts=True)
