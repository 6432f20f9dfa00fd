"""The table of compatibility rules as data: what changes, which way it is safe, its names."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pydantic
from msgspec import Meta


def struct(_name: str = "S", _options: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A Struct; a tuple is (type, default)."""
    made = [(n, *f) if isinstance(f, tuple) else (n, f) for n, f in fields.items()]
    return msgspec.defstruct(_name, made, kw_only=True, **(_options or {}))


def row(_options: dict[str, Any] | None = None, **fields: Any) -> Any:
    made = [(n, *f) if isinstance(f, tuple) else (n, f) for n, f in fields.items()]
    return msgspec.defstruct("Row", made, array_like=True, **(_options or {}))


def model(_extra: str = "ignore", **fields: Any) -> Any:
    made: dict[str, Any] = {n: f if isinstance(f, tuple) else (f, ...) for n, f in fields.items()}
    config = pydantic.ConfigDict(strict=True, extra=_extra)  # type: ignore[typeddict-item]
    return pydantic.create_model("M", __config__=config, **made)


def named(*names: str, spare: int = 0) -> Any:
    cls: Any = NamedTuple("Named", [(n, int) for n in names])  # type: ignore[misc]
    if spare:
        cls.__new__.__defaults__ = (0,) * spare
        cls._field_defaults = dict.fromkeys(names[-spare:], 0)
    return cls


FORBID = {"forbid_unknown_fields": True}
Aware = Annotated[dt.datetime, Meta(tz=True)]
Naive = Annotated[dt.datetime, Meta(tz=False)]
Color = enum.Enum("Color", {"RED": "r", "BLUE": "b"})
Renamed = enum.Enum("Renamed", {"ROT": "r", "BLAU": "b"})
Wider = enum.Enum("Wider", {"RED": "r", "BLUE": "b", "GREEN": "g"})
Cat, Dog, Eel = (struct(n, {"tag": n.lower()}, a=int) for n in ("Cat", "Dog", "Eel"))
Kind = struct("Cat", {"tag": "cat", "tag_field": "kind"}, a=int)
Kind2 = struct("Dog", {"tag": "dog", "tag_field": "kind"}, a=int)

# what, old, new, backward, forward, rules of the changes
Case = tuple[str, Any, Any, bool, bool, set[str]]
CASES: list[Case] = [
    ("same", struct(a=int), struct("Other", a=int), True, True, set()),
    ("default field added", struct(a=int), struct(a=int, b=(int, 0)), True, True, set()),
    ("default field added, old forbids", struct("S", FORBID, a=int),
     struct("S", FORBID, a=int, b=(int, 0)), True, False, {"UNKNOWN_FIELD_REFUSED"}),
    ("required field added", struct(a=int), struct(a=int, b=str), False, True,
     {"FIELD_ADDED_REQUIRED"}),
    ("Optional without default added", struct(), struct(a=int | None), False, True,
     {"FIELD_ADDED_REQUIRED"}),
    ("required field removed", struct(a=int, b=int), struct(a=int), True, False,
     {"FIELD_REMOVED_REQUIRED"}),
    ("required field removed, new forbids", struct(a=int, b=int), struct("S", FORBID, a=int),
     False, False, {"FIELD_REMOVED_REQUIRED", "UNKNOWN_FIELD_REFUSED"}),
    ("default field removed", struct(a=int, b=(int, 0)), struct(a=int), True, True,
     {"VALUE_DROPPED"}),
    ("default field removed, new forbids", struct(a=int, b=(int, 0)), struct("S", FORBID, a=int),
     False, True, {"UNKNOWN_FIELD_REFUSED"}),
    ("required field renamed", struct(a=int), struct(b=int), False, False,
     {"FIELD_ADDED_REQUIRED", "FIELD_REMOVED_REQUIRED", "POSSIBLE_RENAME"}),
    ("renamed in Python only", struct(a=int), struct("S", {"rename": {"b": "a"}}, b=int),
     True, True, set()),
    ("renamed on the wire only", struct(a=int), struct("S", {"rename": {"a": "b"}}, a=int),
     False, False, {"FIELD_ADDED_REQUIRED", "FIELD_REMOVED_REQUIRED", "POSSIBLE_RENAME"}),
    ("default field renamed", struct(a=(int, 0)), struct(b=(int, 0)), True, True,
     {"VALUE_DROPPED", "POSSIBLE_RENAME"}),
    ("default removed", struct(a=(int, 0)), struct(a=int), False, True, {"FIELD_BECAME_REQUIRED"}),
    ("default added", struct(a=int), struct(a=(int, 0)), True, False, {"FIELD_BECAME_OPTIONAL"}),
    ("default changed", struct(a=(int, 0)), struct(a=(int, 1)), True, True, {"DEFAULT_CHANGED"}),
    ("default changed from 1 to true", struct(a=(int | bool, 1)),
     struct(a=(int | bool, True)), True, True, {"DEFAULT_CHANGED"}),
    ("forbid switched on", struct(a=int), struct("S", FORBID, a=int), True, True, set()),
    ("None allowed", int, int | None, True, False, {"NULL_ADDED"}),
    ("int to float", int, float, True, False, {"TYPE_WIDENED", "VALUE_ROUNDED"}),
    ("bool to int", bool, int, False, False, {"TYPE_CHANGED"}),
    ("int to str", int, str, False, False, {"TYPE_CHANGED"}),
    ("union member added", int | str, int | str | bool, True, False, {"TYPE_WIDENED"}),
    ("union reordered", int | str | None, None | str | int, True, True, set()),
    *((f"{t} to str", t, str, True, False, {"TYPE_WIDENED"})
      for t in (uuid.UUID, dt.date, Aware, dt.datetime, dt.time, dt.timedelta, Decimal)),
    ("date to datetime", dt.date, Aware, False, False, {"FORMAT_CHANGED"}),
    ("aware to any datetime", Aware, dt.datetime, True, False, {"TYPE_WIDENED"}),
    ("aware to naive", Aware, Naive, False, False, {"FORMAT_CHANGED"}),
    ("bytes to str", bytes, str, False, False, {"ENCODING_CHANGED"}),
    ("float to Decimal", float, Decimal, True, False, {"TYPE_CHANGED"}),
    ("int to Decimal", int, Decimal, True, False, {"TYPE_CHANGED"}),
    ("enum value added", Color, Wider, True, False, {"ENUM_VALUE_ADDED"}),
    ("enum members renamed", Color, Renamed, True, True, set()),
    ("enum to Literal", Color, Literal["b", "r"], True, True, set()),
    ("Literal 1 to text 1", Literal[1], Literal["1"], False, False, {"TYPE_CHANGED"}),
    ("enum to str", Color, str, True, False, {"TYPE_WIDENED"}),
    ("Literal to int", Literal[1, 2], int, True, False, {"TYPE_WIDENED"}),
    ("int Literal to Decimal", Literal[1, 2], Decimal, True, False, {"TYPE_CHANGED"}),
    ("variant added", Cat | Dog, Cat | Dog | Eel, True, False, {"VARIANT_ADDED"}),
    ("tag changed", struct("S", {"tag": "a"}, a=int), struct("S", {"tag": "b"}, a=int),
     False, False, {"TAG_CHANGED"}),
    ("lone tag added", struct(a=int), struct("S", {"tag": "a"}, a=int), True, True, set()),
    ("lone tag to required Literal", struct("S", {"tag": "a"}, x=int),
     struct(type=Literal["a"], x=int), True, True, set()),
    ("required Literal to lone tag", struct(type=Literal["a"], x=int),
     struct("S", {"tag": "a"}, x=int), True, True, set()),
    ("tag field changed", Cat | Dog, Kind | Kind2, False, False,
     {"FIELD_ADDED_REQUIRED", "FIELD_REMOVED_REQUIRED", "POSSIBLE_RENAME"}),
    ("untagged class renamed", struct("A", a=int) | None, struct("B", a=int) | None,
     True, True, set()),
    ("row: default element appended", row(a=int), row(a=int, b=(int, 0)), True, True, set()),
    ("row: default element appended, forbidding", row(FORBID, a=int),
     row(FORBID, a=int, b=(int, 0)), True, False, {"UNKNOWN_FIELD_REFUSED"}),
    ("NamedTuple: default element appended", named("a"), named("a", "b", spare=1), True, False,
     {"UNKNOWN_FIELD_REFUSED"}),
    ("row: required element appended", row(a=int), row(a=int, b=int), False, True,
     {"FIELD_ADDED_REQUIRED"}),
    ("row: element inserted", row(a=int), row(b=int, a=int), False, False,
     {"ELEMENT_MOVED", "FIELD_ADDED_REQUIRED"}),
    ("row: elements swapped", row(a=int, b=int), row(b=int, a=int), False, False,
     {"ELEMENT_MOVED"}),
    ("list to tuple of any length", list[int], tuple[int, ...], True, True, set()),
    ("list to fixed tuple", list[int], tuple[int, int], False, True, {"LENGTH_CHANGED"}),
    ("another fixed length", tuple[int, int], tuple[int, int, int], False, False,
     {"LENGTH_CHANGED"}),
    ("tuple to a row that drops elements", tuple[int, int], row(a=int), False, False,
     {"TYPE_CHANGED", "LENGTH_CHANGED"}),
    ("list to set", list[int], set[int], False, True, {"UNIQUE_ADDED"}),
    ("set to list", set[int], list[int], True, False, {"TYPE_WIDENED"}),
    ("bound tightened", int, Annotated[int, Meta(ge=0)], False, True, {"CONSTRAINT_TIGHTENED"}),
    ("gt 0 is ge 1", Annotated[int, Meta(gt=0)], Annotated[int, Meta(ge=1)], True, True, set()),
    ("gt 0 is not ge 1 for float", Annotated[float, Meta(gt=0)], Annotated[float, Meta(ge=1)],
     False, True, {"CONSTRAINT_TIGHTENED"}),
    ("multiple of 6 to 3", Annotated[int, Meta(multiple_of=6)], Annotated[int, Meta(multiple_of=3)],
     True, False, {"CONSTRAINT_LOOSENED"}),
    ("min_length 0 is nothing", str, Annotated[str, Meta(min_length=0)], True, True, set()),
    ("length loosened", Annotated[str, Meta(max_length=3)], Annotated[str, Meta(max_length=9)],
     True, False, {"CONSTRAINT_LOOSENED"}),
    ("length of bytes within one base64 block", Annotated[bytes, Meta(max_length=2)],
     Annotated[bytes, Meta(max_length=1)], False, True, {"CONSTRAINT_TIGHTENED"}),
    ("list shortened", list[int], Annotated[list[int], Meta(max_length=3)], False, True,
     {"CONSTRAINT_TIGHTENED"}),
    ("dict shortened", dict[str, int], Annotated[dict[str, int], Meta(max_length=3)], False, True,
     {"CONSTRAINT_TIGHTENED"}),
    ("pattern added", str, Annotated[str, Meta(pattern="^a")], False, True,
     {"CONSTRAINT_TIGHTENED"}),
    ("pattern changed", Annotated[str, Meta(pattern="^a")], Annotated[str, Meta(pattern="^[a]")],
     False, False, {"PATTERN_CHANGED"}),
    ("dict value type", dict[str, int], dict[str, float], True, False,
     {"TYPE_WIDENED", "VALUE_ROUNDED"}),
    ("dict key type widened", dict[uuid.UUID, int], dict[str, int], True, False,
     {"KEY_TYPE_CHANGED"}),
    ("dict key type changed", dict[int, int], dict[str, int], False, False, {"KEY_TYPE_CHANGED"}),
    ("dict key Literal 1 to text 1", dict[Literal[1], int], dict[Literal["1"], int], False, False,
     {"KEY_TYPE_CHANGED"}),
    ("Struct to dict", struct(a=int), dict[str, int], True, False,
     {"FIELD_REMOVED_REQUIRED", "TYPE_CHANGED"}),
    ("typed field added to an open writer", model("allow", a=int),
     model("allow", a=int, b=(int, 0)), False, True, {"OPEN_MEMBER_NARROWED"}),
    ("extra switched from allow to ignore", model("allow", a=int), model(a=int), True, True,
     {"VALUE_DROPPED"}),
    ("extra switched from allow to forbid", model("allow", a=int), model("forbid", a=int),
     False, True, {"UNKNOWN_FIELD_REFUSED"}),
    ("text that may be a decimal", model(a=str), model(a=Decimal | str), False, True,
     {"TYPE_CHANGED"}),
]  # fmt: skip

_A, _B = (
    {"properties": {"k": {"const": "a"}}, "required": ["k"]},
    {
        "properties": {"k": {"const": "b"}},
        "required": ["k"],
    },
)


def obj(schema: Any, **more: Any) -> Any:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], **more}


def node(item: Any, name: str = "N") -> Any:
    """A recursive list of `item`."""
    nodes = {"type": "object", "required": ["v"], "properties": {
        "v": item, "next": {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}}}  # fmt: skip
    return {"$ref": f"#/$defs/{name}", "$defs": {name: nodes}}


INT, STR = {"type": "integer"}, {"type": "string"}
# what, old document, new document, backward, forward
TRAPS: list[tuple[str, Any, Any, bool, bool]] = [
    ("recursion, widened far away", node(INT), node({"type": "number"}, "M"), True, False),
    ("recursion, $defs renamed", node(INT), node(INT, "M"), True, True),
    ("recursion through a union only", {"$defs": {"A": {"anyOf": [INT, {"$ref": "#/$defs/A"}]}},
     "$ref": "#/$defs/A"}, STR, False, False),
    ("$ref to itself", {"$ref": "#"}, INT, False, False),
    ("$ref to nowhere", {"$ref": "#/$defs/gone"}, INT, False, False),
    ("$ref to another document", INT, {"$ref": "https://example.org/x"}, False, False),
    ("$ref with siblings", {"$defs": {"A": INT}, **obj({"$ref": "#/$defs/A"})},
     {"$defs": {"A": INT}, **obj({"$ref": "#/$defs/A", "minimum": 1})}, False, True),
    ("$ref with annotations beside it", {"$defs": {"A": INT}, **obj({"$ref": "#/$defs/A"})},
     {"$defs": {"A": INT}, **obj({"$ref": "#/$defs/A", "title": "t"})}, True, True),
    ("pointer with escapes", {"$defs": {"a/b~c %": INT}, **obj({"$ref": "#/$defs/a~1b~0c%20%25"})},
     obj(INT), True, True),
    ("pointer with escapes, other type", {"$defs": {"a/b": INT, "a~1b": STR},
     **obj({"$ref": "#/$defs/a~1b"})}, obj(STR), False, False),
    ("definition inlined, another unused", {"$defs": {"A": INT, "B": STR},
     **obj({"$ref": "#/$defs/A"})}, obj(INT), True, True),
    ("one name, another meaning", {"$defs": {"A": INT}, **obj({"$ref": "#/$defs/A"})},
     {"$defs": {"A": STR}, **obj({"$ref": "#/$defs/A"})}, False, False),
    ("true is not 1", {"enum": [1]}, {"enum": [True]}, False, False),
    ("1 is not 1.0", {"enum": [1]}, {"enum": [1.0]}, False, False),
    ("const is an enum of one", {"const": "a"}, {"enum": ["a"]}, True, True),
    ("order of enum and required", {"enum": ["a", "b"]}, {"enum": ["b", "a"]}, True, True),
    ("const true is not const 1 in an unknown keyword", {"x": 1}, {"x": True}, False, False),
    ("anyOf to exclusive oneOf", {"anyOf": [INT, STR]}, {"oneOf": [INT, STR]}, True, True),
    ("anyOf to overlapping oneOf", {"anyOf": [INT, {"type": "number"}]},
     {"oneOf": [INT, {"type": "number"}]}, False, True),
    ("the same overlapping oneOf", obj({"oneOf": [INT, {"type": "number"}]}),
     obj({"oneOf": [INT, {"type": "number"}]}, title="t"), True, True),
    ("oneOf told apart by a tag", {"anyOf": [{"type": "object", **_A}, {"type": "object", **_B}]},
     {"oneOf": [{"type": "object", **_A}, {"type": "object", **_B}]}, True, True),
    ("closed writer, open reader", obj(INT), obj(INT, additionalProperties=True), True, True),
    ("Struct is not a bare dict", {"type": "object"}, {"type": "object", "properties": {}},
     False, True),
    ("bare dict to typed dict", {"type": "object"}, {"type": "object", "additionalProperties": INT},
     False, True),
    ("additionalProperties narrowed",
     {"type": "object", "additionalProperties": {"type": "number"}},
     {"type": "object", "additionalProperties": INT}, False, True),
    ("patternProperties widened", {"type": "object", "patternProperties": {"^a": INT}},
     {"type": "object", "patternProperties": {"^a": {"type": "number"}}}, True, False),
    ("patternProperties with another pattern", {"type": "object", "patternProperties": {"^a": INT}},
     {"type": "object", "patternProperties": {"^b": INT}}, False, False),
    ("prefixItems then items", {"type": "array", "prefixItems": [INT], "items": INT},
     {"type": "array", "items": INT}, True, True),
    ("prefixItems of another type", {"type": "array", "prefixItems": [STR], "items": INT},
     {"type": "array", "items": INT}, False, False),
    ("nested unions flattened", {"anyOf": [INT, {"anyOf": [STR, {"type": "null"}]}]},
     {"anyOf": [{"type": "null"}, STR, INT]}, True, True),
    ("list of types", {"type": ["integer", "null"]}, {"anyOf": [{"type": "null"}, INT]},
     True, True),
    ("anything accepts", INT, True, True, False),
    ("nothing is accepted", INT, False, False, True),
    ("empty schema is true", {}, True, True, True),
    ("allOf that merges", {"allOf": [INT, {"minimum": 3}]}, {"type": "integer", "minimum": 3},
     True, True),
    ("allOf of disjoint members", {"allOf": [{"type": "object", **_A}, obj(INT)]},
     {"type": "object", "properties": {"k": {"const": "a"}, "a": INT}, "required": ["k", "a"]},
     True, True),
    ("allOf that clashes, on the reader", {"type": "integer", "minimum": 5},
     {"allOf": [{"type": "integer", "minimum": 1}, {"minimum": 3}]}, True, False),
    ("unknown keyword on one side", INT, {"type": "integer", "x-secret": 1}, False, False),
    ("x-typedq keyword on either side", INT, {"type": "integer", "x-typedq-new": 1}, False, False),
    ("unknown keyword with a property called title", {"dependentRequired": {"title": ["a"]}},
     {"dependentRequired": {"title": ["b"]}}, False, False),
    ("the same unknown keyword", {"not": INT}, {"not": INT, "description": "d"}, True, True),
    ("a property called title", obj(INT) | {"properties": {"a": INT, "title": INT}},
     obj(INT) | {"properties": {"a": INT, "title": STR}}, False, False),
    ("unknown format", STR, {"type": "string", "format": "odd"}, False, False),
    ("format of a number", INT, {"type": "integer", "format": "int32"}, False, False),
    ("keyword of a strange type", INT, {"type": "integer", "minimum": "3"}, False, False),
    ("type of a strange type", INT, {"type": 5}, False, False),
    ("one parameter to several, the same bytes", obj(INT),
     {**obj(INT), "x-typedq-payload": "parameters"}, True, True),
    ("one parameter to several, other bytes", obj(INT),
     {**obj(STR), "x-typedq-payload": "parameters"}, False, False),
]  # fmt: skip
