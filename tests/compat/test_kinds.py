"""Changes of types that people make, and what compares them: text, decimals, constants, shapes."""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import pathlib
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, get_origin

import msgspec
import pydantic
import pytest
from msgspec import Meta
from pydantic import Field

from tests.compat.cases import model, struct
from typedq.compat import Comparison, compare
from typedq.contracts import contract_of
from typedq.contracts.codec import Codec
from typedq.contracts.schema import document


def between(old: Any, new: Any) -> Comparison:
    return compare(document(old), document(new))


def verdicts(old: Any, new: Any) -> tuple[bool, bool]:
    found = between(old, new)
    assert found.backward == all(change.backward for change in found.changes)
    assert found.forward == all(change.forward for change in found.changes)
    return found.backward, found.forward


TEXT_TYPES: list[Any] = [
    pathlib.Path, pathlib.PurePosixPath, pydantic.FilePath, pydantic.DirectoryPath,
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network,
    ipaddress.IPv4Interface, pydantic.IPvAnyAddress, pydantic.IPvAnyNetwork, pydantic.AnyUrl,
    pydantic.HttpUrl, pydantic.PostgresDsn, pydantic.RedisDsn, pydantic.AmqpDsn, pydantic.UUID4,
    dt.timedelta,
]  # fmt: skip


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=lambda kind: getattr(kind, "__name__", str(kind)))
def test_text_of_a_known_form_may_become_plain_text(kind: Any) -> None:
    assert verdicts(model(a=kind), model(a=str)) == (True, False)


@pytest.mark.parametrize(
    ("old", "length", "backward"),
    [
        (uuid.UUID, {"max_length": 36}, True),
        (uuid.UUID, {"max_length": 35}, False),
        (uuid.UUID, {"min_length": 36}, True),
        (uuid.UUID, {"min_length": 37}, False),
        (dt.date, {"min_length": 10, "max_length": 10}, True),
        (dt.date, {"max_length": 9}, False),
        (dt.datetime, {"min_length": 19}, True),
        (dt.datetime, {"min_length": 20}, False),
        (dt.datetime, {"max_length": 40}, False),
        (dt.time, {"min_length": 8}, True),
        (dt.timedelta, {"min_length": 3}, True),
        (Decimal, {"min_length": 1}, True),
        (Decimal, {"min_length": 2}, False),
    ],
)
@pytest.mark.parametrize("kind", [model, struct])
def test_text_of_a_form_has_its_own_length(
    kind: Any, old: Any, length: Any, backward: bool
) -> None:
    new = Annotated[str, Field(**length) if kind is model else Meta(**length)]
    assert verdicts(kind(a=old), kind(a=new)) == (backward, False)


@pytest.mark.parametrize("name", ["email", "uuid", "date", "ipv4"])
def test_a_format_alone_promises_no_length(name: str) -> None:
    old = {"type": "string", "format": name}
    assert not compare(old, {"type": "string", "minLength": 2}).backward


@pytest.mark.parametrize("name", ["name-email", "idn-email", "iri-reference", "uri-template"])
def test_so_may_text_of_a_format(name: str) -> None:
    old, new = {"type": "string", "format": name}, {"type": "string"}
    found = compare(old, new)
    assert (found.backward, found.forward) == (True, False)


@pytest.mark.parametrize("name", ["byte", "binary", "odd", "integer", "bytes", "timedelta"])
def test_a_format_that_is_not_known_may_not(name: str) -> None:
    old, new = {"type": "string", "format": name}, {"type": "string"}
    found = compare(old, new)
    assert (found.backward, found.forward) == (False, False)
    assert compare(old, {**old, "title": "t"}).changes == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ipaddress.IPv4Address, pydantic.IPvAnyAddress),
        (ipaddress.IPv6Network, pydantic.IPvAnyNetwork),
        (ipaddress.IPv4Interface, pydantic.IPvAnyInterface),
        (pydantic.FilePath, pathlib.Path),
    ],
)
def test_text_of_a_form_may_become_text_of_a_wider_one(old: Any, new: Any) -> None:
    assert verdicts(model(a=old), model(a=new)) == (True, False)


def test_durations_of_pydantic_are_read_by_msgspec_if_they_are_less_than_a_year() -> None:
    year, plain = dt.timedelta(365), struct(a=dt.timedelta)
    short = model(a=Annotated[dt.timedelta, Field(gt=-year / 2, lt=year / 2)])
    assert verdicts(plain, model(a=dt.timedelta)) == (True, False)
    assert verdicts(short, plain) == (True, False)
    (change,) = between(model(a=dt.timedelta), plain).changes
    assert (change.rule, change.example) == ("TYPE_NARROWED", {"a": "P1Y"})


def test_paths_of_windows_are_no_other_paths() -> None:
    windows = pathlib.PureWindowsPath
    for other in (pathlib.Path, pathlib.PurePosixPath):
        assert verdicts(model(a=windows), model(a=other)) == (False, False)
    assert verdicts(model(a=windows), model(a=str)) == (True, False)
    assert verdicts(model(a=pathlib.Path), model(a=pathlib.PurePath)) == (True, True)


def test_bytes_never_become_text() -> None:
    assert verdicts(model(a=pydantic.Base64Bytes), model(a=str)) == (False, False)


def dec(**bounds: Any) -> Any:
    return model(a=Annotated[Decimal, Field(**bounds)])


DECIMALS: list[tuple[Any, Any, bool, bool]] = [
    (dec(ge=0), dec(ge=0, le=10), False, True),
    (dec(ge=0, le=10), dec(ge=-1, le=Decimal("10.5")), True, False),
    (dec(gt=0), dec(ge=0), True, False),
    (dec(ge=0), dec(gt=0), False, True),
    (dec(lt=5), dec(lt=Decimal("5.00")), True, True),
    (dec(le=5), dec(ge=0), False, False),
    (model(a=Decimal), dec(ge=0), False, True),
    (dec(multiple_of=Decimal("0.02"), le=9, ge=0), dec(multiple_of=Decimal("0.01")), True, False),
    (dec(multiple_of=Decimal("0.3"), max_digits=20), dec(multiple_of=Decimal("0.1")), True, False),
    (dec(multiple_of=Decimal("0.1"), ge=0), dec(multiple_of=Decimal("0.1")), True, False),
    # The remainder of a decimal is found for a quotient of at most 28 digits.
    (dec(multiple_of=Decimal("0.02")), dec(multiple_of=Decimal("0.01")), False, False),
    (dec(multiple_of=2, max_digits=28), dec(multiple_of=1), False, False),
    (model(a=int), dec(multiple_of=1), False, False),
    (model(a=Annotated[int, Field(ge=0, le=10**20)]), dec(multiple_of=1), True, False),
    (model(a=Annotated[float, Field(multiple_of=0.5)]), dec(multiple_of=0.5), False, False),
    (model(a=Literal[2, 10**18]), dec(multiple_of=2), True, False),
    (dec(max_digits=5, decimal_places=2), dec(max_digits=8, decimal_places=2), True, False),
    (dec(max_digits=5, decimal_places=2), dec(max_digits=5, decimal_places=3), False, False),
    (dec(max_digits=5), dec(max_digits=4), False, True),
    (dec(decimal_places=2), dec(decimal_places=4), True, False),
    (dec(allow_inf_nan=True), model(a=Decimal), False, True),
    (dec(ge=0), model(a=str), True, False),
    (model(a=Annotated[int, Field(ge=0, le=5)]), dec(ge=0), True, False),
    (model(a=int), dec(ge=0), False, False),
    (model(a=int), dec(max_digits=3), False, False),
    (model(a=Literal[1, 2]), dec(ge=0, le=2), True, False),
    (model(a=Literal[1, 3]), dec(ge=0, le=2), False, False),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "backward", "forward"), DECIMALS, ids=range(len(DECIMALS)))
def test_bounds_of_decimals_are_compared(old: Any, new: Any, backward: bool, forward: bool) -> None:
    assert verdicts(old, new) == (backward, forward)


BOUNDS: list[Any] = [5, {"ge": "x"}, {"ge": "1e999999999"}, {"odd": "1"}, {"ge": None}]


@pytest.mark.parametrize("bounds", BOUNDS, ids=range(len(BOUNDS)))
def test_bounds_of_decimals_that_are_not_understood_must_be_equal(bounds: Any) -> None:
    plain = {"type": "string", "format": "decimal", "x-typedq-type": "decimal"}
    bounded = {**plain, "x-typedq-decimal": bounds}
    for old, new in ((plain, bounded), (bounded, plain)):
        found = compare(old, new)
        assert {change.rule for change in found.changes} == {"UNKNOWN_KEYWORD"}
    assert compare(bounded, {**bounded, "title": "t"}).changes == ()


SAME: list[tuple[Any, Any]] = [
    (model(a=None), model(a=Literal[None])),
    (Literal["a"] | None, Literal["a", None]),
    (struct(a=Literal["a", 1] | None), struct(a=Literal[None, 1, "a"])),
    (model(a=bool), model(a=Literal[True, False])),
    (model(a=bool | None), model(a=Literal[True, False, None])),
    (model(a=bool | str), model(a=Literal[True] | Literal[False] | str)),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=range(len(SAME)))
def test_the_same_values_are_the_same_however_they_are_listed(one: Any, other: Any) -> None:
    assert verdicts(one, other) == verdicts(other, one) == (True, True)


@pytest.mark.parametrize(
    ("values", "pattern", "matched"),
    [
        (["ab", "ac"], "^a", True),
        (["ab", "ca"], "^a", False),
        (["2027-01"], r"^\d{4}-\d\d$", True),
        (["x1", "y22"], "^[a-z][0-9]{1,2}$", True),
        (["red", "blue"], "^(red|green|blue)$", True),
        (["red", "black"], "^(red|green|blue)$", False),
        (["aaa"], "^(a+)+$", False),  # it might take for ever
        (["aaaaaaaa"], "(a|aa)+$", False),
        (["aa"], r"^(a)\1$", False),
        (["aa"], "^(?=a)", False),
        (["\u00e4"], r"^\w$", False),  # elsewhere \w knows ASCII only
        (["a\n"], "^a$", False),
        (["aa"], "a{2}*", False),
        (["aa"], "(", False),
    ],
)
def test_constants_are_matched_with_a_pattern(values: Any, pattern: str, matched: bool) -> None:
    old, new = {"enum": values}, {"type": "string", "pattern": pattern}
    assert compare(old, new).backward is matched


@pytest.mark.parametrize(
    ("old", "new", "backward"),
    [
        (6, 3, True), (3, 6, False), (0.5, 0.25, True), (0.02, 0.01, True), (0.3, 0.1, False),
        (1, 0.5, True), (1.5, 0.5, True), (0.5, 1, False), (2.0, 2, True), (7, 0.1, False),
    ],
)  # fmt: skip
def test_steps_divide_exactly_in_decimal_and_in_binary(old: Any, new: Any, backward: bool) -> None:
    found = compare({"type": "number", "multipleOf": old}, {"type": "number", "multipleOf": new})
    assert found.backward is backward


@pytest.mark.parametrize(
    ("old", "new", "rounded"),
    [
        (int, float, True),
        (Annotated[int, Meta(ge=0, le=2**53)], float, False),
        (Annotated[int, Meta(ge=0, le=2**53 + 1)], float, True),
        (Annotated[int, Meta(le=5)], float, True),
        (Literal[1, 2**60], float, False),
        (Literal[1, 2**60 + 1], float, True),
        (int, float | int, False),
        (list[int], list[float], True),
        (dict[int, int], dict[float, int], True),
        (int, Decimal, False),
        (float, float, False),
    ],
)
def test_a_whole_number_that_becomes_a_float_may_be_rounded(
    old: Any, new: Any, rounded: bool
) -> None:
    found = between(old, new)
    assert found.backward
    warnings = [change for change in found.changes if change.rule == "VALUE_ROUNDED"]
    assert bool(warnings) is rounded
    for change in warnings:
        assert (change.backward, change.forward, change.warning) == (True, True, True)
        assert change.message == (
            "messages written before this change may hold whole numbers beyond 2**53 here; the new"
            " worker reads floats, which have 53 bits, and rounds them"
        )


class Order(msgspec.Struct):
    number: int
    note: str = ""


def whole(order: Order) -> None: ...
def parts(number: int, note: str = "") -> None: ...
def more(number: int, note: str = "", fast: bool = False) -> None: ...
def other(number: str, note: str = "") -> None: ...
def both(order: Order, fast: bool = False) -> None: ...
def longer(number: int, note: str) -> None: ...


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward"),
    [
        (whole, parts, True, True),
        (parts, whole, True, True),
        (whole, more, True, True),
        (whole, other, False, False),
        (whole, both, False, False),
        (whole, longer, False, True),
    ],
)
def test_one_parameter_and_several_are_compatible_if_the_bytes_are(
    old: Any, new: Any, backward: bool, forward: bool
) -> None:
    schemas = [contract_of(fn, task="job", context=type(None)).schema for fn in (old, new)]
    found = compare(*schemas)
    assert (found.backward, found.forward) == (backward, forward)
    rules = [change.rule for change in found.changes if not change.warning]
    assert rules == ([] if backward and forward else ["PAYLOAD_SHAPE_CHANGED"])
    for change in found.changes:
        assert change.warning or (change.backward, change.forward) == (backward, forward)


@pytest.mark.parametrize(
    ("old", "new", "example"),
    [
        (dt.datetime | int, dt.datetime | Annotated[int, Meta(ge=0)], -1),
        (struct(x=dt.date | int), struct(x=dt.date | Annotated[int, Meta(le=9)]), {"x": 10}),
        (dt.datetime | Annotated[int, Meta(lt=5)], dt.datetime | Annotated[int, Meta(lt=3)], 4),
    ],
)
def test_a_member_of_a_union_that_was_narrowed_is_told_as_such(
    old: Any, new: Any, example: Any
) -> None:
    (change,) = between(old, new).changes
    assert (change.rule, change.example) == ("CONSTRAINT_TIGHTENED", example)


@pytest.mark.parametrize("keyword", ["x-typedq-new", "x-typedq-check", "x-typedq-written"])
def test_a_keyword_of_typedqs_own_that_the_reader_has_must_be_equal(keyword: str) -> None:
    plain, marked = {"type": "string"}, {"type": "string", keyword: {"minLength": 1}}
    (change,) = compare(plain, marked).changes
    assert (change.rule, change.backward) == ("UNKNOWN_KEYWORD", False)
    assert change.message.startswith(f"the keyword {keyword} differs")
    assert compare(marked, {**marked, "title": "t"}).changes == ()
    assert compare(marked, {**marked, keyword: {"minLength": 2}}).backward is False
    assert compare(marked, plain).backward is (keyword == "x-typedq-check")


INTEGERS: Any = {"type": "string", "x-typedq-type": "integer"}
LISTED: Any = {**INTEGERS, "enum": ["1", "2"]}


@pytest.mark.parametrize(
    "bounds",
    [
        *({"minimum": 2}, {"exclusiveMaximum": 2}, {"multipleOf": 2}, {"allOf": [{"minimum": 2}]}),
        {"x-typedq-mask": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("pattern", [{}, {"pattern": "^-?(0|[1-9][0-9]*)$"}], ids=["", "pattern"])
def test_listed_keys_of_numbers_are_held_against_the_bounds_of_the_reader(
    bounds: Any, pattern: Any
) -> None:
    def keyed(names: Any) -> Any:
        return {"type": "object", "propertyNames": names, "additionalProperties": True}

    for listed in (LISTED, {"anyOf": [LISTED]}, {**INTEGERS, "const": "1"}):
        reader = {**INTEGERS, **pattern, **bounds}
        fits = "const" in listed and "exclusiveMaximum" in bounds
        assert compare(keyed(listed), keyed(reader)).backward is fits
    wide = keyed({**INTEGERS, "minimum": 0, "maximum": 7})
    assert compare(keyed(LISTED), wide).backward
    assert not compare(wide, keyed({**INTEGERS, **bounds})).backward


INT64: Any = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


@pytest.mark.parametrize(
    ("old", "new", "backward"),
    [
        (INT64, Annotated[float, Meta(lt=2**63)], False),  # 2**63 - 1 is read as 2.0**63
        (INT64, Annotated[float, Meta(le=2**63)], True),
        (INT64, Annotated[float, Meta(lt=2**64)], True),
        (Annotated[int, Meta(gt=2**53)], Annotated[float, Meta(gt=2**53)], False),
        (Annotated[int, Meta(ge=2**53)], Annotated[float, Meta(ge=2**53)], True),
        (Annotated[int, Meta(multiple_of=6)], Annotated[float, Meta(multiple_of=3)], False),
        (Annotated[int, Meta(multiple_of=12)], Annotated[float, Meta(multiple_of=4)], True),
        (int, Annotated[float, Meta(multiple_of=1)], True),
        (Annotated[int, Meta(multiple_of=6, ge=0, le=2**53)],
         Annotated[float, Meta(multiple_of=3)], True),
        (Literal[2**63 - 1], Annotated[float, Meta(lt=2**63)], False),
        (Literal[2**63 - 1], Annotated[float, Meta(le=2**63)], True),
        (Literal[3 * (2**53 + 1)], Annotated[float, Meta(multiple_of=3)], False),
    ],
)  # fmt: skip
def test_bounds_hold_for_what_a_whole_number_is_rounded_to(
    old: Any, new: Any, backward: bool
) -> None:
    assert between(old, new).backward is backward
    if get_origin(old) is not Literal:  # such keys are no numbers
        assert between(dict[old, int], dict[new, int]).backward is backward


def nearly(step: float, **more: Any) -> Any:
    return model(a=Annotated[float, Field(multiple_of=step, **more)])


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward"),
    [
        (nearly(0.1), struct(a=Annotated[float, Meta(multiple_of=0.1)]), False, True),
        (nearly(3), struct(a=Annotated[float, Meta(multiple_of=3)]), False, True),
        (nearly(0.1), nearly(0.1, title="t"), True, True),
        (nearly(0.5), nearly(0.25), True, False),
        (nearly(0.1), struct(a=float), True, False),
        (nearly(0.1), dec(multiple_of=Decimal("0.1")), False, False),
        (nearly(0.1), dec(ge=0), False, False),
        (model(a=Annotated[int, Field(multiple_of=3, ge=0, le=9)]), nearly(3), True, False),
        (nearly(0.1), model(a=Annotated[float | None, Field(multiple_of=0.1)]), True, False),
    ],
)
def test_pydantic_takes_a_float_that_is_nearly_a_multiple_and_msgspec_does_not(
    old: Any, new: Any, backward: bool, forward: bool
) -> None:
    assert verdicts(old, new) == (backward, forward)


def several(kind: Any) -> Any:
    return Annotated[kind, Meta(min_length=2)]


@pytest.mark.parametrize(
    ("old", "new", "backward"),
    [
        (several(set[int]), several(set[float]), False),  # 2**53 and 2**53 + 1 are one float
        (several(set[int]), set[float], True),
        (several(set[int]), Annotated[set[float], Meta(min_length=1)], True),
        (several(set[tuple[int, ...]]), several(set[tuple[float, ...]]), False),
        (several(set[int]), several(set[int | float]), True),
        (several(set[str]), several(set[str | None]), True),
        (several(list[int]), several(list[float]), True),
        (several(dict[int, int]), several(dict[float, int]), False),
        (several(dict[int, int]), dict[float, int], True),
        (several(dict[int, int]), several(dict[int, float]), True),
    ],
)
def test_elements_and_keys_that_are_rounded_may_become_equal_and_too_few(
    old: Any, new: Any, backward: bool
) -> None:
    assert between(old, new).backward is backward


@pytest.mark.parametrize(
    ("items", "kind", "backward"),
    [
        ({"type": "string"}, str, True),
        ({"type": "integer"}, int, True),
        ({"type": "number"}, float, False),  # 2**53 and 2**53 + 1
        ({"type": ["integer", "boolean"]}, int | bool, False),  # 1 and true
        ({"type": "string", "format": "date-time"}, dt.datetime, False),  # one moment in two zones
        ({"type": "string", "format": "uuid"}, uuid.UUID, False),  # in upper and lower case
        ({"enum": ["a", "b", 1]}, Literal["a", "b", 1], True),
    ],
)
def test_elements_that_differ_elsewhere_may_be_equal_here(
    items: Any, kind: Any, backward: bool
) -> None:
    foreign = {"type": "array", "items": items, "uniqueItems": True, "minItems": 2}
    assert compare(foreign, document(several(set[kind]))).backward is backward
    assert compare(foreign, document(set[kind])).backward
    assert between(several(set[kind]), Annotated[set[kind], Meta(min_length=1)]).backward


class Bits(enum.IntFlag):
    A = 1
    B = 2


def test_flags_hold_as_many_bits_as_their_reader_takes() -> None:
    flags: Any = Bits
    unsigned, signed = Codec(struct(a=flags)), Codec(model(a=flags))
    assert unsigned.parse(b'{"a":18446744073709551615}')
    for codec, number in ((unsigned, 2**64), (signed, 2**63)):
        with pytest.raises(ValueError, match="int"):
            codec.parse(b'{"a":%d}' % number)
    assert verdicts(struct(a=int), struct(a=flags)) == (False, True)
    assert verdicts(struct(a=flags), model(a=flags)) == (False, True)
    assert verdicts(INT64_OR_NOTHING, model(a=flags))[0]


INT64_OR_NOTHING: Any = struct(a=Annotated[int, Meta(ge=0, le=2**63 - 1)])
