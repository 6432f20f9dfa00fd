"""Secrets: marked in the schema, outside of the fingerprint, hidden wherever a payload is shown."""

from __future__ import annotations

import enum
import json
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import field, make_dataclass
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict, cast

import attrs
import msgspec
import pytest
from pydantic import AfterValidator, BaseModel, EmailStr, Field, create_model, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

import typedq
from typedq.compat import compare
from typedq.contracts import Contract, contract_of, mask
from typedq.errors import ContractError, InvalidArguments, InvalidBody
from typedq.policy import Context

CANARY = "hunter2-c4n4ry"
Make = Callable[[Any], Any]  # a type -> the same, or the same as a secret


def contract(fn: Callable[..., Any]) -> Contract:
    return contract_of(fn, task="t", context=Context)


def of(*kinds: Any) -> Contract:
    """The contract of a task with these parameters: a, b, ..."""

    def task(*_: Any) -> None: ...

    import inspect

    names = "abcdefgh"[: len(kinds)]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
        for name, kind in zip(names, kinds, strict=True)
    ]
    cast("Any", task).__signature__ = inspect.Signature(parameters)
    return contract(task)


# As values, so that a type checker does not read them.
LIST: Any = list
DICT: Any = dict
TUPLE: Any = tuple
SET: Any = set
DEQUE: Any = deque


class Color(enum.Enum):
    RED = "red"


def struct(s: Make) -> Any:
    return msgspec.defstruct("St", [("to", str), ("pin", s(str)), ("n", s(int), 1)])


def tagged(s: Make) -> Any:
    card = msgspec.defstruct("Card", [("number", s(str))], tag="card", rename="camel")
    cash = msgspec.defstruct("Cash", [("amount", int)], tag="cash")
    return card | cash


def plain_dataclass(s: Make) -> Any:
    more: Any = ("old", LIST[s(str)], field(default_factory=list))
    return make_dataclass("Login", [("user", str), ("password", s(str)), more])


def typed_dict(s: Make) -> Any:
    make: Any = TypedDict
    return make("T", {"user": str, "key": s(str), "more": NotRequired[s(str)]})


def named_tuple(s: Make) -> Any:
    make: Any = NamedTuple
    return make("N", [("user", str), ("key", s(str))])


def attrs_class(s: Make) -> Any:
    return attrs.make_class("A", {"user": attrs.field(type=str), "key": attrs.field(type=s(str))})


def model(s: Make) -> Any:
    inner = create_model("Inner", key=(s(str), ...))
    make: Any = create_model
    return make(
        "Model",
        user=(str, ...),
        key=(s(str), Field(alias="Key")),
        maybe=(s(str) | None, None),
        many=(LIST[s(str)], []),
        inner=(s(inner) | None, None),
    )


def pydantic_record(s: Make) -> Any:
    return pydantic_dataclass(make_dataclass("Record", [("user", str), ("key", s(str))]))


KINDS: dict[str, Callable[[Make], Any]] = {
    **{each.__name__: each for each in (struct, tagged, plain_dataclass, typed_dict)},
    **{each.__name__: each for each in (named_tuple, attrs_class, model, pydantic_record)},
    "str": lambda s: s(str),
    "optional": lambda s: s(str) | None,
    "optional inside": lambda s: s(str | None),
    "list": lambda s: LIST[s(str)],
    "whole list": lambda s: s(LIST[str]),
    "dict": lambda s: DICT[str, s(str)],
    "keys": lambda s: DICT[s(str), int],
    "tuple": lambda s: TUPLE[int, s(str)],
    "set": lambda s: SET[s(int)],
    "deep": lambda s: DICT[str, LIST[TUPLE[int, s(str) | None]]],
    "bounded": lambda s: s(Annotated[int, msgspec.Meta(gt=0)]),
    "bounded by pydantic": lambda s: s(Annotated[str, Field(max_length=9)]),
    "enum": lambda s: s(Color),
    "literal": lambda s: s(Literal["a", "b"]),
    "json": lambda s: s(typedq.Json),
    "email": lambda s: s(EmailStr),
    "deque": lambda s: DEQUE[s(str)],
    "new type": lambda s: cast("Any", NewType)("Token", s(str)),
    "whole struct": lambda s: s(struct(lambda kind: kind)),
    "whole model": lambda s: s(model(lambda kind: kind)),
    "optional struct": lambda s: struct(s) | None,
    "list of models": lambda s: LIST[model(s)],
}


@pytest.mark.parametrize("name", KINDS)
def test_a_secret_is_in_the_schema_and_changes_neither_fingerprint_nor_messages(name: str) -> None:
    kind = KINDS[name]
    plain, secret = of(kind(lambda k: k), int), of(kind(lambda k: Annotated[k, typedq.Secret]), int)
    assert '"writeOnly": true' in json.dumps(secret.schema)
    assert "writeOnly" not in json.dumps(plain.schema)
    assert plain.fingerprint == secret.fingerprint
    for one, other in ((plain, secret), (secret, plain)):
        assert compare(one.schema, other.schema).changes == ()
    # It costs nothing where it matters: the worker decodes by msgspec alone as before.
    assert plain.runs_code == secret.runs_code


@pytest.mark.parametrize("name", ["struct", "model", "plain_dataclass", "whole struct"])
def test_the_whole_payload_may_hold_or_be_a_secret(name: str) -> None:
    plain = of(KINDS[name](lambda k: k))
    secret = of(KINDS[name](lambda k: Annotated[k, typedq.Secret]))
    assert plain.fingerprint == secret.fingerprint
    assert '"writeOnly": true' in json.dumps(secret.schema)


def test_secret_is_refused_as_a_type_and_secret_str_says_what_to_write() -> None:
    from pydantic import SecretStr

    with pytest.raises(ContractError, match=r"Secret is not a type; write Annotated\[str, typedq"):
        of(typedq.Secret)
    with pytest.raises(ContractError, match=r"asterisks; write Annotated\[str, typedq.Secret\]"):
        of(SecretStr)


class Node(msgspec.Struct):
    name: str
    key: Annotated[str, typedq.Secret]
    next: Node | None = None


S: Any = Annotated[str, typedq.Secret]
C = CANARY
SHOWN: list[tuple[Any, Any, Any]] = [
    (S, C, "***"),
    (S | None, None, "***"),
    (list[S], [C, C], ["***", "***"]),
    (Annotated[list[str], typedq.Secret], [C], "***"),
    (dict[str, S], {"x": C}, {"x": "***"}),
    (dict[S, int], {C: 1}, "***"),
    (dict[S, int], {}, {}),
    (tuple[int, S], [1, C], [1, "***"]),
    (dict[str, list[tuple[int, S | None]]], {"x": [[1, C]]}, {"x": [[1, "***"]]}),
    (Annotated[typedq.Json, typedq.Secret], {"x": [C]}, "***"),
    (typedq.Json, {"x": [1, None]}, {"x": [1, None]}),
    (named_tuple(lambda k: Annotated[k, typedq.Secret]), ["u", C], ["u", "***"]),
    (
        Node,
        {"name": "n", "key": C, "next": {"name": "m", "key": C}},
        {"name": "n", "key": "***", "next": {"name": "m", "key": "***"}},
    ),
    (
        tagged(lambda k: Annotated[k, typedq.Secret]),
        {"type": "card", "number": C},
        {"type": "card", "number": "***"},
    ),
    (
        model(lambda k: Annotated[k, typedq.Secret]),
        {"user": "u", "Key": C, "maybe": C, "many": [C], "inner": {"key": C}},
        {"user": "u", "Key": "***", "maybe": "***", "many": ["***"], "inner": "***"},
    ),
]
UNFIT: list[tuple[Any, Any, Any]] = [
    (Node, C, "***"),
    (Node, [C], "***"),
    (Node, {"name": {"key": C}, "key": 5}, {"name": "***", "key": "***"}),
    (Node, {"name": "n", "kex": C}, {"name": "n", "kex": "***"}),
    (tuple[int, S], [C, 1, C], ["***", "***", "***"]),
    (tagged(lambda k: Annotated[k, typedq.Secret]), {"type": C}, {"type": "***"}),
]


@pytest.mark.parametrize(("kind", "value", "shown"), [*SHOWN, *UNFIT], ids=str)
def test_secrets_and_what_no_schema_describes_are_masked(kind: Any, value: Any, shown: Any) -> None:
    schema = of(kind, S).schema
    found = json.loads(mask(json.dumps({"a": value, "b": C}).encode(), schema))
    assert found == {"a": shown, "b": "***"}


def test_a_contract_without_secrets_is_shown_as_it_is_and_an_unknown_one_not_at_all() -> None:
    schema = of(int).schema
    for body in (b'{"a":  1}', b'{"b": "x"}', b"{", b"\xff"):
        assert mask(body, schema) == body.decode(errors="backslashreplace")
        assert mask(body, None) == "***"
    for body in (b"{", b"\xff", b"", b'{"a": 1e999}', b"[" * 100_000):
        assert mask(body, of(S).schema) == "***"


def test_todays_marks_hide_secrets_of_older_contracts_too() -> None:
    old, today = of(str, int), of(S, int, int)
    assert mask(b'{"a":"x","b":1}', old.schema, today.schema) == '{"a":"***","b":1}'
    assert mask(b'{"a":"x","b":1}', today.schema, old.schema) == '{"a":"***","b":1}'
    assert mask(b'{"a":"x","z":1}', old.schema, today.schema) == '{"a":"***","z":"***"}'


def _branches(depth: int) -> dict[str, Any]:
    """Recursive, and each level offers all others."""
    names = [f"d{i}" for i in range(depth)]
    every = [{"$ref": f"#/$defs/{name}"} for name in names]
    node = {"type": ["object", "array"], "anyOf": every, "items": {"anyOf": every}}
    node["additionalProperties"] = {"anyOf": every}
    marked = {"k": {"writeOnly": True}}
    return {**node, "properties": marked, "$defs": {name: {**node} for name in names}}


HOSTILE: list[Any] = [
    {"$ref": "#", "writeOnly": True},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}, "default": {"writeOnly": 1}},
    {"$ref": "https://example.org/secrets.json"},
    {"$ref": "#/nowhere", "writeOnly": True},
    {"if": {"writeOnly": True}},
    {"patternProperties": {"(a+)+$": {"writeOnly": True}}, "type": "object"},
    {"anyOf": [{"type": "string", "writeOnly": True}] * 2_000},
    {"enum": [*range(5_000)], "writeOnly": False},
    _branches(40),
    {"writeOnly": True, "items": 7},
    {"type": 7, "writeOnly": "yes"},
]


@pytest.mark.parametrize("schema", HOSTILE, ids=lambda each: str(each)[:40])
@pytest.mark.parametrize("large", [False, True])
def test_a_hostile_schema_hides_more_and_ends(schema: Any, large: bool) -> None:
    value: Any = {"a" * 30 + "!": CANARY}
    for _ in range(60):
        value = [value]
    body = json.dumps([value] + [CANARY] * (70_000 if large else 1)).encode()
    begin = time.process_time()
    assert CANARY not in mask(body, schema)
    assert time.process_time() - begin < 20


def test_patterns_are_taken_as_if_all_applied_and_references_are_followed() -> None:
    schema = {
        "type": "object",
        "patternProperties": {"^s_": {"$ref": "#/$defs/s"}},
        "properties": {"n": {"allOf": [{"type": "integer"}, {}]}},
        "$defs": {"s": {"type": "string", "writeOnly": True}},
    }
    assert mask(b'{"s_a":"x","other":"y"}', schema) == '{"s_a":"***","other":"***"}'
    listed = {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"writeOnly": True}}
    assert mask(b'[1,"x",[2]]', listed) == '[1,"***","***"]'


# --- errors ---------------------------------------------------------------------------------------


def _loud(value: str) -> str:
    raise ValueError(f"bad value {value!r}")


class Loud(msgspec.Struct):
    to: str
    key: Annotated[str, typedq.Secret]

    def __post_init__(self) -> None:
        raise ValueError(f"cannot log in with {self.key}")


class LoudModel(BaseModel):
    to: str
    key: Annotated[str, typedq.Secret, AfterValidator(_loud)]


class LoudWhole(BaseModel):
    to: str
    key: Annotated[str, typedq.Secret]

    @model_validator(mode="after")
    def _refuse(self) -> LoudWhole:
        raise ValueError(f"{self.to} has the key {self.key}")


class Mail(BaseModel):
    to: Annotated[EmailStr, typedq.Secret]
    url: Annotated[Literal["a"], typedq.Secret] = "a"


def refusal(kind: Any, payload: Any) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        of(kind, int).encode((payload, 1), {})
    return caught.value


@pytest.mark.parametrize(
    ("kind", "payload", "path"),
    [
        (Loud, {"to": "u", "key": CANARY}, "$.a"),
        (LoudModel, LoudModel.model_construct(to="u", key=CANARY), "$.a.key"),
        (LoudWhole, LoudWhole.model_construct(to="u", key=CANARY), "$.a"),
        (Mail, Mail.model_construct(to=CANARY + "@@"), "$.a.to"),
        (Mail, Mail.model_construct(to="a@b.c", url=CANARY), "$.a.url"),
        (Annotated[Color, typedq.Secret], CANARY, "$.a"),
        (dict[Annotated[Color, typedq.Secret], int], {CANARY: 1}, "$.a"),
        (dict[Annotated[str, typedq.Secret], int], {CANARY: "x"}, "$.a"),
        (list[Annotated[Color, typedq.Secret]], [CANARY], "$.a[0]"),
    ],
    ids=str,
)
def test_no_refusal_quotes_a_secret(kind: Any, payload: Any, path: str) -> None:
    error = refusal(kind, payload)
    assert error.path == path
    shown = "".join(traceback.format_exception(error))
    for text in (str(error), repr(error), repr(vars(error)), shown):
        assert CANARY not in text
    chain: BaseException | None = error
    while chain is not None:
        assert CANARY not in repr(chain)
        chain = chain.__cause__ or chain.__context__


def test_a_refusal_that_quotes_nothing_says_why() -> None:
    assert str(refusal(S, 5)) == "t: Expected `str`, got `int` - at $.a"
    assert "object has no JSON form - at $.a" in str(refusal(S, object()))
    short = Annotated[str, msgspec.Meta(min_length=30), typedq.Secret]
    assert "Expected `str` of length >= 30 - at $.a" in str(refusal(short, CANARY))
    assert refusal(tuple[int, S], ("x", CANARY)).reason == "Expected `int`, got `str`"
    assert str(refusal(LoudModel, {"to": "u"})) == "t: Field required - at $.a.key"


def test_a_worker_reads_the_same_and_its_reasons_quote_no_secret() -> None:
    loud = of(Loud)
    body = json.dumps({"to": "u", "key": CANARY}).encode()
    with pytest.raises(InvalidBody) as caught:
        loud.decode(body)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert "may quote a secret" in caught.value.reason
    with pytest.raises(InvalidBody, match=r"Expected `str`, got `int` - at \$.to"):
        loud.decode(json.dumps({"to": 1, "key": CANARY}).encode())
    with pytest.raises(InvalidBody, match="not valid JSON"):
        loud.decode(body[:-1])
    assert loud.without_secrets(f"no {CANARY} here", body) != f"no {CANARY} here"
    assert loud.without_secrets("no such user", body) == "no such user"
