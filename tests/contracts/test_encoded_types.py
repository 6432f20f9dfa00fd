"""Constraints that are written are enforced or refused, wherever; and the types people use."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import math
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
    cast,
)

import annotated_types as at
import attrs
import django.db.models
import msgspec
import pydantic
import pytest
from msgspec import Meta, Struct
from pydantic import AfterValidator, EmailStr, Field, HttpUrl, PositiveInt, StringConstraints
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import Doc, TypeAliasType

from typedq import ByPydantic, Json
from typedq.compat import compare
from typedq.contracts import Contract, contract_of, document, fingerprint
from typedq.errors import ContractError, InvalidArguments, InvalidBody


def contract(kind: Any, default: Any = ...) -> Contract:
    def task(a: Any) -> None: ...

    task.__annotations__["a"] = kind
    if default is not ...:
        task.__defaults__ = (default,)
    return contract_of(task, task="t", context=type)


def round_trip(kind: Any, value: Any) -> Any:
    found = contract(kind)
    args, kwargs = found.decode(found.encode((value,), {}))
    return (*args, *kwargs.values())[0]


def refusal(kind: Any, default: Any = ...) -> str:
    with pytest.raises(ContractError) as caught:
        contract(kind, default)
    assert (caught.value.task, caught.value.parameter) == ("t", "a")
    return caught.value.reason


# --- constraints: the type, values that fit, values that do not, what msgspec itself would say ----

UserId: Any = cast("Any", NewType)("UserId", PositiveInt)
Counted = TypeAliasType("Counted", PositiveInt)
TRANSLATED: list[tuple[Any, list[Any], list[Any], Any]] = [
    (PositiveInt, [1], [0, -5], Annotated[int, Meta(gt=0)]),
    (pydantic.NonNegativeFloat, [0.0], [-0.5], Annotated[float, Meta(ge=0)]),
    (Annotated[int, Field(gt=0)], [1], [0], Annotated[int, Meta(gt=0)]),
    (Annotated[int, at.Gt(0)], [1], [0], Annotated[int, Meta(gt=0)]),
    (Annotated[int, at.Ge(1), at.Lt(3)], [1, 2], [0, 3], Annotated[int, Meta(ge=1, lt=3)]),
    (Annotated[int, at.Interval(gt=0, le=2)], [2], [3], Annotated[int, Meta(gt=0, le=2)]),
    (Annotated[int, at.MultipleOf(3)], [3], [4], Annotated[int, Meta(multiple_of=3)]),
    (pydantic.conint(ge=1, multiple_of=2), [2], [0, 3], Annotated[int, Meta(ge=1, multiple_of=2)]),
    (Annotated[PositiveInt, Field(gt=5, ge=2)], [6], [5], Annotated[int, Meta(gt=5)]),
    (Annotated[int, Meta(ge=3), at.Ge(1)], [3], [2], Annotated[int, Meta(ge=3)]),
    (Annotated[int, Field(gt=1.0)], [2], [1], Annotated[int, Meta(gt=1)]),
    (Annotated[float, at.Lt(Decimal("1.5"))], [1.0], [1.5], Annotated[float, Meta(lt=1.5)]),
    (Annotated[int, at.Ge(True)], [1], [0], Annotated[int, Meta(ge=1)]),
    (at.IsFinite[float], [1.0], [math.inf], float),
    (Annotated[int, Field(examples=[dt.date(2020, 1, 1), {Decimal(1)}, object])], [1], [], int),
    (Annotated[str, at.MinLen(1)], ["a"], [""], Annotated[str, Meta(min_length=1)]),
    (
        Annotated[str, at.Len(1, 2)],
        ["ab"],
        ["abc"],
        Annotated[str, Meta(min_length=1, max_length=2)],
    ),
    (pydantic.constr(pattern="^a"), ["ab"], ["b"], Annotated[str, Meta(pattern="^a")]),
    (
        Annotated[str, StringConstraints(max_length=1)],
        ["a"],
        ["ab"],
        Annotated[str, Meta(max_length=1)],
    ),
    (Annotated[bytes, Field(max_length=1)], [b"a"], [b"ab"], Annotated[bytes, Meta(max_length=1)]),
    (pydantic.conlist(int, min_length=1), [[1]], [[]], Annotated[list[int], Meta(min_length=1)]),
    (Annotated[set[int], at.MaxLen(1)], [{1}], [{1, 2}], Annotated[set[int], Meta(max_length=1)]),
    (
        Annotated[dict[str, PositiveInt], Field(min_length=1)],
        [{"a": 1}],
        [{}, {"a": 0}],
        Annotated[dict[str, Annotated[int, Meta(gt=0)]], Meta(min_length=1)],
    ),
    (
        Annotated[dt.datetime, at.Timezone(...)],
        [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
        [dt.datetime(2020, 1, 1)],  # noqa: DTZ001
        Annotated[dt.datetime, Meta(tz=True)],
    ),
    (
        Annotated[dt.time, at.Timezone(None)],
        [dt.time(1)],
        [dt.time(1, tzinfo=dt.UTC)],
        Annotated[dt.time, Meta(tz=False)],
    ),
    (Annotated[int | None, Field(gt=0)], [None, 1], [0], Optional[Annotated[int, Meta(gt=0)]]),  # noqa: UP045
    (Optional[PositiveInt], [None, 1], [0], Optional[Annotated[int, Meta(gt=0)]]),  # noqa: UP045
    (tuple[PositiveInt, ...], [(1,)], [(0,)], tuple[Annotated[int, Meta(gt=0)], ...]),
    (tuple[PositiveInt, str], [(1, "")], [(0, "")], tuple[Annotated[int, Meta(gt=0)], str]),
    (Annotated[int, Doc("of a user"), "id", at.Unit("m")], [0], [], int),
    (Annotated[int, Field(description="of a user", examples=[1], strict=True)], [0], [], int),
    (UserId, [1], [0], Annotated[int, Meta(gt=0)]),
    (Counted, [1], [0], Annotated[int, Meta(gt=0)]),
]


def _list_of(kind: Any) -> Any:
    return list[kind]


def _dict_of(kind: Any) -> Any:
    return dict[str, kind]


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "parameter": lambda kind: kind,
    "struct": lambda kind: msgspec.defstruct("R", [("x", kind)]),
    "struct as array": lambda kind: msgspec.defstruct("R", [("x", kind)], array_like=True),
    "dataclass": lambda kind: dataclasses.make_dataclass("R", [("x", kind)]),
    "typed dict": lambda kind: TypedDict("R", {"x": kind}),  # type: ignore[operator]
    "named tuple": lambda kind: NamedTuple("R", [("x", kind)]),
    "attrs": lambda kind: attrs.make_class("R", {"x": attrs.field(type=kind)}),
    "in a list": lambda kind: _list_of(msgspec.defstruct("R", [("x", kind)])),
    "deeper": lambda kind: msgspec.defstruct(
        "O", [("r", dataclasses.make_dataclass("R", [("x", _dict_of(kind))]))]
    ),
}


def holding(holder: str, kind: Any, value: Any) -> Any:
    if holder == "parameter":
        return value
    if holder == "typed dict":
        return {"x": value}
    if holder == "in a list":
        return [kind.__args__[0](value)]
    if holder == "deeper":
        return kind(kind.__annotations__["r"]({"k": value}))
    return kind(x=value)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(("kind", "fitting", "others", "native"), TRANSLATED)
def test_a_constraint_holds_wherever_it_is_written(
    kind: Any, fitting: list[Any], others: list[Any], native: Any, holder: str
) -> None:
    held = HOLDERS[holder](kind)
    found = contract(held)
    assert found.fingerprint == contract(HOLDERS[holder](native)).fingerprint
    for value in fitting:
        sent = holding(holder, held, value)
        args, kwargs = found.decode(found.encode((sent,), {}))
        assert (*args, *kwargs.values()) == (sent,)
    for value in others:
        with pytest.raises(InvalidArguments) as caught:
            found.encode((holding(holder, held, value),), {})
        assert caught.value.path != "$"


def custom(_: Any) -> Any: ...


NOT_ENFORCED: list[tuple[Any, str]] = [
    (Annotated[int, AfterValidator(custom)], "AfterValidator"),
    (Annotated[int, pydantic.BeforeValidator(custom)], "BeforeValidator"),
    (Annotated[int, pydantic.PlainSerializer(custom)], "PlainSerializer"),
    (pydantic.UUID4, "UuidVersion"),
    (pydantic.Base64Str, "EncodedStr"),
    (pydantic.Json[int], "Json"),
    (Annotated[str, StringConstraints(strip_whitespace=True)], "strip_whitespace=True"),
    (Annotated[str, StringConstraints(to_lower=True)], "to_lower=True"),
    (Annotated[str, at.Predicate(str.islower)], "Predicate"),
    (Annotated[str, at.LowerCase], "Predicate"),
    (Annotated[dt.date, at.Ge(dt.date(2020, 1, 1))], "ge on a date"),
    (Annotated[Decimal, Field(gt=0)], "gt on a Decimal"),
    (Annotated[uuid.UUID, Field(min_length=1)], "min_length on a UUID"),
    (Annotated[dt.datetime, at.Timezone("Europe/Berlin")], "Timezone"),
    (pydantic.condecimal(max_digits=3), "max_digits=3"),
    (Annotated[float, at.MultipleOf(0.1)], "multiple_of on a float"),
    (Annotated[int, at.Gt(0.5)], "gt=0.5 on a whole number"),
    (Annotated[int, at.Lt(1 << 64)], "on a whole number"),
    (Annotated[float, at.Lt(math.inf)], "lt=inf on a float"),
    (Annotated[float, at.Lt(10**400)], "on a float"),
    (Annotated[float, at.Lt(Decimal("0.1"))], "lt=Decimal('0.1') on a float"),
    (Annotated[bool, at.Gt(0)], "gt on a bool"),
    (Annotated[str, Field(pattern="a"), Field(pattern="b")], "a second pattern"),
    (Annotated[int, Field(alias="b")], "Field(alias=...)"),
    (Annotated[int, Field(exclude=True)], "Field(exclude=...)"),
    (Annotated[int | str, Field(gt=0)], "gt on a str"),
    (Annotated[int, object()], "remove it, or put it in a pydantic model"),
]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(("kind", "what"), NOT_ENFORCED)
def test_a_constraint_that_cannot_hold_is_refused(kind: Any, what: str, holder: str) -> None:
    reason = refusal(HOLDERS[holder](kind))
    assert what in reason
    assert "put it in a pydantic model" in reason
    assert (" - at $" in reason) == (holder != "parameter")


class Slow(Struct):
    n: int


BY_PYDANTIC: list[tuple[Any, Any, Any]] = [
    (Annotated[Decimal, Field(gt=0, max_digits=3)], Decimal("1.5"), Decimal("1.555")),
    (Annotated[dt.date, at.Ge(dt.date(2020, 1, 1))], dt.date(2020, 1, 1), dt.date(2019, 1, 1)),
    (Annotated[str, StringConstraints(pattern=r"^\d+$")], "12", "12\n"),
    (pydantic.UUID4, uuid.UUID(int=1, version=4), uuid.UUID(int=1, version=1)),
    (Annotated[list[int], Field(max_length=1)], [1], [1, 2]),
]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(("kind", "good", "bad"), BY_PYDANTIC)
def test_a_value_marked_so_is_checked_by_pydantic_anywhere(
    kind: Any, good: Any, bad: Any, holder: str
) -> None:
    held = HOLDERS[holder](Annotated[kind, ByPydantic])
    found = contract(held)
    sent = holding(holder, held, good)
    args, kwargs = found.decode(found.encode((sent,), {}))
    assert (*args, *kwargs.values()) == (sent,)
    with pytest.raises(InvalidArguments):
        found.encode((holding(holder, held, bad),), {})


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            Annotated[int, Meta(gt=1), ByPydantic],
            "pydantic does not read msgspec.Meta; write Field",
        ),
        (Annotated[int, Field(alias="b"), ByPydantic], "Field(alias=...)"),
        (Annotated[int, Field(default=1), ByPydantic], "write it after `=`"),
        (Annotated[Slow, ByPydantic], "has no JSON form"),
    ],
)
def test_what_pydantic_would_not_read_beside_the_mark_is_refused(kind: Any, reason: str) -> None:
    assert reason in refusal(kind)


@dataclasses.dataclass
class FieldAsDefault:
    n: int = Field(gt=0)


class FieldInStruct(Struct):
    n: int = Field(3)


@dataclasses.dataclass
class NoneAsDefault:
    n: int = None  # type: ignore[assignment]


class Inner(Struct):
    n: PositiveInt = 0


class Outer(Struct):
    inner: list[Inner] = []


class TupleDefault(NamedTuple):
    n: int = "x"  # type: ignore[assignment]


@attrs.define
class AttrsDefault:
    n: int = "x"  # type: ignore[assignment]


class UnsayableDefault(Struct):
    n: float = math.inf


class SecondDefault(Struct):
    at: dt.datetime = dt.datetime(2020, 1, 1, fold=1)  # noqa: DTZ001


@attrs.define
class Private:
    _n: int


@dataclasses.dataclass
class Initial:
    n: int
    start: dataclasses.InitVar[int] = 0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FieldAsDefault, "write Annotated[..., Field(...)] - at $.n"),
        (FieldInStruct, "write Annotated[..., Field(...)] - at $.n"),
        (Annotated[int, Field(default=3)], "write it after `=`"),
        (NoneAsDefault, "refuses its default None: Expected `int`, got `null` - at $.n"),
        (Inner, "refuses its default 0: Expected `int` >= 1 - at $.n"),
        (Outer, "refuses its default 0: Expected `int` >= 1 - at $.inner[...].n"),
        (TupleDefault, "refuses its default 'x'"),
        (AttrsDefault, "refuses its default 'x'"),
        (Private, "a private attribute of an attrs class is never written; give it another name"),
        (Initial, "an InitVar is not kept, so it cannot be sent; make it a field - at $.start"),
        (UnsayableDefault, "refuses its default inf: NaN and infinity cannot be said in JSON"),
        (SecondDefault, "fold=1 cannot be said in JSON"),
        (Annotated[float, Meta(ge=-1e305)], "is not finite or is beyond 1e300; leave that out"),
        (Annotated[int, Field(gt=5, lt=6)], "no value fits its type"),
        (Annotated[int, Meta(le=2**64)], "bounds of an int have 64 bits with a sign; check"),
        (Annotated[str, at.MinLen(3), at.MaxLen(2)], "no value fits its type"),
        (Annotated[int, at.Interval(gt=0, lt=3), at.MultipleOf(5)], "no value fits its type"),
    ],
)
def test_a_default_or_a_field_that_could_never_travel(kind: Any, reason: str) -> None:
    assert reason in refusal(kind)


def test_a_default_of_a_field_info_is_refused_for_a_parameter() -> None:
    assert "write Annotated[..., Field(...)]" in refusal(int, Field(gt=0))


# --- types of pydantic and of the standard library, outside a model -------------------------------


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    age: int


@pydantic_dataclass
class Point:
    x: int
    y: PositiveInt = Field(default=1, alias="Y")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Status(django.db.models.TextChoices):
    OPEN = "open", "Open"
    DONE = "done", "Done"


class Priority(django.db.models.IntegerChoices):
    LOW = 1, "Low"
    HIGH = 2, "High"


class Everything(Struct):
    pets: list[Cat | Dog]
    url: HttpUrl
    point: Point
    email: EmailStr | None = None
    status: Status = Status.OPEN
    colour: Literal[Colour.RED] | None = None
    more: dict[str, Json] = {}
    inner: Everything | None = None
    when: dict[pydantic.AwareDatetime, int] = {}


class EverythingAsDict(TypedDict, total=False):
    pets: list[Cat | Dog]
    path: pathlib.PurePosixPath


T = TypeVar("T")


class Page(Struct, Generic[T]):
    items: list[T]
    next: Page[T] | None = None


Tree = TypeAliasType("Tree", "dict[str, Tree] | list[Tree] | int")
Branch = TypeAliasType("Branch", Union["list[Branch]", int])
CASES: list[tuple[Any, list[Any]]] = [
    (Json, [None, {"a": [1, 1.5, True, None, "x"]}, []]),
    (Json | None, [None, 1]),
    (dict[str, Json], [{"a": {"b": [1]}}]),
    (list[Json], [[1, "a", None]]),
    (pydantic.JsonValue, [{"a": 1}]),
    (Cat | Dog, [Cat(name="x"), Dog(age=1)]),
    (list[Cat | Dog], [[Cat(name="x"), Dog(age=1)]]),
    (Annotated[Cat | Dog, Field(discriminator="kind")], [Dog(age=1)]),
    (Cat | Dog | None, [None, Cat(name="x")]),
    (Cat | int, [Cat(name="x"), 3]),
    (Point, [Point(x=1, Y=2)]),
    (list[Point], [[Point(x=1)]]),
    (EmailStr, ["a@b.co"]),
    (HttpUrl, [HttpUrl("https://a.b/c")]),
    (pydantic.AwareDatetime, [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]),
    (pydantic.IPvAnyAddress, [ipaddress.IPv4Address("1.1.1.1")]),
    (ipaddress.IPv6Network, [ipaddress.IPv6Network("::/64")]),
    (pydantic.ByteSize, [pydantic.ByteSize(5)]),
    (pathlib.Path, [pathlib.Path("a/b")]),
    (dict[EmailStr, int], [{"a@b.co": 1}]),
    (collections.deque[int], [collections.deque([1])]),
    (collections.defaultdict[str, list[int]], [collections.defaultdict(list, a=[1])]),
    (collections.OrderedDict[str, int], [collections.OrderedDict(a=1)]),
    (Literal[Colour.RED, 1], [Colour.RED, 1]),
    (list[Literal[Colour.RED]], [[Colour.RED]]),
    (Status, [Status.DONE]),
    (Priority | None, [Priority.HIGH, None]),
    (dict[Status, Priority], [{Status.OPEN: Priority.LOW}]),
    (Tree, [{"a": [1, {"b": 2}]}, 3]),
    (list[Branch], [[[1, [2]], 3]]),
    (Page[PositiveInt], [Page([1], Page([2]))]),
    (Page[EmailStr], [Page(["a@b.co"])]),
    (EverythingAsDict, [{}, {"pets": [Dog(age=1)], "path": pathlib.PurePosixPath("a")}]),
    (
        Everything,
        [
            Everything([], HttpUrl("https://a.b"), Point(x=1)),
            Everything(
                [Cat(name="x"), Dog(age=1)],
                HttpUrl("https://a.b"),
                Point(x=1, Y=3),
                "a@b.co",
                Status.DONE,
                Colour.RED,
                {"a": [None]},
                Everything([], HttpUrl("https://a.b"), Point(x=2)),
                {dt.datetime(2020, 1, 1, tzinfo=dt.UTC): 1},
            ),
        ],
    ),
]


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_types_people_use(kind: Any, values: list[Any]) -> None:
    schema = contract(kind).schema
    assert compare(schema, schema).backward
    for value in values:
        read = round_trip(kind, value)
        assert read == value
        assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (Json, {"a": dt.date(2020, 1, 1)}, "$.a.a"),
        (Json, [{1}], "$.a[0]"),
        (Json, {"a": {1: 2}}, "$.a.a[1]"),
        (Json, {"a": math.nan}, "$.a.a"),
        (dict[str, Json], {"a": Colour.RED}, "$.a.a"),
        (Json, Point(x=1), "$.a"),
        (HttpUrl, "https://a.b", "$.a"),
        (EmailStr, "nobody", "$.a"),
        (pathlib.Path, "a", "$.a"),
        (Cat | Dog, {"name": "x"}, "$.a"),
        (list[Cat | Dog], [Cat.model_construct(name=1)], "$.a[0].name"),
        (Status, "shut", "$.a"),
        (list[Point], [Point.__new__(Point)], "$.a[0]"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_path(kind: Any, value: Any, path: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        contract(kind).encode((value,), {})
    assert caught.value.path.startswith(path)


def test_any_json_value_is_an_open_schema() -> None:
    assert contract(Json).schema["properties"]["a"] == {}
    assert document(dict[str, Json])["additionalProperties"] == {}
    assert fingerprint(document(Json)) == fingerprint(document(pydantic.JsonValue))
    assert not compare(document(dict[str, Json]), document(dict[str, int])).backward
    assert compare(document(dict[str, int]), document(dict[str, Json])).backward


class SafeString(str):
    """As Django's: its str() is itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Float64(float): ...


class Count(int): ...


class Blob(bytes): ...


class FakeDatetime(dt.datetime): ...


class FakeDate(dt.date): ...


class Span(dt.timedelta):
    @property
    def days(self) -> int:  # as pendulum has it
        return abs(super().days)


class Money(Decimal): ...


class Values(Struct):
    text: str = ""
    number: float = 0.0
    count: int = 0
    blob: bytes = b""
    moment: dt.datetime | None = None
    day: dt.date | None = None
    span: dt.timedelta | None = None
    money: Decimal | None = None
    rows: list[str] = []
    by: dict[str, int] = {}


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ({"text": SafeString("<b>")}, "<b>"),
        ({"number": Float64(1.5)}, 1.5),
        ({"count": Count(3)}, 3),
        ({"blob": Blob(b"a")}, b"a"),
        ({"moment": FakeDatetime(2020, 1, 1, 1, tzinfo=dt.UTC, fold=1)}, None),
        ({"day": FakeDate(2020, 1, 1)}, dt.date(2020, 1, 1)),
        ({"span": Span(days=-1)}, dt.timedelta(days=-1)),
        ({"money": Money("1.50")}, Decimal("1.50")),
        ({"rows": [SafeString("a")]}, ["a"]),
        ({"by": {SafeString("a"): Count(1)}}, {"a": 1}),
    ],
)
def test_a_subclass_is_written_as_its_base_value(given: dict[str, Any], arrives: Any) -> None:
    ((name, value),) = given.items()
    read = getattr(round_trip(Values, Values(**given)), name)
    assert read == (value if arrives is None else arrives)
    assert type(read).__module__ in ("builtins", "datetime", "decimal")


def test_a_datetime_is_no_date() -> None:
    with pytest.raises(InvalidArguments, match=r"\$\.day"):
        contract(Values).encode((Values(day=FakeDatetime(2020, 1, 1)),), {})


class Mixed(enum.Enum):
    A = 1
    B = (1, 2)


class Large(enum.Enum):
    A = 1 << 70


Circle = TypeAliasType("Circle", "Circle")  # type: ignore[misc]
REFUSED: list[tuple[Any, str]] = [
    (Any, "write typedq.Json for any JSON value"),
    (object, "write typedq.Json for any JSON value"),
    (dict, "write typedq.Json"),
    (list, "write typedq.Json"),
    (dict[str, Any], "write typedq.Json"),
    (tuple, "write typedq.Json"),
    (dt.datetime | str, "members of datetime | str look the same in JSON"),
    (uuid.UUID | str, "keep one of them, or give each a Struct or model with a tag"),
    (Colour | str, "members of Colour | str look the same"),
    (Status | str, "members of Status | str look the same"),
    (HttpUrl | str, "members of HttpUrl | str look the same"),
    (bytes | str, "look the same in JSON"),
    (list[int] | set[int], "look the same in JSON"),
    (Values | Page[int], "look the same in JSON"),
    (Values | Cat, "make all of them models, or all of them Structs with a tag"),
    (Literal[Colour.RED, "red"], "two values of a Literal look the same in JSON; keep one of them"),
    (
        dict[int | str, int],
        "cannot be told apart as the key of a JSON object; use one type, as str",
    ),
    (dict[bool, int], "the keys of a JSON object are text; take str, int, UUID or date as keys"),
    (Mapping[bool, HttpUrl], "take str, int, UUID or date as keys"),
    (dict[memoryview, int], "take str, int, UUID or date as keys"),
    (complex, "take two floats"),
    (set[Json], "a set cannot hold Json, which has no hash"),
    (frozenset[pydantic.JsonValue], "a set cannot hold Json, which has no hash"),
    (set[tuple[Json, int]], "a set cannot hold Json, which has no hash"),
    (Mixed | None, "Mixed has values that are not all str or all int; give it values of one"),
    (Large, "whole numbers of 64 bits with a sign; take int or str"),
    (Literal[-(1 << 70)], "whole numbers of 64 bits with a sign; take int or str"),
    (enum.Enum("Nothing", {}), "no value fits an enum without members; give it some"),
    (Required[int], "Required and NotRequired belong in a TypedDict; name the type of the value"),
    (Circle, "no value fits Circle, which is nothing but itself; name its values"),
    (
        collections.defaultdict[str, collections.defaultdict[str, int]],
        "nobody knows what defaultdict[str, defaultdict[str, int]] holds for a missing key",
    ),
    (type[int], "take its name as a str"),
    (Callable[[], int], "take its name as a str"),
    (msgspec.Raw, "pass str or bytes"),
    (Contract, "take its parts in a Struct or a pydantic model, or a str"),
]


@pytest.mark.parametrize(("kind", "reason"), REFUSED)
def test_a_refusal_is_one_sentence_with_a_way_out(kind: Any, reason: str) -> None:
    for there in (kind, msgspec.defstruct("R", [("x", kind)])):
        told = refusal(there)
        assert reason in told
        assert "ype unions" not in told
        assert "\n" not in told


@pytest.mark.usefixtures("unmeasured")
def test_msgspec_types_load_no_pydantic() -> None:
    code = (
        "import sys, msgspec, datetime\n"
        "from typedq.contracts import Json, contract_of\n"
        "class A(msgspec.Struct):\n    n: int = 1\n    j: dict[str, Json] = {}\n"
        "def f(a: A, when: datetime.datetime | None = None) -> None: ...\n"
        "contract_of(f, task='t', context=type).encode((A(),), {})\n"
        "sys.exit('pydantic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_shadow_reads_what_it_declares_and_fills_in_the_rest() -> None:
    found = contract(Everything)
    read = found.decode(b'{"pets":[],"url":"https://a.b","point":{"x":1},"new":1}')[0][0]
    assert read == Everything([], HttpUrl("https://a.b"), Point(x=1))
    schema = found.schema["$defs"]["Everything"]
    assert schema["properties"]["status"]["default"] == "open"
    assert schema["title"] == "Everything"
    with pytest.raises(InvalidBody) as caught:
        found.decode(b'{"pets":[{"kind":"cat","name":1}],"url":"https://a.b","point":{"x":1}}')
    assert caught.value.path == "$.pets[0].name"


def test_defaults_of_any_type_are_used_and_shown() -> None:
    def task(
        url: HttpUrl = HttpUrl("https://a.b"),  # noqa: B008
        point: Point = Point(x=1),  # noqa: B008
        path: pathlib.PurePosixPath = pathlib.PurePosixPath("a"),  # noqa: B008
        cats: list[Cat] = [Cat(name="x")],  # noqa: B006, B008
        *,
        status: Status = Status.OPEN,
    ) -> None: ...

    found = contract_of(task, task="t", context=type)
    shown = {name: part["default"] for name, part in found.schema["properties"].items()}
    assert shown == {
        "url": "https://a.b/",
        "point": {"x": 1, "Y": 1},
        "path": "a",
        "cats": [{"kind": "cat", "name": "x"}],
        "status": "open",
    }
    (url, point, *_), kwargs = found.decode(found.encode((), {}))
    assert (url, point, kwargs) == (HttpUrl("https://a.b"), Point(x=1), {"status": Status.OPEN})
    assert found.decode(b"{}") == found.decode(found.encode((), {}))
    assert "refuses its default 'nobody'" in refusal(EmailStr, "nobody")


class Forbidding(Struct, forbid_unknown_fields=True, tag="f", rename="upper"):
    n: PositiveInt


class Other(Struct, tag="o"):
    n: PositiveInt = 1


def test_a_shadow_keeps_the_options_of_its_struct() -> None:
    found = contract(list[Forbidding | Other])
    sent = [Forbidding(2), Other()]
    body = found.encode((sent,), {})
    assert json.loads(body) == {"a": [{"type": "f", "N": 2}, {"type": "o", "n": 1}]}
    assert found.decode(body)[0] == (sent,)
    for wrong in (b'{"a":[{"type":"f","N":1,"x":1}]}', b'{"a":[{"type":"f","N":0}]}'):
        with pytest.raises(InvalidBody):
            found.decode(wrong)
