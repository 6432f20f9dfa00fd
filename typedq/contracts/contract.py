"""The contract of one task: its parameters, their encoding, schema and fingerprint."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from types import NoneType
from typing import Any, get_args

import msgspec

from typedq.contracts.canonical import PLAIN_LIMITS, fingerprint
from typedq.contracts.codec import Codec
from typedq.contracts.encoded_types import encoded_type
from typedq.contracts.inhabited import dead_end
from typedq.contracts.json_tree import NotJson, check_json
from typedq.contracts.schema import document
from typedq.contracts.secrets import explain, without_secrets
from typedq.contracts.signature import Parameter, TaskSignature, read_signature
from typedq.contracts.type_tree import NoSchema
from typedq.errors import ContractError, InvalidArguments, InvalidBody, nearest

# Types with values that cannot be sent: NaN, infinity, a local time with fold=1.
_WITH_ODD_VALUES = frozenset((float, Decimal, dt.datetime, dt.time))
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a call: positional, by keyword
MAX_BODY = 1 << 20  # bytes
MAX_DEPTH = 64


def contract_of(fn: Callable[..., Any], *, task: str, context: type) -> Contract:
    """Return the contract of `fn`. `context` is the class that a task may take first.

    Raises `ContractError`.
    """
    return Contract(read_signature(fn, task=task, context=context), task)


class Contract:
    """What a task accepts. Built once, when the task is defined; attributes are read-only.

    Fields: `task` (name), `fingerprint` (16 hex digits), `id` (`task@fingerprint`), `schema` (a
    standalone JSON Schema 2020-12 document), `takes_context`, `is_async`, `signature` (for people),
    `runs_code` (`decode` runs code of the types, which may hang or end the process).
    `takes_payload` (a call takes the whole payload as its one positional argument).
    `max_body` is in bytes, `max_depth` in levels of nesting; both come from the app's settings.
    """

    def __init__(
        self, signature: TaskSignature, task: str, schema: dict[str, Any] | None = None
    ) -> None:
        """`schema`: of the payload, if not that of its type."""
        self.task = task
        self.takes_context, self.is_async = signature.takes_context, signature.is_async
        self.signature = signature.text
        self.schema = schema or _document(signature, task)
        self.fingerprint = fingerprint(self.schema)
        self.id = f"{task}@{self.fingerprint}"
        self._codec = Codec(signature.payload)
        self.runs_code = self._codec.runs_code
        self._payload, self._lone = signature.payload, signature.lone
        self._parameters = {p.name: p for p in signature.parameters}
        by_place = [p for p in signature.parameters if p.place is not p.place.KEYWORD_ONLY]
        self._positional = tuple(p.name for p in by_place)
        self._by_keyword = tuple(n for n in self._parameters if n not in self._positional)
        self._positional_only = {p.name for p in by_place if p.place is p.place.POSITIONAL_ONLY}
        self.takes_payload = self._lone and bool(self._positional)
        _check_defaults(signature.parameters, task)

    def __repr__(self) -> str:
        return f"<Contract {self.id} {self.signature}>"

    def encode(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        max_body: int = MAX_BODY,
        max_depth: int = MAX_DEPTH,
    ) -> bytes:
        """Return the body of a call; `decode` restores it unchanged. Raises `InvalidArguments`."""
        whole = self.takes_payload and len(args) == 1 and not kwargs
        payload = args[0] if whole else self._bind(args, kwargs)
        try:
            return self._codec.write(payload, max_body, max_depth)
        except InvalidBody as error:
            shown = explain(self.schema, error, lambda: self._codec.encoded(payload))
            # Not if `explain` replaced it: its text may quote a secret.
            cause = error if shown is error else None
        raise InvalidArguments(self.task, shown.path, shown.reason) from cause

    def decode(
        self, body: bytes, max_body: int = MAX_BODY, max_depth: int = MAX_DEPTH
    ) -> Arguments:
        """Return the arguments of a call, without the context. Raises `InvalidBody`."""
        return self.decoder(max_body, max_depth)(body)

    def decoder(self, max_body: int, max_depth: int) -> Callable[[bytes], Arguments]:
        """Return `decode` with its limits bound, to decode many bodies."""
        read, takes_payload = self._codec.reader(max_body, max_depth), self.takes_payload

        def decode(body: bytes) -> Arguments:
            try:
                payload = read(body)
            except InvalidBody as error:
                shown = explain(self.schema, error, lambda: body)
                if shown is error:
                    raise
            else:
                return ((payload,), {}) if takes_payload else self._arguments(payload)
            raise shown

        return decode

    def without_secrets(self, text: str, body: bytes) -> str:
        """Return a text about a body, or a replacement if it quotes a secret of the body."""
        return without_secrets(self.schema, text, body)

    def _arguments(self, payload: Any) -> Arguments:
        if self._lone:
            return (), {self._by_keyword[0]: payload}
        return (
            tuple([getattr(payload, name) for name in self._positional]),
            {name: getattr(payload, name) for name in self._by_keyword},
        )

    def schema_json(self) -> bytes:
        """Return the schema as compact JSON, keys sorted."""
        return msgspec.json.encode(self.schema, order="sorted")

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        positional = self._positional
        if len(args) > len(positional):
            count = f"takes {len(positional)} positional argument(s), got {len(args)}"
            raise InvalidArguments(self.task, "$", count)
        given = dict(zip(positional, args, strict=False))
        for name in kwargs:
            if name in given or name not in self._parameters or name in self._positional_only:
                raise self._unexpected(name)
        given |= kwargs
        for name, parameter in self._parameters.items():
            if parameter.required and name not in given:
                raise InvalidArguments(self.task, f"$.{name}", "missing required argument")
        return next(iter(given.values())) if self._lone else self._payload(**given)

    def _unexpected(self, name: str) -> InvalidArguments:
        reason = "unexpected argument"
        if name in self._positional_only:
            reason = "is positional-only"
        elif name in self._parameters:
            reason = "given twice, by position and by name"
        elif near := nearest(name, self._parameters):
            reason += f"; did you mean {near!r}?"
        return InvalidArguments(self.task, f"$.{name}", reason)


def _document(signature: TaskSignature, task: str) -> dict[str, Any]:
    only = signature.parameters[0].name if len(signature.parameters) == 1 else None
    try:
        schema = document(signature.payload, payload=None if signature.lone else "parameters")
        if (path := dead_end(schema)) is not None:
            raise NoSchema(path, "no value fits its type, so it could never be sent; loosen it")
    except NoSchema as error:
        parameter = only or error.path.removeprefix("$.").partition(".")[0].partition("[")[0]
        raise ContractError(task, parameter, str(error)) from error
    members: dict[str, Any] = {} if only else schema.get("properties", {})
    for name, part in [*members.items(), (only, schema)]:
        try:
            check_json(part, PLAIN_LIMITS)
        except NotJson as error:
            reason = f"its JSON Schema could not be written, because {error}; leave that out"
            raise ContractError(task, name, reason) from None
    return schema


def _check_defaults(parameters: tuple[Parameter, ...], task: str) -> None:
    """Reject a default that its own type rejects, of a parameter or of a record in one."""
    for parameter in parameters:
        if not parameter.required:
            _check_default(task, parameter.name, "$", parameter.kind, parameter.default)
        for path, kind, default in encoded_type(parameter.kind).defaults:
            _check_default(task, parameter.name, path, kind, default)


def _check_default(task: str, parameter: str, path: str, kind: Any, default: Any) -> None:
    if default is msgspec.UNSET or _is_optional_none(kind, default):
        return
    if type(default) is kind and kind not in _WITH_ODD_VALUES:
        return
    try:
        Codec(kind).write(default, MAX_BODY, MAX_DEPTH)
    except InvalidBody as error:
        place = path + error.path.removeprefix("$")
        reason = f"its type refuses its default {default!r}: {error.reason} - at {place}"
        raise ContractError(task, parameter, reason) from error


def _is_optional_none(kind: Any, default: Any) -> bool:
    return default is None and any(part in (None, NoneType) for part in get_args(kind))
