"""A schema says exactly what its decoder accepts."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import re
import typing
import uuid
from collections import namedtuple
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import attrs
import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema.validators import extend
from msgspec import Meta, Struct

from typedq.compat import compare
from typedq.contracts import document
from typedq.contracts.codec import Codec
from typedq.contracts.type_tree import NoSchema
from typedq.errors import InvalidBody

# --- a validator that knows the keywords typedq adds; a model for other languages ---------------


def _parses(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except (ValueError, ArithmeticError):
        return False
    return True


_ZONE = r"(Z|[+-]\d\d:\d\d)"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?"
_CLOCK = r"\d\d:\d\d:\d\d(\.\d{1,6})?"
_FORMS = {
    "aware-datetime": _MOMENT + _ZONE,
    "naive-datetime": _MOMENT,
    "datetime": _MOMENT + _ZONE + "?",
    "aware-time": _CLOCK + _ZONE,
    "naive-time": _CLOCK,
    "time": _CLOCK + _ZONE + "?",
    "date": r"\d{4}-\d\d-\d\d",
    "timedelta": r"-?P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?",
    "uuid": r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}",
    "decimal": r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?",
    "bytes": r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    "integer": r"-?(0|[1-9]\d*)",
    "number": r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?",
}
_BOUNDS: dict[str, Any] = {
    "minimum": lambda n, bound: n >= bound,
    "maximum": lambda n, bound: n <= bound,
    "exclusiveMinimum": lambda n, bound: n > bound,
    "exclusiveMaximum": lambda n, bound: n < bound,
    "multipleOf": lambda n, bound: n % bound == 0,
}
_PLAIN = jsonschema.Draft202012Validator.VALIDATORS


def _finer(_: Any, finer: str, value: Any, schema: Any) -> Any:
    if finer == "decimal" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return
    if finer in _FORMS and isinstance(value, str):
        if not re.fullmatch(_FORMS[finer], value):
            yield jsonschema.ValidationError(f"{value!r} is no {finer}")
        elif finer in ("integer", "number"):
            for name, holds in _BOUNDS.items():
                if name in schema and not holds(float(value), schema[name]):
                    yield jsonschema.ValidationError(f"{value!r}: {name}")


def _kind(validator: Any, kinds: Any, value: Any, schema: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if schema.get("x-typedq-type") == "decimal" and number:
        return ()
    return _PLAIN["type"](validator, kinds, value, schema)


def _without_duplicates(name: str) -> Any:
    def check(validator: Any, bound: Any, value: Any, schema: Any) -> Any:
        if schema.get("x-typedq-type") == "set" and isinstance(value, list):
            value = [v for i, v in enumerate(value) if v not in value[:i]]
        return _PLAIN[name](validator, bound, value, schema)

    return check


def _byte_length(holds: Any) -> Any:
    def check(_: Any, bound: int, value: Any, __: Any) -> Any:
        is_base64 = isinstance(value, str) and _parses(base64.b64decode, value)
        if is_base64 and not holds(len(base64.b64decode(value)), bound):
            yield jsonschema.ValidationError(f"{value!r}: length {bound}")

    return check


def _same_token(_: Any, values: Any, value: Any, __: Any) -> Any:
    if json.dumps(value) not in [json.dumps(v) for v in values]:  # 1.0 and true are not 1
        yield jsonschema.ValidationError(f"{value!r} is none of {values}")


def _mask(_: Any, mask: int, value: Any, __: Any) -> Any:
    if isinstance(value, int) and value & ~mask:
        yield jsonschema.ValidationError(f"{value} has bits outside {mask}")


Validator: Any = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {
        "type": _kind,
        "enum": _same_token,
        "x-typedq-type": _finer,
        "x-typedq-minBytes": _byte_length(lambda n, bound: n >= bound),
        "x-typedq-maxBytes": _byte_length(lambda n, bound: n <= bound),
        "x-typedq-mask": _mask,
        "uniqueItems": _without_duplicates("uniqueItems"),
        "minItems": _without_duplicates("minItems"),
        "maxItems": _without_duplicates("maxItems"),
    },
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


META = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)

# --- types and values -----------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    ADMIN = 8

    @classmethod
    def _missing_(cls, value: object) -> Any:
        # Python reads a negative number as a complement; no writer writes it, no schema says it.
        return None if isinstance(value, int) and value < 0 else super()._missing_(value)


class Wide(enum.Flag):
    A, B, C, D, E, F, G, H = 1, 2, 4, 8, 16, 32, 64, 256

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return None if isinstance(value, int) and value < 0 else super()._missing_(value)


_LEAVES: list[Any] = [
    bool, int, float, str, bytes, dt.date, dt.datetime, dt.time, dt.timedelta, uuid.UUID,
    decimal.Decimal, None, Colour, Level, Rights, Wide,
    Annotated[dt.datetime, Meta(tz=True)], Annotated[dt.datetime, Meta(tz=False)],
    Annotated[dt.time, Meta(tz=True)], Annotated[dt.time, Meta(tz=False)],
    Annotated[int, Meta(ge=0, lt=8)], Annotated[int, Meta(gt=-2, multiple_of=2)],
    Annotated[float, Meta(gt=0, le=1.5)], Annotated[str, Meta(min_length=1, max_length=3)],
    Annotated[str, Meta(pattern="^a")], Annotated[bytes, Meta(min_length=1, max_length=1)],
    Literal["a", "red"], Literal[1, "1", None], Literal[0, 1],
]  # fmt: skip
# Unions take one of each row, so that msgspec refuses none: 0.22 may crash after many refusals.
_TOKENS: list[list[Any]] = [
    [kind for kind in _LEAVES if kind not in (bool, None, int, float, Level, Rights, Wide)][:8],
    [int, Level, Rights, Annotated[int, Meta(ge=0, lt=8)]],
    [float, Annotated[float, Meta(gt=0, le=1.5)]],
    [bool],
    [None],
]
_SHARED: list[Any] = [
    str | Literal["a", "red"],
    Annotated[str, Meta(pattern="^a")] | Literal["a", "red"],
    Annotated[int, Meta(gt=1)] | Literal[0, 1],
    Literal["a", 1] | Literal[2, "b"],
    float | Literal[0, 1],
    decimal.Decimal | Level,
    decimal.Decimal | Annotated[float, Meta(gt=1)],
    decimal.Decimal | int,
]
_KEYS: list[Any] = [
    str, int, float, bytes, uuid.UUID, dt.date, decimal.Decimal, Colour, Level, Rights,
    Literal["a", "b"], Literal[1, 2], Annotated[str, Meta(min_length=2)],
    Annotated[int, Meta(ge=0)],
]  # fmt: skip
_POOL: list[Any] = [
    None, True, False, 0, 1, 2, 3, 7, 8, 9, -1, -5, 256, 10**20, 0.0, 1.0, 0.5, 1.5, 2.5, "", "a",
    "abc", "abcd", "b", "red", "blue", "0", "1", "2", "-1", "01", "1.5", "1e2", "2020-01-01",
    "2020-01-01T10:00:00", "2020-01-01T10:00:00Z", "2020-01-01T10:00:00.5+02:00", "10:00:00",
    "10:00:00Z", "P1D", "-PT1.5S", "P1Y", "PT", "YQ==", "YWI=", "YWJj", "YQ", "x y",
    "12345678-1234-5678-1234-567812345678", "12345678123456781234567812345678",
]  # fmt: skip
_NAMES = ("a", "b", "c")


@st.composite
def _records(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    names = _NAMES[: draw(st.integers(0, 3))]
    kinds = {name: draw(inner) for name in names}
    spare = draw(st.integers(0, len(names)))
    optional = set(names[len(names) - spare :])
    shape = draw(st.sampled_from(["struct", "struct", "dataclass", "typeddict"]))
    if shape == "struct":
        fields = [(n, k, None) if n in optional else (n, k) for n, k in kinds.items()]
        return msgspec.defstruct(
            draw(st.sampled_from(["A", "B", "C", "D"])),
            fields,
            tag=draw(st.sampled_from([None, None, True])),
            rename=draw(st.sampled_from([None, "upper"])),
            array_like=draw(st.sampled_from([False, False, True])),
            forbid_unknown_fields=draw(st.booleans()),
        )
    if shape == "dataclass":
        default = dataclasses.field(default=None)
        return dataclasses.make_dataclass(
            "Data", [(n, k, default) if n in optional else (n, k) for n, k in kinds.items()]
        )
    wrap = {n: typing.NotRequired[k] if n in optional else k for n, k in kinds.items()}
    return TypedDict("Typed", wrap)  # type: ignore[operator]


@st.composite
def _collections(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    shape = draw(st.sampled_from(["record", "record", "bounded", "pair", "union"]))
    if shape == "record":
        return draw(_records(inner))
    if shape == "pair":
        pair: Any = (draw(inner), draw(inner))
        return tuple[pair]
    if shape == "union":
        chosen = draw(st.lists(st.sampled_from(_TOKENS), min_size=2, max_size=3, unique_by=id))
        members: Any = [draw(st.sampled_from(kinds)) for kinds in chosen]
        union: Any = typing.Union
        row: Any = draw(inner)
        return union[(*members, list[row])]
    item: Any = draw(inner)
    generic: Any = draw(st.sampled_from([list, tuple, set, dict]))
    arguments: Any = {
        list: (item,),
        tuple: (item, ...),
        set: (draw(st.sampled_from(_LEAVES)),),
        dict: (draw(st.sampled_from(_KEYS)), item),
    }[generic]
    kind = generic[arguments]
    bound = draw(st.sampled_from([None, Meta(min_length=2), Meta(max_length=1)]))
    return kind if bound is None else Annotated[kind, bound]


_TYPES = st.recursive(st.sampled_from(_LEAVES + _SHARED), _collections, max_leaves=4)


@st.composite
def _instances(draw: st.DrawFn, schema: Any, root: Any) -> Any:  # noqa: C901
    """A value near the schema: mostly its shape, with members from a pool that often fit."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    chance = draw(st.integers(0, 9))
    if chance == 0:
        return draw(st.sampled_from([*_POOL, [], {}, [1, 1], {"a": 1}, {"type": "A"}]))
    if "anyOf" in schema:
        return draw(_instances(draw(st.sampled_from(schema["anyOf"])), root))
    if "enum" in schema and chance < 7:
        return draw(st.sampled_from(schema["enum"]))
    if schema.get("type") == "object":
        value = {
            name: draw(_instances(member, root))
            for name, member in schema.get("properties", {}).items()
            if draw(st.integers(0, 5)) or (name in schema["required"] and draw(st.integers(0, 9)))
        }
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            texts = [v for v in _POOL if isinstance(v, str)]
            keys = schema.get("propertyNames", {}).get("enum", []) + texts
            for key in draw(st.lists(st.sampled_from(keys), max_size=2)):
                value[key] = draw(_instances(extra, root))
        elif not draw(st.integers(0, 5)):
            value["zzz"] = 1
        return value
    if schema.get("type") == "array":
        rows = [draw(_instances(item, root)) for item in schema.get("prefixItems", [])]
        if isinstance(schema.get("items"), dict):
            rows += draw(st.lists(_instances(schema["items"], root), max_size=3))
        cut = draw(st.sampled_from([None, None, None, -1, 1]))
        return [*rows, 1] if cut == 1 else rows[:cut]
    kinds: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    fitting = [v for v in _POOL if isinstance(v, kinds.get(schema.get("type", ""), object))]
    return draw(st.sampled_from(fitting))


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.data())
def test_what_validates_decodes_and_what_does_not_is_refused(data: st.DataObject) -> None:
    kind = data.draw(_TYPES)
    try:
        schema, codec = document(kind), Codec(kind)  # in this order: see type_tree.py
    except TypeError:
        assume(False)  # a union whose members nobody can tell apart
    assert META.is_valid(schema)
    validator = Validator(schema)
    for _ in range(5):
        value = data.draw(_instances(schema, schema))
        try:
            codec.read(json.dumps(value).encode(), 1 << 20, 64)
            decodes = True
        except InvalidBody:
            decodes = False
        assert validator.is_valid(value) == decodes, (schema, value)


# --- single cases ---------------------------------------------------------------------------------

T = TypeVar("T")


class Lone(Struct, tag="lone"):
    a: int


class Other(Struct, tag="other"):
    lone: Lone


class Page(Struct, Generic[T]):
    items: list[T]
    next: Page[T] | None = None


class Row(Struct, array_like=True):
    x: int
    y: int = 0


@attrs.define
class Attrs:
    a: int
    b: list[int] = attrs.Factory(list)


class Named(NamedTuple):
    a: int
    b: str = ""


class Model(pydantic.BaseModel):
    when: dt.datetime
    next: Model | None = None
    by_id: dict[int, str] = {}
    price: decimal.Decimal = decimal.Decimal(1)


def test_the_dialect_comes_first_and_definitions_only_if_needed() -> None:
    assert next(iter(document(Lone))) == "$schema"
    assert "$defs" not in document(Lone)
    assert list(document(Page[int])["$defs"]) == ["Page_int_"]


def test_a_tag_is_required_only_where_it_decides() -> None:
    union = document(Lone | Other)["$defs"]
    assert union["Lone"]["required"] == ["type", "a"]
    assert union["Lone_2"]["required"] == ["a"]
    assert union["Lone_2"]["x-typedq-lone-tag"] is True


def test_array_elements_keep_their_names() -> None:
    assert document(Row)["x-typedq-elements"] == ["x", "y"]
    assert document(Row)["minItems"] == 1


@pytest.mark.parametrize("value", [[], [1], [1, "x"], [1, 2], ["x"], [1, "x", 2], {"a": 1}, None])
def test_named_tuples_agree_with_their_decoder(value: Any) -> None:
    try:
        Codec(Named).read(json.dumps(value).encode(), 100, 9)
        decodes = True
    except InvalidBody:
        decodes = False
    assert Validator(document(Named)).is_valid(value) == decodes
    assert document(Named)["x-typedq-elements"] == ["a", "b"]


def test_attrs_and_pydantic_are_described_like_the_rest() -> None:
    assert document(Attrs)["properties"]["b"]["default"] == []
    model = document(Model)["$defs"]["Model"]["properties"]
    assert model["when"]["x-typedq-type"] == "datetime"
    assert model["by_id"]["propertyNames"]["x-typedq-type"] == "integer"
    assert model["price"]["x-typedq-type"] == "decimal"


class Secret(pydantic.BaseModel):
    token: pydantic.SecretStr


class Loose(pydantic.BaseModel):
    anything: dict[str, Any]


@pytest.mark.parametrize(
    ("kind", "path", "reason"),
    [
        (dict[str, Any], "$[...]", "says nothing"),
        (list, "$[...]", "says nothing"),
        (list[object], "$[...]", "object says nothing"),
        (msgspec.Raw, "$", "msgspec.Raw has no schema"),
        (complex, "$", "complex has no JSON Schema"),
        (dict[int | str, int], "$[key]", "one type, as str"),
        (dict[bool, int], "$[key]", "are text; take str, int, UUID or date"),
        (dict[Literal[True], int], "$[key]", "are text; take str, int, UUID or date"),
        (namedtuple("Bare", "a"), "$.a", "says nothing"),
        (Secret, "$.token", "asterisks"),
        (Loose, "$.anything[...]", "says nothing"),
        (str | Annotated[str, Meta(max_length=1)], "$", "under two constraints"),
    ],
)
def test_what_has_no_schema_says_why_and_where(kind: Any, path: str, reason: str) -> None:
    with pytest.raises(NoSchema) as caught:
        document(kind)
    assert caught.value.path == path
    assert reason in caught.value.reason


class CatModel(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class DogModel(pydantic.BaseModel):
    kind: Literal["dog", "hound"] = "dog"
    age: int


class EelModel(pydantic.BaseModel):
    kind: Literal["eel"]


class TwoPets(pydantic.BaseModel):
    pet: CatModel | DogModel = pydantic.Field(discriminator="kind")


class ThreePets(pydantic.BaseModel):
    pet: CatModel | DogModel | EelModel = pydantic.Field(discriminator="kind")


class ByPattern(pydantic.BaseModel):
    by: dict[Annotated[str, pydantic.StringConstraints(pattern="^a", max_length=2)], int]


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (TwoPets, {"pet": {"kind": "cat"}}),
        (TwoPets, {"pet": {"kind": "hound", "age": 1}}),
        (TwoPets, {"pet": {"age": 1}}),
        (TwoPets, {"pet": {}}),
        (TwoPets, {"pet": {"kind": "eel"}}),
        (ByPattern, {"by": {"ab": 1}}),
        (ByPattern, {"by": {"ab": "1"}}),
        (ByPattern, {"by": {"abc": 1}}),
        (ByPattern, {"by": {"b": 1}}),
    ],
)
def test_pydantic_schemas_agree_with_their_decoder(model: Any, value: Any) -> None:
    schema = document(model)
    assert META.is_valid(schema)
    accepted = _parses(lambda text: model.model_validate_json(text, strict=True), json.dumps(value))
    assert Validator(schema).is_valid(value) == accepted


def test_tagged_models_are_told_apart_by_their_tag_even_if_it_has_a_default() -> None:
    found = compare(document(TwoPets), document(ThreePets))
    assert (found.backward, found.forward) == (True, False)
    assert [(c.rule, c.path) for c in found.changes] == [("VARIANT_ADDED", "$.pet")]


def test_keys_with_a_pattern_are_no_open_writer() -> None:
    by = document(ByPattern)["properties"]["by"]
    assert by["propertyNames"] == {"type": "string", "maxLength": 2, "pattern": "^a"}
    assert by["additionalProperties"] == {"type": "integer"}
    looser = pydantic.create_model("Looser", by=(dict[str, int], ...))
    found = compare(document(ByPattern), document(looser))
    assert (found.backward, found.forward) == (True, False)


class _Sets(Struct, frozen=True):
    numbers: frozenset[int]


def _with_sets(order: tuple[int, ...]) -> list[Any]:
    """Types whose defaults hold equal sets that are walked in the order of their making."""
    numbers = frozenset(order)
    inner: Any = ("inner", _Sets, _Sets(numbers))
    fields: dict[str, Any] = {
        "numbers": (frozenset[int], numbers),
        "by": (dict[str, list[frozenset[int] | None]] | None, {"a": [numbers]}),
    }
    made = msgspec.defstruct("Made", [("numbers", frozenset[int], numbers), inner])
    return [made, pydantic.create_model("Model", **fields)]


def test_a_default_that_holds_sets_is_written_in_the_same_order_by_every_process() -> None:
    assert [*frozenset((0, 8))] != [*frozenset((8, 0))]
    for kind, other in zip(_with_sets((0, 8)), _with_sets((8, 0)), strict=True):
        assert json.dumps(document(kind)) == json.dumps(document(other))
        assert json.dumps(document(kind)).count("[0, 8]") == 2
