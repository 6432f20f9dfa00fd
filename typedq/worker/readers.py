"""Find the task that reads messages of a contract, and how: equal, upcaster or compatible."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, final

from typedq.app import TypedQ
from typedq.broker import DedicatedClient
from typedq.broker.stats import schema
from typedq.contracts import Arguments
from typedq.errors import InvalidBody, InvalidSchema, ServerUnavailable, UnknownTask
from typedq.task import Call, Task, Upcaster
from typedq.telemetry import event

RETRY_S = 60.0  # until a schema that could not be compared is read again
_MAX_DECIDED = 1_000


class ContractReader(NamedTuple):
    """A task, and how to decode its arguments from a body. `decode` raises InvalidBody.

    runs_code: decoding runs an upcaster or type of the app, which may hang or end the process
    """

    task: Task[..., Any]
    decode: Callable[[bytes], Arguments]
    runs_code: bool


@final
class ContractReaders:
    """Decides once per contract: equal, then an upcaster, then compatible; else not readable.

    An invalid schema in the registry stops no worker: its contract is unreadable for a while, one
    log line names it, and its messages are parked.
    """

    def __init__(self, app: TypedQ, client: DedicatedClient) -> None:
        self._app, self._client = app, client
        self._limits = app.settings.max_body, app.settings.max_depth
        self._own = {
            f"{name}@{task.contract.fingerprint}".encode(): _direct(task, self._limits)
            for task in app.tasks.values()
            for name in (task.name, *task.aliases)
        }
        self._decided: dict[bytes, ContractReader | None] = {}
        self._invalid: dict[bytes, float] = {}  # until when (monotonic) it is not read again

    def of(self, contract: bytes) -> ContractReader | None:
        """Return how to read a contract, or None. Raises ServerUnavailable."""
        if reader := self._own.get(contract):
            return reader
        if contract in self._decided:
            return self._decided[contract]
        if time.monotonic() < self._invalid.get(contract, 0.0):
            return None
        return self._decide(contract)

    def _decide(self, contract: bytes) -> ContractReader | None:
        name, _, fingerprint = contract.decode().partition("@")
        try:
            task = self._app.declarations.find(name)
        except UnknownTask:
            return None  # not remembered: there may be any number of unknown names
        for upcaster in task.upcasters:
            if upcaster.contract.fingerprint == fingerprint:
                return self._remember(contract, _upcasting(upcaster, task, self._limits))
        try:
            document = self._client.call(schema(self._client.keys, contract.decode()))
            if document is None:
                return None  # a producer may still publish it
            reader, why_not = _choose(document, task, self._limits)
        except ServerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what others wrote may be anything
            self._mark_invalid(contract, error)
            return None
        if why_not:
            _log_invalid(contract, why_not)
        return self._remember(contract, reader)

    def _remember(self, contract: bytes, reader: ContractReader | None) -> ContractReader | None:
        if len(self._decided) >= _MAX_DECIDED:
            self._decided.clear()
        self._decided[contract] = reader
        return reader

    def _mark_invalid(self, contract: bytes, error: BaseException) -> None:
        if contract not in self._invalid:
            _log_invalid(contract, str(error) if isinstance(error, InvalidSchema) else repr(error))
        if len(self._invalid) >= _MAX_DECIDED:
            self._invalid.clear()
        self._invalid[contract] = time.monotonic() + RETRY_S


def _log_invalid(contract: bytes, why: str) -> None:
    text = "published schema cannot be compared; its messages are parked"
    event(logging.WARNING, text, contract=contract.decode(), why=why[:200])


def _choose(
    document: bytes, task: Task[..., Any], limits: tuple[int, int]
) -> tuple[ContractReader | None, str]:
    """Choose the upcaster or contract that drops the fewest values, upcasters first.

    An upcaster whose fields all have defaults also reads a *newer* contract, and drops it all.
    """
    from typedq.compat import compare, read_schema  # late: most workers read no other contract

    published = read_schema(document)
    readers = [(u.contract.schema, _upcasting(u, task, limits)) for u in task.upcasters]
    readers.append((task.contract.schema, _direct(task, limits)))
    compared = [(compare(published, schema), reader) for schema, reader in readers]
    readable = [
        (sum(change.rule == "VALUE_DROPPED" for change in found.changes), place, reader)
        for place, (found, reader) in enumerate(compared)
        if found.backward
    ]
    if readable:
        return min(readable)[2], ""
    changes = (change for found, _ in compared for change in found.changes)
    return None, next((c.message for c in changes if c.rule == "CANNOT_COMPARE"), "")


def _direct(task: Task[..., Any], limits: tuple[int, int]) -> ContractReader:
    return ContractReader(task, task.contract.decoder(*limits), task.contract.runs_code)


def _upcasting(upcaster: Upcaster, task: Task[..., Any], limits: tuple[int, int]) -> ContractReader:
    decode_old = upcaster.contract.decoder(*limits)

    def decode(body: bytes) -> Arguments:
        args, kwargs = decode_old(body)
        try:
            call: Any = upcaster.fn(*args, **kwargs)
        except BaseException as error:  # SystemExit, too: it would end one child after another
            why = f"the upcaster failed: {type(error).__name__}: {error}"
            raise InvalidBody("$", upcaster.contract.without_secrets(why, body)) from error
        if not isinstance(call, Call):
            raise InvalidBody("$", f"the upcaster made no call, but {type(call).__name__}")
        if call.task != task.name:
            raise InvalidBody("$", f"the upcaster made a call of {call.task!r}")
        return task.contract.decode(call.body, *limits)

    return ContractReader(task, decode, runs_code=True)
