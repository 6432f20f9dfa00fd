"""Equal contracts have equal fingerprints; different ones differ."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from typedq.contracts import canonical, document, document_hash, fingerprint

INT: dict[str, Any] = {"type": "integer"}
TEXT: dict[str, Any] = {"type": "string"}
NULL: dict[str, Any] = {"type": "null"}
AB: list[Any] = [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]
CAT: dict[str, Any] = {"type": "object", "properties": {"a": INT}}
DOG: dict[str, Any] = {"type": "object", "properties": {"b": INT}}


def _circle(one: str, two: str) -> dict[str, Any]:
    return {
        "$ref": f"#/$defs/{one}",
        "$defs": {
            one: {"anyOf": [{"$ref": f"#/$defs/{two}"}, INT]},
            two: {"type": "array", "items": {"$ref": f"#/$defs/{one}"}},
        },
    }


EQUAL: list[tuple[Any, Any]] = [
    ({**INT, "title": "A", "description": "b", "default": 1, "examples": [1]}, INT),
    ({**INT, "x-typedq": {"version": 3}}, INT),
    ({"required": ["b", "a"]}, {"required": ["a", "b"]}),
    ({"enum": [2, 1, "1", 1]}, {"enum": ["1", 1, 2]}),
    ({"const": 1}, {"enum": [1]}),
    ({"anyOf": [INT, TEXT]}, {"anyOf": [TEXT, INT]}),
    ({"anyOf": [{"anyOf": [INT, NULL]}, TEXT]}, {"anyOf": [TEXT, NULL, INT]}),
    ({"anyOf": [INT]}, INT),
    ({**CAT, "required": [], "propertyNames": {}}, CAT),
    ({**TEXT, "minLength": 0}, TEXT),
    ({**INT, "$defs": {"Unused": TEXT}}, INT),
    (_circle("A", "B"), _circle("Z", "Y")),
    (
        {"anyOf": AB, "$defs": {"A": CAT, "B": DOG}},
        {"anyOf": AB, "$defs": {"A": DOG, "B": CAT}},
    ),
    (
        {"prefixItems": AB, "$defs": {"A": CAT, "B": CAT}},
        {"prefixItems": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}], "$defs": {"A": CAT}},
    ),
    (
        {"items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": CAT}},
        {"items": {"$ref": "#/$defs/c"}, "$defs": {"c": CAT}},
    ),
]  # fmt: skip
DIFFERENT: list[tuple[Any, Any]] = [
    ({"enum": [1]}, {"enum": ["1"]}),
    ({"enum": [1]}, {"enum": [True]}),
    ({"enum": [1]}, {"enum": [1.0]}),
    ({"type": "object"}, {"type": "object", "properties": {}}),
    ({"prefixItems": [INT, TEXT]}, {"prefixItems": [TEXT, INT]}),
    ({"x-typedq-elements": ["a", "b"]}, {"x-typedq-elements": ["b", "a"]}),
    ({**TEXT, "x-typedq-type": "datetime"}, TEXT),
    ({**CAT, "x-typedq-payload": "parameters"}, CAT),
    ({**CAT, "additionalProperties": False}, CAT),
    ({**CAT, "additionalProperties": True}, CAT),
    ({"properties": {"title": INT}}, {"properties": {"title": TEXT}}),
    ({"properties": {"title": INT}}, {"properties": {}}),
    ({"items": False}, {}),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_the_argument_is_left_as_it_was() -> None:
    schema = _circle("A", "B")
    canonical(schema)
    assert schema == _circle("A", "B")


def test_the_document_hash_sees_annotations_but_not_its_own_block() -> None:
    assert document_hash({**INT, "x-typedq": {"version": 3}}) == document_hash(INT)
    assert document_hash({**INT, "title": "A"}) != document_hash(INT)
    assert len(document_hash(INT)) == 64


class Email(Struct):
    to: str
    subject: str = ""


class Cat(Struct, tag=True):
    lives: int


class Dog(Struct, tag=True):
    name: str


class Point(Struct, array_like=True):
    x: float
    y: float


class Tree(Struct):
    children: list[Tree]


# Fingerprints travel in messages: a change here makes every waiting message foreign.
GOLDEN: list[tuple[Any, str]] = [
    (int, "f0765dbf409c74f0"),
    (str | None, "2d3f32840123f5d8"),
    (list[float], "569f4d6b0385907e"),
    (dict[int, str], "509b670ba509ca97"),
    (dt.datetime, "04d9e0975cba66a7"),
    (Annotated[dt.datetime, Meta(tz=True)], "9321ff944bcee075"),
    (Literal["a", 1, None], "2ef18dea7d98d72d"),
    (set[uuid.UUID], "8ded3916bc73d620"),
    (tuple[bytes, decimal.Decimal], "351a027eb7a68e05"),
    (Email, "08ae3760d86b635e"),
    (Cat | Dog, "e48d85123d74590b"),
    (Point, "628591176f7bac0b"),
    (Tree, "630b54b383eead01"),
    (Annotated[int, Meta(ge=0, lt=10)], "d804ebcd13b8ab07"),
]


@pytest.mark.parametrize(("kind", "expected"), GOLDEN)
def test_fingerprints_are_stable(kind: Any, expected: str) -> None:
    assert fingerprint(document(kind)) == expected
