"""Tasks whose code is elsewhere: they are enqueued from here, and never run here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Unpack, cast, final, get_origin

import msgspec

from typedq.contracts import MAX_DEPTH, Contract, Json
from typedq.contracts.contract import MAX_BODY
from typedq.contracts.dialect import Unsupported
from typedq.contracts.signature import Parameter, TaskSignature, read_signature
from typedq.errors import ContractError, InvalidArguments
from typedq.policy import Context, Options
from typedq.task import Enqueuer, P, Sender

_PAYLOAD = Parameter("payload", Json, inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.empty)
_TAKES_JSON = TaskSignature((_PAYLOAD,), Json, True, False, False, "(payload: Json, /)")
_FORMS = (
    "contract= takes the type of the payload (a Struct, dataclass, TypedDict, attrs class or"
    " model), a function with the parameters of the task, or its JSON Schema as a dict"
)


class RemoteTask(Sender[P]):
    """A task that another code base runs. `queue`: its name, or None for the app's default."""

    def __init__(self, contract: Contract, enqueuer: Enqueuer, *, queue: str | None) -> None:
        super().__init__(contract, enqueuer)
        self.queue: Final = queue

    def options(self, **options: Unpack[Options]) -> Sender[P]:
        """Return a sender whose calls have these options. Raises InvalidOptions."""
        return self._with(options)

    def __repr__(self) -> str:
        return f"<RemoteTask {self.name}{self.contract.signature}>"


@final
class JsonContract(Contract):
    """A contract known by its schema alone; a call takes its payload as one JSON value.

    What the schema surely refuses is refused here. What it leaves open, such as checks that are
    code, the worker decides.
    """

    def __init__(self, task: str, schema: Mapping[str, Any]) -> None:
        from typedq.compat.validation import SchemaValidator  # not in every worker

        plain = {key: value for key, value in schema.items() if key != "x-typedq"}
        try:
            self._validator = SchemaValidator(plain)
        except Unsupported as error:
            raise ContractError(task, None, f"its schema cannot be used: {error}") from None
        super().__init__(_TAKES_JSON, task, plain)

    def encode(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        max_body: int = MAX_BODY,
        max_depth: int = MAX_DEPTH,
    ) -> bytes:
        body = super().encode(args, kwargs, max_body, max_depth)
        if (path := self._validator.refused_path(msgspec.json.decode(body))) is not None:
            raise InvalidArguments(self.task, path, "the schema of the contract refuses it")
        return body


def remote_contract(task: str, contract: Any, schema: Mapping[str, Any] | None = None) -> Contract:
    """Return the contract of a remote task: of a type, a function, or a schema.

    schema: that of the owner, which reads all that `contract` writes
    Raises ContractError.
    """
    if isinstance(contract, Mapping):
        if schema is not None:
            raise ContractError(task, None, "contract= is a schema already; leave schema= out")
        return JsonContract(task, cast("Mapping[str, Any]", contract))
    strange = callable(contract) and not (
        inspect.isfunction(contract) or isinstance(contract, type) or get_origin(contract)
    )
    if strange or isinstance(contract, str | bytes) or contract is None:
        raise ContractError(task, None, f"{contract!r:.80} is no contract; {_FORMS}")
    signature = _signature(task, contract, schema)
    if signature.takes_context:
        raise ContractError(task, None, "a remote task has no context here; leave it out")
    made = Contract(signature, task)
    if schema is None:
        return made
    _check_read(made, schema)
    return Contract(signature, task, {k: v for k, v in schema.items() if k != "x-typedq"})


def _signature(task: str, contract: Any, schema: Mapping[str, Any] | None) -> TaskSignature:
    if inspect.isfunction(contract):
        return read_signature(contract, task=task, context=Context)

    def stub(payload: Any, /) -> None: ...

    stub.__annotations__ = {"payload": contract}
    signature = read_signature(stub, task=task, context=Context)
    if signature.lone:
        return signature
    if schema is None:
        raise ContractError(task, None, f"{contract!r:.80} is no record; {_FORMS}")
    # The schema says that the payload is no object of parameters.
    return replace(signature, payload=signature.parameters[0].kind, lone=True)


def _check_read(made: Contract, schema: Mapping[str, Any]) -> None:
    from typedq.compat import compare  # not in every producer

    verdict = compare(made.schema, schema)
    if not verdict.backward:
        change = next(change for change in verdict.changes if not change.backward)
        reason = f"the schema does not read all that its types write: {change.message}"
        raise ContractError(made.task, None, f"{reason} - at {change.path}")
