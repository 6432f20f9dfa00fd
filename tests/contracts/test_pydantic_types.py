"""What pydantic types promise is in their schema, or is refused: never compatible by silence."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import math
import pathlib
import re
import time
import uuid
import warnings
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import annotated_types as at
import msgspec
import pydantic
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyHttpUrl,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    EmailStr,
    Field,
    HttpUrl,
    PlainSerializer,
    StringConstraints,
    WrapSerializer,
    computed_field,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import core_schema
from typing_extensions import TypeAliasType, TypedDict

from typedq.compat import compare
from typedq.contracts import KEYWORDS, Contract, contract_of, document, fingerprint
from typedq.contracts.codec import Codec
from typedq.contracts.fragments import Definitions
from typedq.contracts.pydantic_types.adapter import Adapter
from typedq.contracts.type_tree import NoSchema
from typedq.errors import ContractError, InvalidArguments, InvalidBody

DAY = dt.date(2020, 1, 1)
NOON = dt.datetime(2020, 1, 1, 12)  # noqa: DTZ001


class Plain(enum.Enum):
    A = "a"
    B = "b"


class Text(enum.StrEnum):
    A = "a"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Bits(enum.IntFlag):
    A = 1
    B = 2


def model(kind: Any, **config: Any) -> Any:
    """A model with one field `x`."""
    fields: Any = {"x": (kind, ...)}
    options: Any = config
    return pydantic.create_model("M", __config__=options, **fields)


def either(encoded_name: str, kind: Any) -> Any:
    """A union of models that look alike, of which one has a field of that name on the wire."""
    one: Any = {"x": (kind, Field(alias=encoded_name))}
    other: Any = {"x": (int | str | bool, Field(alias=encoded_name)), "y": (int, 0)}
    return model(pydantic.create_model("One", **one) | pydantic.create_model("Other", **other))


def contract(kind: Any) -> Contract:
    def task(args: Any) -> None: ...

    task.__annotations__["args"] = kind
    return contract_of(task, task="t", context=type)


def round_trip(kind: Any, value: Any) -> Any:
    found = contract(kind)
    args, kwargs = found.decode(found.encode((value,), {}))
    return (*args, *kwargs.values())[0]


as_text = PlainSerializer(str, return_type=str)
backwards = PlainSerializer(lambda text: text[::-1], return_type=str)
undone = BeforeValidator(lambda text: text[::-1])


class Computing(BaseModel):
    w: int = 1

    @computed_field
    def area(self) -> int:
        return self.w * 2


class Declaring(BaseModel):
    w: int = 1
    area: str = ""


class Forbidding(BaseModel, extra="forbid"):
    w: int = 1


class Choosing(BaseModel):
    p: str = Field(validation_alias=AliasChoices("p", "q"), serialization_alias="q")


class P(BaseModel):
    p: str


class PAndQ(BaseModel):
    p: str
    q: str


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    age: int


def by_function(value: Any) -> str:
    return "cat" if "name" in value else "dog"


# What is written is one more than what is read, and code somewhere takes it back.
more = PlainSerializer(lambda number: number + 1, return_type=int)


class More(BaseModel):
    x: Annotated[int, more]


class TakenBackByFieldValidator(More):
    @pydantic.field_validator("x", mode="before")
    @classmethod
    def less(cls, x: int) -> int:
        return x - 1


class TakenBackByModelValidator(More):
    @pydantic.model_validator(mode="before")
    @classmethod
    def less(cls, given: dict[str, int]) -> dict[str, int]:
        return {"x": given["x"] - 1}


class TakenBackAfterwards(More):
    def model_post_init(self, context: Any) -> None:
        self.x -= 1


class TakenBackByInit(More):
    def __init__(self, x: int) -> None:
        super().__init__(x=x - 1)


@pydantic_dataclass
class TakenBackByDataclass:
    x: Annotated[int, more]

    def __post_init__(self) -> None:
        self.x -= 1


class ListOfPlain(BaseModel):
    of: list[model(int)]  # type: ignore[valid-type]


class TakenBackFarOutside(BaseModel):
    of: list[More]

    @pydantic.model_validator(mode="before")
    @classmethod
    def less(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"of": [{"x": one["x"] - 1} for one in given["of"]]}


class Validated(BaseModel):
    x: int

    @pydantic.field_validator("x")
    @classmethod
    def positive(cls, x: int) -> int:
        return x


# Old and new type: some value of the old one is refused or changed by the new one.
PAIRS: dict[str, tuple[Any, Any]] = {
    "a bound of a date": (model(dt.date), model(Annotated[dt.date, Field(ge=DAY)])),
    "a bound of a datetime": (model(dt.datetime), model(Annotated[dt.datetime, at.Lt(NOON)])),
    "a bound of a time": (model(dt.time), model(Annotated[dt.time, at.Gt(dt.time(1))])),
    "a bound of a duration": (
        model(dt.timedelta),
        model(Annotated[dt.timedelta, Field(le=dt.timedelta(1))]),
    ),
    "a duration that is written with years": (
        model(dt.timedelta),
        msgspec.defstruct("M", [("x", dt.timedelta)]),
    ),
    "durations of years as keys": (
        model(dict[dt.timedelta, int]),
        msgspec.defstruct("M", [("x", dict[dt.timedelta, int])]),
    ),
    "a duration up to a year": (
        model(Annotated[dt.timedelta, Field(le=dt.timedelta(365), ge=dt.timedelta(0))]),
        msgspec.defstruct("M", [("x", dt.timedelta)]),
    ),
    "another bound of a date": (
        model(Annotated[dt.date, at.Ge(DAY)]),
        model(Annotated[dt.date, at.Gt(DAY)]),
    ),
    "a date in the past": (model(dt.date), model(pydantic.PastDate)),
    "a datetime in the future": (model(dt.datetime), model(pydantic.FutureDatetime)),
    "a zone": (model(dt.datetime), model(pydantic.AwareDatetime)),
    "a version of a UUID": (model(uuid.UUID), model(pydantic.UUID4)),
    "another version of a UUID": (model(pydantic.UUID1), model(pydantic.UUID4)),
    "schemes of a URL": (model(AnyUrl), model(AnyHttpUrl)),
    "the length of a URL": (model(AnyHttpUrl), model(HttpUrl)),
    "other schemes of a URL": (model(pydantic.PostgresDsn), model(pydantic.MySQLDsn)),
    "stripped text": (
        model(Annotated[str, Field(min_length=1)]),
        model(Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]),
    ),
    "lower case": (model(str), model(Annotated[str, StringConstraints(to_lower=True)])),
    "upper case by config": (model(str), model(str, str_to_upper=True)),
    "a length by config": (model(str), model(str, str_min_length=2)),
    "stripped keys": (
        model(dict[str, int]),
        model(dict[Annotated[str, StringConstraints(strip_whitespace=True)], int]),
    ),
    "another regular expression engine": (
        model(Annotated[str, Field(pattern="a")]),
        model(Annotated[str, Field(pattern="a")], regex_engine="python-re"),
    ),
    "flags of a pattern": (
        model(Annotated[str, Field(pattern=re.compile("a"))]),
        model(Annotated[str, Field(pattern=re.compile("a", re.IGNORECASE))]),
    ),
    "bytes as base64": (
        model(bytes),
        model(bytes, ser_json_bytes="base64", val_json_bytes="base64"),
    ),
    "bytes as hexadecimal": (
        model(bytes),
        model(bytes, ser_json_bytes="hex", val_json_bytes="hex"),
    ),
    "encoded bytes": (model(bytes), model(pydantic.Base64Bytes)),
    "decoded bytes": (model(pydantic.Base64Bytes), model(bytes)),
    "bytes encoded twice": (
        model(pydantic.Base64Bytes),
        model(pydantic.Base64Bytes, ser_json_bytes="base64", val_json_bytes="base64"),
    ),
    "bytes encoded twice, otherwise": (
        model(pydantic.Base64Bytes, ser_json_bytes="hex", val_json_bytes="hex"),
        model(pydantic.Base64Bytes, ser_json_bytes="base64", val_json_bytes="base64"),
    ),
    "encoded text": (model(str), model(pydantic.Base64Str)),
    "decoded text": (model(pydantic.Base64Str), model(str)),
    "another encoding": (model(pydantic.Base64Bytes), model(pydantic.Base64UrlBytes)),
    "the length of bytes": (
        model(Annotated[bytes, Field(max_length=3)]),
        model(Annotated[bytes, Field(max_length=2)]),
    ),
    "a computed field that becomes one": (Computing, Declaring),
    "a computed field that is forbidden": (Computing, Forbidding),
    "another alias": (Choosing, P),
    "a second alias that others write": (PAndQ, Choosing),
    "a serializer dropped": (model(Annotated[dt.datetime, as_text]), model(dt.datetime)),
    "a serializer added": (model(dt.datetime), model(Annotated[dt.datetime, as_text])),
    "a serializer that a validator undoes": (model(Annotated[str, backwards, undone]), model(str)),
    "a validator that undoes a serializer": (model(Annotated[str, undone, backwards]), model(str)),
    "a serializer that a validator undoes after": (
        model(Annotated[str, backwards, AfterValidator(lambda text: text[::-1])]),
        model(str),
    ),
    "a serializer that a validator of a field takes back": (TakenBackByFieldValidator, model(int)),
    "a serializer that a validator of a model takes back": (TakenBackByModelValidator, model(int)),
    "a serializer that is taken back after the model is made": (TakenBackAfterwards, model(int)),
    "a serializer that __init__ takes back": (TakenBackByInit, model(int)),
    "a serializer that __post_init__ takes back": (TakenBackByDataclass, model(int)),
    "a serializer that a model around it takes back": (TakenBackFarOutside, ListOfPlain),
    "a serializer that upper case takes back": (
        model(
            Annotated[
                str,
                StringConstraints(to_upper=True),
                PlainSerializer(str.lower, return_type=str),
            ]
        ),
        model(str),
    ),
    "keys of another type": (model(dict[str, int]), model(dict[uuid.UUID, int])),
    "keys of dates": (model(dict[str, int]), model(dict[dt.date, int])),
    "keys of an enum of numbers": (model(dict[str, int]), model(dict[Number, int])),
    "keys of an enum": (model(dict[str, int]), model(dict[Plain, int])),
    "keys of truth values": (model(dict[str, int]), model(dict[bool, int])),
    "keys that are positive": (
        model(dict[int, int]),
        model(dict[pydantic.PositiveInt, int]),
    ),
    "keys of a Literal": (model(dict[str, int]), model(dict[Literal["a"], int])),
    "a version of a UUID in keys": (
        model(dict[uuid.UUID, int]),
        model(dict[pydantic.UUID4, int]),
    ),
    "a number read as flags": (model(int), model(Bits)),
    "a number read as flags by msgspec": (int, Bits),
    "text that may be a datetime": (model(str), model(str | dt.datetime)),
    "another order of a union": (model(str | dt.datetime), model(dt.datetime | str)),
    "a union whose first member takes more": (
        model(Annotated[dt.datetime, at.Gt(NOON)] | bytes),
        model(dt.datetime | bytes),
    ),
    "a list that may be a set": (model(list[int]), model(set[int] | list[int])),
    "a model that may be another": (model(P), model(PAndQ | P)),
    "a tag chosen by code": (
        model(Annotated[Cat | Dog, Field(discriminator="kind")]),
        model(
            Annotated[
                Annotated[Cat, pydantic.Tag("cat")] | Annotated[Dog, pydantic.Tag("dog")],
                pydantic.Discriminator(by_function),
            ]
        ),
    ),
    "an e-mail address": (model(str), model(EmailStr)),
    "an IP address": (model(str), model(ipaddress.IPv4Address)),
    "another IP address": (model(ipaddress.IPv4Address), model(ipaddress.IPv6Address)),
    "a path of a file": (model(pathlib.Path), model(pydantic.FilePath)),
    "a number of bytes": (model(str), model(ByteSize)),
    "digits of a Decimal": (model(Decimal), model(pydantic.condecimal(max_digits=3))),
    "the length of a Sequence": (
        model(Sequence[int]),
        model(Annotated[Sequence[int], Field(max_length=2)]),
    ),
    "a part of one model of a union": (
        model(model(model(int)) | model(model(int | bool | str))),
        model(model(model(int | bool)) | model(model(int | bool | str))),
    ),
    "a value of an enum in one list of a union": (
        model(list[Plain] | list[str]),
        model(list[enum.Enum("Plain", {"A": "a", "B": "b", "C": "c"})] | list[str]),  # type: ignore[misc]
    ),
    **{
        f"a field of a union called {name}": (either(name, int), either(name, int | bool))
        for name in ("title", "description", "default", "examples", "$comment", "$defs", "$ref")
    },
    "the length of a deque": (
        model(collections.deque[int]),
        model(Annotated[collections.deque[int], Field(max_length=2)]),
    ),
}


@pytest.mark.parametrize(("old", "new"), PAIRS.values(), ids=PAIRS)
def test_a_change_that_breaks_is_neither_compatible_nor_overlooked(old: Any, new: Any) -> None:
    schemas = document(old), document(new)
    assert not compare(*schemas).backward
    assert fingerprint(schemas[0]) != fingerprint(schemas[1])


def _keywords(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {key for key in schema if key.startswith("x-typedq")}
        return own.union(*map(_keywords, schema.values()))
    return set[str]().union(*map(_keywords, schema)) if isinstance(schema, list) else set()


def test_all_keywords_are_declared() -> None:
    used = set[str]().union(
        *(_keywords(document(kind)) for pair in PAIRS.values() for kind in pair)
    )
    assert {"x-typedq-bounds", "x-typedq-rank", "x-typedq-written"} < used <= KEYWORDS


# Two spellings of one contract.
SAME: dict[str, tuple[Any, Any]] = {
    "annotations": (
        model(int),
        model(Annotated[int, Field(title="t", examples=[1], json_schema_extra={"minimum": 9})]),
    ),
    "another schema for documentation": (
        model(int),
        model(Annotated[int, pydantic.WithJsonSchema({"type": "string"})]),
    ),
    "a bound, and a serializer of the same type": (
        model(Annotated[str, Field(min_length=1)]),
        model(Annotated[str, Field(min_length=1), as_text]),
    ),
    "an enum in a Literal": (model(Literal["a"]), model(Literal[Text.A])),
    "a serializer that writes what is read": (
        model(int),
        model(Annotated[int, PlainSerializer(int, return_type=int)]),
    ),
    "a dict that makes missing entries": (
        model(dict[str, int]),
        model(collections.defaultdict[str, int]),
    ),
    "options without effect on the wire": (
        model(str),
        model(str, frozen=True, coerce_numbers_to_str=True, strict=False, validate_assignment=True),
    ),
    "the order of members that differ": (model(int | str), model(str | int)),
    "a validator of a field": (model(int), Validated),
    "values of an enum": (model(Plain), model(Plain, use_enum_values=True)),
}


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME)
def test_what_is_the_same_on_the_wire_has_one_fingerprint(old: Any, new: Any) -> None:
    assert fingerprint(document(old)) == fingerprint(document(new))


class Secret(BaseModel):
    token: pydantic.SecretStr


class OnlyRead(BaseModel):
    a: int = Field(validation_alias="b")


class OnlyWritten(BaseModel):
    a: int = Field(serialization_alias="b")


class OnlyWrittenDefault(BaseModel):
    a: int = Field(default=0, serialization_alias="b")


class DeepAlias(BaseModel):
    a: int = Field(validation_alias=AliasPath("b", 0))


class ComputingAndForbidding(Computing, extra="forbid"): ...


class ComputingAndKeeping(Computing, extra="allow"): ...


class Excluded(BaseModel):
    a: int = Field(exclude=True)


class Unset(BaseModel):
    a: int = msgspec.UNSET  # type: ignore[assignment]


class WrongDefault(BaseModel):
    n: int = None  # type: ignore[assignment]


class WrongAndChecked(BaseModel, validate_default=True):
    n: Annotated[int, Field(gt=3)] = 1


class PlainTag(BaseModel):
    kind: Literal[Plain.A] = Plain.A


class WrongDay(BaseModel):
    day: Annotated[dt.date, Field(ge=DAY)] = dt.date(2019, 1, 1)


class Silent(BaseModel):
    when: dt.datetime

    @pydantic.field_serializer("when")
    def write(self, value):  # type: ignore[no-untyped-def]
        return value.isoformat()


class Whole(BaseModel):
    a: int

    @pydantic.model_serializer
    def write(self) -> dict[str, Any]:
        return {"b": self.a}


class Opaque:
    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(cls)


class Loop(BaseModel):
    next: Loop


@pydantic_dataclass
class WithInitVar:
    a: int
    b: dataclasses.InitVar[int]


@pydantic_dataclass(config=ConfigDict(extra="allow"))
class LosingExtras:
    a: int = 1


# Types that no value fits, and one that fits each of them with one bound loosened.
DATE: Any = dt.date
FITTING_BARELY: dict[Any, tuple[Any, Any]] = {
    Annotated[DATE, Field(gt=DAY, lt=dt.date(2020, 1, 3))]: (
        Annotated[DATE, Field(gt=DAY, lt=dt.date(2020, 1, 2))], dt.date(2020, 1, 2)),
    Annotated[DATE, Field(ge=DATE.max)]: (Annotated[DATE, Field(gt=DATE.max)], DATE.max),
    Annotated[DATE, Field(le=DATE.min)]: (Annotated[DATE, Field(lt=DATE.min)], DATE.min),
    Annotated[Decimal, Field(gt=999, max_digits=4)]: (
        Annotated[Decimal, Field(ge=1000, max_digits=3)], Decimal(1000)),
    Annotated[Decimal, Field(ge=99, max_digits=3, decimal_places=1)]: (
        Annotated[Decimal, Field(ge=100, max_digits=3, decimal_places=1)], Decimal("99.9")),
    Annotated[Decimal, Field(gt=0, le=Decimal("0.01"), decimal_places=2)]: (
        Annotated[Decimal, Field(gt=0, lt=Decimal("0.01"), decimal_places=2)], Decimal("0.01")),
    Annotated[Decimal, Field(ge=1, le=5, multiple_of=5)]: (
        Annotated[Decimal, Field(ge=1, lt=5, multiple_of=5)], Decimal(5)),
    Annotated[Decimal, Field(gt=-5, le=0, multiple_of=5)]: (
        Annotated[Decimal, Field(gt=-5, lt=0, multiple_of=5)], Decimal(0)),
    Annotated[float, Field(ge=0.25, le=0.3, multiple_of=0.1)]: (
        Annotated[float, Field(ge=0.25, le=0.29, multiple_of=0.1)], 0.3),
    Annotated[float, Field(gt=0.6, le=1, multiple_of=0.5)]: (
        Annotated[float, Field(gt=0.6, lt=0.9, multiple_of=0.5)], 1.0),
    Annotated[float, Field(gt=5, le=6)]: (Annotated[float, Field(gt=5, le=5)], 5.5),
    Annotated[int, Field(gt=-7, le=-6, multiple_of=3)]: (
        Annotated[int, Field(gt=-6, lt=-3, multiple_of=3)], -6),
}  # fmt: skip
REFUSED: list[tuple[Any, str]] = [
    (Secret, "asterisks; write Annotated[str, typedq.Secret] - at $.token"),
    (model(Any), "write typedq.Json - at $.x"),
    (model(list), "write typedq.Json - at $.x[...]"),
    (model(pydantic.Json[int]), "take the value's own type"),
    (model(pydantic.Json), "take the value's own type"),
    (OnlyRead, "written as 'a', but read as b; give it one alias for both"),
    (OnlyWritten, "written as 'b', but read as a"),
    (OnlyWrittenDefault, "written as 'b', but read as a; give it one alias for both"),
    (DeepAlias, "written as 'a', but read as b.0"),
    (ComputingAndForbidding, "extra='forbid' would not let it be read back; take extra off"),
    (ComputingAndKeeping, "extra='allow' would not let it be read back"),
    (Excluded, "keeps it out of messages; give it a default - at $.a"),
    (WrongDefault, "refuses its default None"),
    (WrongAndChecked, "refuses its default 1: Input should be greater"),
    (Unset, "UNSET is only left out by Field(exclude_if=...), of pydantic 2.12 or later - at $.a"),
    (WrongDay, "refuses its default datetime.date(2019, 1, 1): Input should be greater"),
    (LosingExtras, "never writes its extra fields; make it a model"),
    (Silent, "the serializer Silent.write does not say what it writes; annotate the type"),
    (Whole, "does not say what it writes"),
    (model(Annotated[int, as_text]), "its serializer writes string, but it reads integer"),
    (
        model(Annotated[int, WrapSerializer(lambda v, h: h(v), return_type=bool)]),
        "its serializer writes boolean, but it reads integer",
    ),
    (model(Annotated[float, at.Lt(math.inf)]), "lt=inf is no number that JSON can say; write"),
    (model(Annotated[float, at.Lt(Decimal("0.1"))]), "lt=Decimal('0.1') is no number that JSON"),
    (model(set[pydantic.JsonValue]), "a set cannot hold JsonValue, which has no hash"),
    (PlainTag, "Literal[Plain.A] cannot be read back; take the enum itself"),
    (model(Literal[Plain.A]), "Literal[Plain.A] cannot be read back; take the enum itself"),
    (model(enum.Enum("Odd", {"A": (1, 2)})), "cannot be read back; give Odd str or int values"),
    (model(dict[tuple[int, int], int]), "take str, int, UUID or date as keys - at $.x[key]"),
    (model(dict[Bits, int]), "take str, int, UUID or date as keys"),
    (model(dict[str | int, int]), "take str, int, UUID or date as keys"),
    (model(dict[Literal["a"] | None, int]), "take str, int, UUID or date as keys"),
    (model(dict[Literal[1, 2], int]), "take str, int, UUID or date as keys"),
    (model(dt.timedelta, ser_json_timedelta="float"), "leave it out"),
    (model(bytes, ser_json_bytes="base64"), "ser_json_bytes and val_json_bytes differ"),
    (model(float, ser_json_inf_nan="strings"), "ser_json_inf_nan='strings' is not understood"),
    (
        model(Annotated[str | dt.date, Field(union_mode="left_to_right")]),
        "union_mode='left_to_right' is not understood; leave it out, or add a tag",
    ),
    (model(pydantic.IPvAnyAddress | int), "write IPv4Address | IPv6Address"),
    (model(float | pydantic.IPvAnyNetwork), "in a union with numbers"),
    (model(list[bool | pydantic.IPvAnyInterface]), "pydantic reads numbers as IPvAny types"),
    (model(Annotated[str, pydantic.PlainValidator(str)]), "use AfterValidator or BeforeValidator"),
    (model(Opaque), "hides the type that is read"),
    (model(Callable[[], int]), "take its name as a str"),
    (model(type[int]), "take its name as a str"),
    (model(Iterable[int]), "take a list"),
    (model(complex), "take two floats"),
    (model(pydantic.ImportString), "take its dotted name as a str"),
    (model(Annotated[Contract, pydantic.InstanceOf]), "make it a model or a dataclass"),
    (Loop, "no value fits its type"),
    (model(Annotated[int, at.Gt(5), at.Lt(6)]), "no value fits its type"),
    (WithInitVar, "an InitVar is not kept"),
    *(
        (model(kind), "no value fits its type")
        for kind in (
            Annotated[dt.date, Field(gt=dt.date(2021, 1, 1), lt=DAY)],
            Annotated[dt.datetime, Field(ge=NOON, lt=NOON)],
            Annotated[dt.time, Field(ge=dt.time(2), le=dt.time(1))],
            Annotated[dt.timedelta, Field(ge=dt.timedelta(5), le=dt.timedelta(4))],
            Annotated[Decimal, Field(gt=5, lt=5)],
            *(kind for kind, _ in FITTING_BARELY.values()),
            Annotated[set[bool], Field(min_length=3)],
            Annotated[set[Plain], Field(min_length=3)],
            Annotated[dict[Literal["a"], int], Field(min_length=2)],
        )
    ),
    (model(EmailStr, str_max_length=4), "no value fits its type"),
    (model(ipaddress.IPv4Address, str_max_length=6), "no value fits its type"),
]


@pytest.mark.parametrize(("kind", "reason"), REFUSED)
def test_what_could_not_travel_is_refused_with_a_way_out(kind: Any, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        contract(kind)
    assert (caught.value.task, caught.value.parameter) == ("t", "args")
    assert reason in caught.value.reason


@pytest.mark.parametrize("kind", FITTING_BARELY, ids=str)
def test_what_a_value_fits_is_not_refused(kind: Any) -> None:
    value = FITTING_BARELY[kind][1]
    found, args = contract(model(kind)), model(kind)
    body = msgspec.json.encode({"x": pydantic.TypeAdapter(kind).dump_python(value, mode="json")})
    assert found.decode(body)[0][0].x == args(x=value).x == value


def test_a_key_that_nobody_here_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter: Any = pydantic.TypeAdapter(int)
    found = Adapter(Annotated[int, "unshared"])
    adapter.core_schema["novelty"] = 1
    monkeypatch.setattr(found, "_types", adapter)
    with pytest.raises(NoSchema, match="novelty=1 of pydantic's 'int' is not understood"):
        found.describe(Definitions(), "$")


# --- the same value out as in ---------------------------------------------------------------------


class Address(BaseModel):
    street: str = Field(alias="Street")
    zone: pathlib.PurePosixPath = pathlib.PurePosixPath("a")


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: Page[T] | None = None


@pydantic_dataclass
class Point:
    x: int
    y: int = Field(default=0, alias="Y")


class Names(pydantic.RootModel[dict[str, list[int]]]): ...


class Coordinates(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    depth: int


class Ported(BaseModel, validate_by_alias=False, validate_by_name=True):
    a: int = Field(alias="A")


class Populated(BaseModel, populate_by_name=True):
    a: int = Field(alias="A")


class Written(BaseModel):
    when: Annotated[dt.datetime, PlainSerializer(lambda v: v.isoformat(), return_type=str)]
    price: Decimal

    @pydantic.field_serializer("price")
    def as_text(self, value: Decimal) -> str:
        return str(value)


class Bird(BaseModel):
    type_: Literal["bird"] = Field(alias="type")


class Fish(BaseModel):
    type_: Literal["fish"] = Field(alias="type")


class Owned(BaseModel):
    pets: list[Annotated[Bird | Fish, Field(discriminator="type_")]]


class Extra(BaseModel, extra="allow"):
    a: int


class Nested(BaseModel):
    model_config = ConfigDict(title="Other")
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    either: Cat | Dog
    page: Page[int]
    point: Point
    names: Names
    at: Coordinates
    options: Options
    computed: Computing = Computing()


Tree = TypeAliasType("Tree", "dict[str, Tree] | list[Tree] | int")

VALUES: list[tuple[Any, Any]] = [
    (Address, Address(Street="x")),
    (Page[int], Page[int](items=[1], next=Page[int](items=[]))),
    (Point, Point(x=1, Y=2)),
    (Names, Names({"a": [1]})),
    (Computing, Computing(w=3)),
    (Choosing, Choosing.model_validate({"q": "x"})),
    (Ported, Ported.model_validate({"a": 1})),
    (Populated, Populated.model_validate({"a": 1})),
    (Written, Written(when=NOON, price=Decimal("1.50"))),
    (Owned, Owned(pets=[Bird(type="bird"), Fish(type="fish")])),
    (Extra, Extra(a=1, b=[{"c": None}])),  # type: ignore[call-arg]
    (
        Nested,
        Nested(
            pets=[Cat(name="a"), Dog(age=1)],
            either=Dog(age=2),
            page=Page[int](items=[3]),
            point=Point(x=1),
            names=Names({}),
            at=Coordinates(1),
            options={"depth": 2},
        ),
    ),
    (model(bytes, ser_json_bytes="hex", val_json_bytes="hex"), b"\xff\x00"),
    (model(pydantic.Base64Bytes), b"\xff\x00"),
    (model(Bits), Bits.A | Bits.B),
    (model(dict[Number, int]), {Number.ONE: 1}),
    (model(dict[bool, int]), {True: 1}),
    (model(dict[ipaddress.IPv4Address, int]), {ipaddress.IPv4Address("1.1.1.1"): 1}),
    (model(re.Pattern[str]), re.compile("a")),
    (model(collections.Counter[str]), collections.Counter("aab")),
    (model(collections.deque[int]), collections.deque([1])),
    (model(Tree), {"a": [1, {"b": 2}]}),
    (model(pydantic.JsonValue), {"a": [1, None, "x"]}),
    (model(int | float), 1.0),
    (model(EmailStr), "a@b.co"),
    (model(zoneinfo.ZoneInfo), zoneinfo.ZoneInfo("UTC")),
    (model(pydantic.IPvAnyAddress), ipaddress.IPv6Address("::1")),
    (model(pydantic.AwareDatetime), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_the_same_value_comes_out(kind: Any, value: Any) -> None:
    if kind.__name__ == "M":
        value = kind.model_construct(x=value)
    read = round_trip(kind, value)
    assert read == value
    assert type(read) is type(value)
    listed = round_trip(list[kind], [value])
    assert listed == [value]


class Base(BaseModel):
    a: int


class Derived(Base):
    b: int = 2


class Twin(BaseModel):
    a: int


Shifted = Annotated[
    int, PlainSerializer(lambda x: x + 1, return_type=int), BeforeValidator(lambda x: x - 1)
]


class Holder(BaseModel):
    shifted: Shifted | bool = 5
    one: Base = Base(a=1)
    many: list[Base] = []
    hidden: str = Field(default="x", exclude=True)
    text: str | dt.datetime = ""
    coded: Plain | str = ""
    named: Text | str = ""
    rows: list[int] | set[int] = []
    row: list[int] | tuple[int, ...] = []
    part: Base | dict[str, int] = {}
    twins: Base | Twin | None = None
    ident: uuid.UUID | str = ""
    when: dt.datetime | None = None
    at: dt.time | None = None


ODD_ZONE = dt.timezone(dt.timedelta(hours=1, seconds=30))
CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"shifted": True}, "$.shifted"),
    ({"one": Derived(a=1)}, "$.one.b"),
    ({"many": [Base(a=1), Derived(a=1)]}, "$.many[1].b"),
    ({"hidden": "y"}, "$.hidden"),
    ({"text": NOON}, "$.text"),
    ({"coded": Plain.A}, "$.coded"),
    ({"named": Text.A}, "$.named"),
    ({"rows": {1}}, "$.rows"),
    ({"row": (1,)}, "$.row"),
    ({"part": {"a": 1}}, "$.part"),
    ({"twins": Twin(a=1)}, "$.twins"),
    ({"ident": str(uuid.UUID(int=1))}, "$.ident"),
    ({"when": dt.datetime(2020, 1, 1, tzinfo=ODD_ZONE)}, "$.when"),
    ({"at": dt.time(12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))}, "$.at"),
]


@pytest.mark.parametrize(("given", "path"), CHANGED)
def test_a_value_that_would_arrive_changed_is_refused(given: dict[str, Any], path: str) -> None:
    value = Holder.model_construct(**(Holder().__dict__ | given))
    with pytest.raises(InvalidArguments, match="would not arrive as it was given") as caught:
        contract(Holder).encode((value,), {})
    assert caught.value.path == path


class Alias(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = Field(1, alias="b")


class Choices(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = Field(1, serialization_alias="b", validation_alias=AliasChoices("b", "c"))


@pytest.mark.parametrize("value", [1, 2, None])
@pytest.mark.parametrize("cls", [Alias, Choices])
def test_an_extra_under_the_wire_name_of_a_field_is_refused(cls: Any, value: Any) -> None:
    one = cls()
    one.b = value
    for kind, payload, path in ((cls, one, "$.b"), (list[cls], [one], "$.args[0].b")):
        with pytest.raises(InvalidArguments) as caught:
            contract(kind).encode((payload,), {})
        assert caught.value.path == path


def test_what_stays_the_same_in_the_same_types_passes() -> None:
    value = Holder(text="2020", rows=[1], part=Base(a=1), twins=Base(a=1), ident="x")
    assert round_trip(Holder, value) == value


class Private(BaseModel):
    a: int
    _cache: dict[str, int] = pydantic.PrivateAttr(default_factory=dict)


def test_private_attributes_do_not_travel() -> None:
    value = Private(a=1)
    value._cache["x"] = 1
    assert round_trip(Private, value).a == 1


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: int | list[Cat] = 0
    name: dict[str, Cat] = {}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"pet":{"kind":"cat"}}', "$.pet.name"),
        (b'{"pet":{"kind":"cat","name":1}}', "$.pet.name"),
        (b'{"pet":{"kind":"dog","age":"1"}}', "$.pet.age"),
        (b'{"pet":{"kind":"cow"}}', "$.pet"),
        (b'{"pet":{"kind":"dog","age":1},"either":[{"name":1}]}', "$.either[0].name"),
        (b'{"pet":{"kind":"dog","age":1},"name":{"cat":{"name":1}}}', "$.name.cat.name"),
        (b"{}", "$.pet"),
        (b"[]", "$"),
    ],
)
@pytest.mark.parametrize("kind", [Owner, list[Owner]])
def test_paths_name_no_members_of_unions(kind: Any, body: bytes, path: str) -> None:
    body, path = (body, path) if kind is Owner else (b"[" + body + b"]", "$[0]" + path[1:])
    with pytest.raises(InvalidBody) as caught:
        Codec(kind).read(body, 1_000, 64)
    assert caught.value.path == path


def test_a_problem_deep_in_a_model_that_holds_itself_is_found_at_once() -> None:
    body = b'{"next":' * 30 + b'{"other":{"other":[]}}' + b"}" * 30
    started = time.thread_time()
    with pytest.raises(InvalidBody) as caught:
        Codec(Chain).read(body, 1_000, 64)
    assert caught.value.path == "$" + ".next" * 30 + ".other.other"
    assert time.thread_time() - started < 1  # years, if all ways through it were tried


@pytest.mark.parametrize("body", [b'{"x":NaN}', b'{"x":-Infinity}', b'{"x":1', b"\xff", b""])
def test_what_is_not_json_is_not_read(body: bytes) -> None:
    with pytest.raises(InvalidBody, match="not valid JSON"):
        Codec(model(float)).read(body, 100, 9)


def test_validators_are_code_and_the_schema_shows_their_type() -> None:
    plain, checked = model(int), model(Annotated[int, BeforeValidator(lambda v: v)])
    assert fingerprint(document(plain)) == fingerprint(document(checked))


class Chain(BaseModel):
    next: Chain | None = None
    other: Chain | int | None = None


def test_an_optional_reference_to_itself_may_be_null() -> None:
    schema = document(Chain)["$defs"]["Chain"]["properties"]
    assert {"type": "null"} in schema["next"]["anyOf"]
    assert {"type": "null"} in schema["other"]["anyOf"]
    assert round_trip(Chain, Chain(next=Chain())) == Chain(next=Chain())


class Cow(BaseModel):
    type: Literal["bird"]
    type_: str = ""


class Hen(BaseModel):
    type: Literal["bird"]


class Eel(BaseModel):
    type: Literal["fish"]


def test_a_tag_with_an_alias_is_the_alias_unless_the_other_name_is_written() -> None:
    aliased, plain = Owned, model(list[Annotated[Hen | Eel, Field(discriminator="type")]])
    by_both = model(list[Annotated[Cow | Eel, Field(discriminator="type")]])
    aliased, plain, by_both = (
        document(kind)["properties"][name] | {"$defs": document(kind)["$defs"]}
        for kind, name in ((aliased, "pets"), (plain, "x"), (by_both, "x"))
    )
    assert compare(aliased, plain).backward
    assert compare(plain, aliased).backward
    assert not compare(by_both, aliased).backward
    with pytest.raises(InvalidBody):  # pydantic looks for the field's own name first
        Codec(Owned).read(b'{"pets":[{"type":"bird","type_":""}]}', 1_000, 9)


def test_bytes_that_are_no_text_are_refused_with_their_path() -> None:
    with pytest.raises(InvalidArguments) as caught:
        contract(model(list[bytes])).encode((model(list[bytes])(x=[b"a", b"\xff"]),), {})
    assert caught.value.path == "$.x[1]"


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is experimental
    from pydantic.experimental.pipeline import validate_as

STR: Any = validate_as(str)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (at.LowerCase[str], at.UpperCase[str]),
        (at.IsDigit[str], at.IsAscii[str]),
        (Annotated[int, at.Predicate(float.is_integer)], Annotated[int, at.Predicate(bool)]),
        (Annotated[str, at.Not(str.isdigit)], Annotated[str, at.Predicate(str.isdigit)]),
        (Annotated[str, at.Not(str.isdigit)], Annotated[str, at.Not(str.islower)]),
        (Annotated[str, STR.str_contains("a")], Annotated[str, STR.str_contains("b")]),
        (Annotated[str, STR.str_ends_with("a")], Annotated[str, STR.str_starts_with("a")]),
        (Annotated[str, STR.transform(len).gt(1)], Annotated[str, STR.transform(len).gt(2)]),
    ],
)
def test_checks_of_pydantics_are_told_apart_by_what_they_hold(one: Any, other: Any) -> None:
    schemas = [document(model(kind)) for kind in (one, other, one)]
    assert fingerprint(schemas[0]) == fingerprint(schemas[2])
    found = compare(schemas[0], schemas[1])
    assert (found.backward, found.forward) == (False, False)
    assert "0x" not in str(schemas)  # where a function is in memory
    assert compare(schemas[0], document(model(str | int))).backward
