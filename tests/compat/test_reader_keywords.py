"""Keywords of typedq's own that restrict a reader are compared by what they mean."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta
from pydantic import (
    AliasChoices,
    AliasPath,
    AnyHttpUrl,
    AnyUrl,
    Base64Str,
    BaseModel,
    ByteSize,
    Field,
    HttpUrl,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
)

from tests.compat.foreign_rows import INT, NUM, STR
from typedq.compat import compare
from typedq.contracts import document

DAY = dt.date(2020, 1, 1)
NEXT = dt.date(2021, 1, 1)
NOON = dt.time(12)


def model(kind: Any, **config: Any) -> Any:
    made: Any = create_model
    return made("M", __config__=config, x=(kind, ...))


def named(*names: Any, kind: Any = str, **others: Any) -> Any:
    """A field `x` that is read under the first of these names that is there."""
    field = Field(validation_alias=AliasChoices(*names), serialization_alias="x")
    return create_model("M", x=(kind, field), **others)


PORTABLE = Annotated[str, Meta(pattern="^a")]
ROWS: dict[str, tuple[Any, Any, bool, bool]] = {
    "a later earliest date": (Annotated[dt.date, Field(ge=DAY)],
                              Annotated[dt.date, Field(ge=NEXT)], False, True),
    "more than a date, and at least": (Annotated[dt.date, Field(gt=DAY)],
                                       Annotated[dt.date, Field(ge=DAY)], True, False),
    "both ends": (Annotated[dt.date, Field(gt=DAY, lt=NEXT)],
                  Annotated[dt.date, Field(le=NEXT)], True, False),
    "a shorter duration": (Annotated[dt.timedelta, Field(le=dt.timedelta(1))],
                           Annotated[dt.timedelta, Field(le=dt.timedelta(hours=1))], False, True),
    "a bound with a time zone": (
        Annotated[dt.datetime, Field(ge=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))],
        Annotated[dt.datetime, Field(ge=dt.datetime(2019, 1, 1))], False, False),  # noqa: DTZ001
    "past beside a bound": (Annotated[dt.date, Field(ge=DAY)], Annotated[dt.time, Field(ge=NOON)],
                            False, False),
    "fewer schemes": (AnyUrl, AnyHttpUrl, False, True),
    "a length of URLs": (AnyHttpUrl, HttpUrl, False, True),
    "a check": (AnyUrl, Annotated[AnyUrl, Field(max_length=20)], False, True),
    "text that is stripped": (str, Annotated[str, StringConstraints(strip_whitespace=True)],
                              False, True),
    "a whole number of bytes": (Annotated[int, Field(ge=0)], ByteSize, True, True),
    "a time zone's name": (zoneinfo.ZoneInfo, str, True, False),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "backward", "forward"), ROWS.values(), ids=ROWS)
def test_a_tighter_reader_breaks_and_a_looser_one_does_not(
    old: Any, new: Any, backward: bool, forward: bool
) -> None:
    found = compare(document(model(old)), document(model(new)))
    assert (found.backward, found.forward) == (backward, forward)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("^a$", "a\n"), (r"^\d$", None), (r"^\w+$", "a\n"), (r"\bx", None)],
)
def test_a_pattern_means_another_thing_to_another_engine(pattern: str, text: str | None) -> None:
    """Python's `re`, which msgspec uses, is not the Rust regex that pydantic uses by default."""
    record = msgspec.defstruct("M", [("x", Annotated[str, Meta(pattern=pattern)])])
    rust = model(Annotated[str, Field(pattern=pattern)])
    python = model(Annotated[str, Field(pattern=pattern)], regex_engine="python-re")
    assert not compare(document(record), document(rust)).backward
    assert not compare(document(python), document(rust)).backward
    assert compare(document(record), document(python)).backward
    if text is not None:
        body = msgspec.json.encode({"x": text})
        msgspec.json.decode(body, type=record)
        with pytest.raises(ValidationError):
            TypeAdapter(rust).validate_json(body)


def test_a_pattern_that_all_engines_read_alike_is_the_same() -> None:
    record = msgspec.defstruct("M", [("x", Annotated[str, Meta(pattern="^[a-z]{2,5}(x|y)")])])
    found = compare(
        document(record), document(model(Annotated[str, Field(pattern="^[a-z]{2,5}(x|y)")]))
    )
    assert (found.backward, found.forward) == (True, True)


def test_what_a_config_does_to_text_counts_for_encoded_text_too() -> None:
    old, new = document(model(Base64Str)), document(model(Base64Str, str_to_lower=True))
    assert not compare(old, new).backward
    assert compare(new, old).backward


def test_a_renamed_field_that_is_still_read_under_its_old_name_is_compatible() -> None:
    old = document(create_model("M", was=(str, ...)))
    assert compare(old, document(named("x", "was"))).backward
    assert not compare(old, document(named("x", "was", kind=int))).backward
    assert not compare(old, document(named("x", AliasPath("was", 0)))).backward
    maybe = document(create_model("M", was=(str, "")))
    assert not compare(maybe, document(named("x", "was"))).backward


def test_a_writer_of_both_names_leaves_open_which_one_counts() -> None:
    both = document(create_model("M", was=(str, ...), x=(str, ...)))
    assert not compare(both, document(named("x", "was"))).backward
    open_writer = {"type": "object", "additionalProperties": {"type": "string"}}
    assert not compare(open_writer, document(named("x", "was"))).backward


def test_a_name_that_is_only_read_is_no_undeclared_field_of_the_writer() -> None:
    class Strict(BaseModel):
        model_config = {"extra": "forbid"}
        x: str

    assert compare(document(named("x", "was")), document(Strict)).backward


def test_a_field_that_is_never_written_may_become_anything() -> None:
    old = create_model("M", x=(int, Field(default=0, exclude=True)))
    new = create_model("M", x=(str, ""))
    found = compare(document(old), document(new))
    assert (found.backward, found.forward) == (True, False)


def test_no_more_entries_are_written_than_there_are_keys() -> None:
    keys = {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {}}
    old = {"type": "object", **keys}
    assert compare(old, {**old, "maxProperties": 2}).backward
    assert not compare(old, {**old, "maxProperties": 1}).backward


def test_digits_of_a_listed_number_are_counted() -> None:
    decimal = {"type": "string", "format": "decimal", "x-typedq-type": "decimal"}
    new = {**decimal, "x-typedq-decimal": {"max_digits": "2"}}
    assert compare({"enum": [1, 20]}, new).backward
    assert not compare({"enum": [1, 200]}, new).backward


@pytest.mark.parametrize("key", ["bounds", "text", "url", "check", "alias", "excluded"])
@pytest.mark.parametrize("junk", [5, None, [], "x", {"ge": 5}, {"schemes": 5}, {"maxLength": "x"}])
def test_values_that_no_keyword_has_are_compared_without_harm(key: str, junk: Any) -> None:
    for other in ({}, {f"x-typedq-{key}": {"ge": "2020-01-01"}}, {f"x-typedq-{key}": ["a"]}):
        plain = {"type": "string", **other}
        found = compare(plain, {"type": "string", f"x-typedq-{key}": junk})
        assert found.backward == all(change.backward for change in found.changes)


def by_code(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "x-typedq-written": schema}


MANY, TEXTS = {"type": "array", "items": INT}, {"enum": ["a", "b"]}
FIRST = {"type": "object", "properties": {"a": INT}, "required": ["a"]}


# A reader with code of its own takes first what another of its union reads as it is.
@pytest.mark.parametrize(
    ("old", "variants"),
    [
        ({"enum": [1, 2]}, [by_code(INT), NUM]),
        ({"const": 1}, [by_code({"enum": [1]}), INT]),
        (INT, [by_code({**INT, "minimum": 5}), INT]),
        (STR, [by_code({**STR, "maxLength": 3}), STR]),
        (STR, [{**STR, "maxLength": 3, "x-typedq-text": {"to_lower": True}}, STR]),
        (TEXTS, [by_code(STR), TEXTS]),
        ({"type": "boolean"}, [by_code({"type": "boolean"}), {"type": "boolean"}]),
        (MANY, [by_code(MANY), {"type": "array", "items": NUM}]),
        (FIRST, [by_code(FIRST), FIRST]),
    ],
    ids=str,
)
def test_code_that_may_take_a_value_of_a_union_is_a_break(old: Any, variants: list[Any]) -> None:
    assert not compare(old, {"anyOf": variants}).backward


@pytest.mark.parametrize(
    ("old", "variants"),
    [
        (INT, [by_code(NUM), INT]),  # whole numbers are read as such
        (by_code(INT), [by_code(INT), STR]),
        (STR, [by_code(INT), STR]),
        ({"const": "Ab"}, [by_code({"const": "cd"}), STR]),
        ({"const": "ab"}, [{**STR, "x-typedq-text": {"to_lower": True}}, STR]),
    ],
    ids=str,
)
def test_code_that_takes_none_of_the_values_is_none(old: Any, variants: list[Any]) -> None:
    assert compare(old, {"anyOf": variants}).backward


def test_text_that_is_made_lower_and_upper_is_lower() -> None:
    upper, lower = ({**STR, "x-typedq-text": {key: True}} for key in ("to_upper", "to_lower"))
    both = {**STR, "x-typedq-text": {"to_lower": True, "to_upper": True}}
    assert not compare(both, upper).backward
    assert not compare(upper, both).backward
    assert compare(both, lower).backward
    assert compare(lower, both).backward
