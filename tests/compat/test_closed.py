"""A closed writer writes what is declared, and others only if `minProperties` demands it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.foreign_rows import INT, STR, defs, obj
from typedq.compat import compare

ONE: Any = {"minProperties": 1}
NAMED_B: Any = {"propertyNames": {"pattern": "^b"}}
NEVER: Any = {"type": "integer", "enum": ["a"]}

# What is declared cannot be written, so an undeclared `b` may be.
FORCED: dict[str, Any] = {
    "a member that has no value": obj({"a": False}, **ONE),
    "one that lists no value": obj({"a": {"enum": []}}, **ONE),
    "one that lists values of another type": obj({"a": NEVER}, **ONE),
    "one that is no value by reference": defs(obj({"a": {"$ref": "#/$defs/A"}}, **ONE), A=False),
    "bounds that leave no number": obj({"a": {**INT, "minimum": 5, "maximum": 1}}, **ONE),
    "bounds that leave no whole number": obj(
        {"a": {**INT, "exclusiveMinimum": 1, "exclusiveMaximum": 2}}, **ONE),
    "an end that is excluded": obj(
        {"a": {"type": "number", "minimum": 1, "exclusiveMaximum": 1}}, **ONE),
    "lengths that leave no text": obj({"a": {**STR, "minLength": 2, "maxLength": 1}}, **ONE),
    "more elements than there may be": obj(
        {"a": {"type": "array", "minItems": 2, "maxItems": 1}}, **ONE),
    "an object that cannot have what it must": obj(
        {"a": obj({"b": False}, required=["b"])}, **ONE),
    "one that is only read": obj({"a": {**INT, "x-typedq-excluded": True}}, **ONE),
    "a name that is none": obj({"a": INT}, **ONE, **NAMED_B),
    "a name that may be none": obj({"a": INT}, **ONE, propertyNames={"pattern": "^(?!a)"}),
    "a name that is no date": obj({"a": INT}, **ONE, propertyNames={"format": "date"}),
    "a name whose pattern has no value": obj({"a": INT}, **ONE, patternProperties={"^a": False}),
    "beside one that is required": obj({"a": False}, required=["c"], minProperties=2),
    "in two branches": {"allOf": [obj({"a": False}), ONE]},
}  # fmt: skip


@pytest.mark.parametrize("old", FORCED.values(), ids=FORCED)
def test_a_writer_that_cannot_write_what_it_declares_writes_others(old: Any) -> None:
    new = obj({"a": True, "b": INT})
    assert not compare(old, new).backward
    assert not compare(new, old).forward


CLOSED: dict[str, Any] = {
    "one of several": obj({"a": INT, "c": STR}, **ONE),
    "all of them": obj({"a": INT, "c": STR}, minProperties=2),
    "one is required": obj({"a": INT}, required=["a"], **ONE, **NAMED_B),
    "its name is one": obj({"a": INT}, **ONE, propertyNames={"pattern": "^a"}),
    "no pattern governs it": obj({"a": INT}, **ONE, patternProperties={"^x": False}),
    "bounds that text has not": obj({"a": {**STR, "minimum": 5, "maximum": 1}}, **ONE),
    "others are forbidden": obj({"a": False}, **ONE, additionalProperties=False),
}


@pytest.mark.parametrize("old", CLOSED.values(), ids=CLOSED)
def test_a_writer_that_can_write_what_it_declares_writes_no_others(old: Any) -> None:
    patterns = {"patternProperties": old.get("patternProperties", {})}
    new = obj({"a": {"type": ["integer", "string"]}, "b": INT, "c": STR}, **patterns)
    assert compare(old, new).backward


# Three branches that cannot be merged: the last one still counts.
THREE: dict[str, list[Any]] = {
    "patterns": [{**STR, "pattern": pattern} for pattern in ("^.{2}$", "b$", "c")],
    "formats": [{**STR, "format": name} for name in ("one", "two", "three")],
    "encodings": [{**STR, "contentEncoding": name} for name in ("one", "two", "three")],
    "steps": [{**INT, "multipleOf": step} for step in (2, 3, 5)],
    "names": [{"type": "object", "propertyNames": {"pattern": x}} for x in ("^a", "b$", "c")],
    "members": [obj({"a": {"multipleOf": step}}) for step in (2, 3, 5)],
    "others": [{"type": "object", "additionalProperties": {"multipleOf": n}} for n in (2, 3, 5)],
    "elements": [{"type": "array", "items": {"multipleOf": step}} for step in (2, 3, 5)],
}


@pytest.mark.parametrize("three", THREE.values(), ids=THREE)
def test_what_cannot_be_merged_counts_though_more_is_merged(three: list[Any]) -> None:
    one, two, last = three
    old, new = {"allOf": [one, two]}, {"allOf": [one, {"allOf": [two, last]}]}
    assert not compare(old, new).backward
    assert not compare(new, old).forward
