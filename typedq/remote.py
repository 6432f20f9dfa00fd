"""Tasks whose code is elsewhere: they are enqueued from here, and never run here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final, Unpack, cast, final

import msgspec

from typedq.contracts import MAX_DEPTH, Contract, Json, contract_of
from typedq.contracts.contract import MAX_BODY
from typedq.contracts.dialect import Unsupported
from typedq.contracts.signature import Parameter, TaskSignature
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
        if (path := self._validator.refused(msgspec.json.decode(body))) is not None:
            raise InvalidArguments(self.task, path, "the schema of the contract refuses it")
        return body


def remote_contract(task: str, contract: Any) -> Contract:
    """Return the contract of a remote task: of a type, a function, or a schema.

    Raises ContractError.
    """
    if isinstance(contract, Mapping):
        return JsonContract(task, cast("Mapping[str, Any]", contract))
    if isinstance(contract, str | bytes) or contract is None:
        raise ContractError(task, None, f"{contract!r:.80} is no contract; {_FORMS}")
    stub = contract
    if not inspect.isfunction(contract):

        def stub(payload: Any, /) -> None: ...

        stub.__annotations__ = {"payload": contract}
    made = contract_of(stub, task=task, context=Context)
    if made.takes_context:
        raise ContractError(task, None, "a remote task has no context here; leave it out")
    if stub is not contract and not made.takes_payload:
        raise ContractError(task, None, f"{contract!r:.80} is no record; {_FORMS}")
    return made
