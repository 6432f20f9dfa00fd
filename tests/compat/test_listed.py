"""Constants of a writer are what it writes, whatever `format` and other annotations claim."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.foreign_rows import INT, STR, defs, obj
from typedq.compat import compare
from typedq.compat.values import divides

BASE64: Any = {"contentEncoding": "base64"}
DATE: Any = {"format": "date"}


def keys(names: Any) -> Any:
    return {"type": "object", "propertyNames": names}


# Not every validator enforces what stands beside these constants: then they are written.
WRITTEN: dict[str, tuple[Any, Any]] = {
    "a date, and a length": ({"enum": ["ab"], **DATE, "maxLength": 9}, {"const": "a"}),
    "a date, and a bound of numbers": ({"enum": ["ab", "1"], **DATE, "minimum": 1}, {"const": "a"}),
    "a date in another branch": (
        {"allOf": [{**STR, **DATE, "maxLength": 9}, {"enum": ["d", ""]}]}, {"pattern": "^[ab]+$"}),
    "a date behind a reference": (
        defs({"$ref": "#/$defs/A", **DATE, "minLength": 1}, A={"enum": ["d"]}), {"const": "e"}),
    "one of two formats": (
        {"allOf": [DATE, {"format": "time"}, {"enum": ["d"], "maxLength": 1}]}, {"const": "e"}),
    **{f"a {name}": ({"const": "x", "format": name, "maxLength": 9}, {"const": "y"})
       for name in ("date-time", "time", "uuid", "email")},
    "base64": ({"const": "a", **BASE64, "maxLength": 9}, {"const": "b"}),
    "a duration of typedq's own": (
        {"const": "x", "x-typedq-type": "timedelta", "maxLength": 9}, {"const": "y"}),
    "a decimal": ({"const": "x", "x-typedq-type": "decimal", "maxLength": 9}, {"const": "y"}),
    "too many bytes": ({"const": "abc", "x-typedq-maxBytes": 2}, {"const": "b"}),
    "more bits than are known": ({"const": 5, "x-typedq-mask": 1}, {"const": 1}),
    "a key that is no date": (
        keys({"enum": ["a", "b"], **DATE, "maxLength": 9}), keys({"const": "c"})),
    "a key that is no number": (
        keys({"enum": ["a"], "x-typedq-type": "integer", "minimum": 1}), keys({"const": "c"})),
    "a member": (obj({"a": {"const": "a", **DATE, "minLength": 1}}), obj({"a": {"const": "b"}})),
    "an element": (
        {"prefixItems": [{"const": "a", **DATE, "minLength": 1}], "minItems": 1, "type": "array"},
        {"prefixItems": [{"const": "b"}], "type": "array"}),
    "a large number, of which each quotient of floats is whole": (
        {"const": 10000000000000001, "multipleOf": 0.7}, {"const": 1}),
    "nearly a multiple": ({"const": 0.30000000000000004, "multipleOf": 0.1}, {"const": 1}),
    "either spelling of a number": ({"const": 1, "enum": [1.0]}, INT),
    "either spelling in two branches": ({"allOf": [{"enum": [1]}, {"enum": [1.0]}]}, INT),
    "either spelling inside": ({"allOf": [{"enum": [[1]]}, {"enum": [[1.0]]}]}, {"const": [1]}),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), WRITTEN.values(), ids=WRITTEN)
def test_what_is_listed_is_written_whatever_it_is_said_to_be(old: Any, new: Any) -> None:
    assert not compare(old, new).backward
    assert not compare(new, old).forward


# The reader enforces what it says, so what is listed is read only if it surely fits.
REFUSED: dict[str, tuple[Any, Any]] = {
    "no date": ({"const": "ab", **DATE}, {**STR, **DATE}),
    "no date of any calendar": ({"const": "2027-02-31", **DATE}, {**STR, **DATE}),
    "a leap second": (
        {"const": "2016-12-31T23:59:60Z", "format": "date-time"}, {**STR, "format": "date-time"}),
    "an hour too late": ({"const": "24:00:00Z", "format": "time"}, {**STR, "format": "time"}),
    "a duration without an end": (
        {"const": "P9999999999D", "x-typedq-type": "timedelta"},
        {**STR, "x-typedq-type": "timedelta"}),
    "a format without a known syntax": (
        {"const": "x", "format": "email"}, {**STR, "format": "email"}),
    "no base64": ({"const": "!!", **BASE64}, {**STR, **BASE64}),
    "base64 that no encoder writes": ({"const": "QUJ=", **BASE64}, {**STR, **BASE64}),
    "listed, and yet no date": ({"const": "ab", **DATE}, {"enum": ["ab", "c"], **DATE}),
    "a format of numbers": ({"const": 3_000_000_000}, {**INT, "format": "int32"}),
    "a format of other numbers": ({"const": 3}, {"type": "number", "format": "float"}),
    "a type of numbers": ({"const": 3}, {"type": "number", "x-typedq-type": "odd"}),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), REFUSED.values(), ids=REFUSED)
def test_a_reader_refuses_what_does_not_fit_its_format(old: Any, new: Any) -> None:
    assert not compare(old, new).backward
    assert not compare(new, old).forward


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({**STR, "format": "email"}, 'hold "x" here; the new worker expects a email, which is not'),
        ({**INT, "format": "int32"}, 'expects a whole number (format "int32")'),
    ],
)
def test_what_is_not_known_to_fit_is_told(kind: Any, words: str) -> None:
    value = "x" if kind["type"] == "string" else 1
    found = compare({"const": value, **kind}, kind)
    (change,) = (change for change in found.changes if not change.backward)
    assert (change.rule, change.example) == ("FORMAT_CHANGED", None)
    assert words in change.message


READ: dict[str, tuple[Any, Any]] = {
    "a date": ({"const": "2027-02-28", **DATE}, {**STR, **DATE}),
    "a time": (
        {"const": "2027-02-28T10:00:00Z", "format": "date-time"}, {**STR, "format": "date-time"}),
    "no date, as text": ({"enum": ["ab", "2027-02-28"], **DATE}, STR),
    "no date, as text that is listed": ({"const": "ab", **DATE}, {"enum": ["ab", "c"]}),
    "base64": ({"const": "QUI=", **BASE64}, {**STR, **BASE64}),
    "too long for every validator": ({"enum": ["abc", "b"], "maxLength": 1}, {"const": "b"}),
    "no multiple for any validator": ({"enum": [1, 1.5], "multipleOf": 0.4}, {"const": 1}),
    "beyond a bound": ({"enum": [1, 5], "maximum": 3}, {"const": 1}),
    "not of the type": ({"enum": [1, "a"], "type": "string", **DATE}, {"enum": ["a"]}),
    "one spelling": ({"const": 1, "enum": [1, 2]}, INT),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), READ.values(), ids=READ)
def test_what_is_plain_is_still_compatible(old: Any, new: Any) -> None:
    assert compare(old, new).backward
    assert compare(new, old).forward


@pytest.mark.parametrize("same", [DATE, BASE64, {"format": "email"}], ids=str)
def test_equal_parts_are_compatible_whatever_they_list(same: Any) -> None:
    part = {"enum": ["ab", "c"], **same, "maxLength": 9}
    assert compare(obj({"a": part, "b": INT}), obj({"a": part})).backward


def test_whether_a_number_is_a_multiple_may_depend_on_how_one_divides() -> None:
    assert divides(0.1, 0.3) is None
    assert divides(0.7, 10000000000000001) is None
    assert divides(0.5, 1.25) is False
    assert divides(0.5, -1.5) is True
    assert divides(3, -4) is False
