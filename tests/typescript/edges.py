"""Types and values at the edges of contracts: other names of members, the longest durations."""

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Annotated, Any, Final

import msgspec
import pydantic
from pydantic import AliasChoices, AliasPath, ConfigDict, Field

from tests.typescript.differential import Case
from typedq import ByPydantic


class Choices(pydantic.BaseModel):
    x: int = Field(0, validation_alias=AliasChoices("a", "b"), serialization_alias="a")


class Needed(pydantic.BaseModel):
    x: int = Field(alias="b", validation_alias=AliasChoices("a", "b"))


class ByPath(pydantic.BaseModel):
    x: int = Field(0, validation_alias=AliasChoices("a", AliasPath("c", 0)), alias="a")


class ByName(pydantic.BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    x: int = Field(0, alias="a")


class ByNameOpen(ByName, extra="allow"):
    pass


class ByNameClosed(ByName, extra="forbid"):
    pass


class Nested(pydantic.BaseModel):
    inner: list[Choices] = []


class Excluded(pydantic.BaseModel):
    a: int = 1
    hidden: int = Field(5, exclude=True)


class Cased(msgspec.Struct):
    name: int
    Name: int = 0
    NAME: int | None = 0


class Factor(enum.Enum):
    HALF = 0.5
    ONE = 1.0
    MANY = 1e22


class Factors(pydantic.BaseModel):
    by: list[Factor]


class Reserved(msgspec.Struct, rename={"a": "class", "b": "__proto__", "c": "constructor"}):
    a: int
    b: int = 0
    c: int | msgspec.UnsetType = msgspec.UNSET


_LAST_DAY = [
    *("P999999999D", "-P999999999D", "P999999999DT86399.999999S", "-P999999998DT86399.999999S"),
    *("P0D", "PT0.000001S", "P365D", "P999999998DT86400S", "PT4294967295S"),
]
_YEARS = ["P1Y", "P2739726Y9D", "-P2739726Y9D", "P2739726Y9DT23H59M59.999999S"]
_ODD = [
    *("P1000000000D", "P999999999DT24H", "-P999999999DT0.000001S", "-P999999999DT1S", "P", "PT"),
    *("PT86399999913600S", "PT86400000000000S", "PT23999999999H", "PT9999999999H"),
    *("PT4294967296S", "PT71582789M", "PT1193047H", "P2739726Y10D", "-P2739726Y9DT1S", "P1DT"),
]
_WHOLE = [(1 << 53) - 1, 1 << 53, (1 << 53) + 1, -(1 << 63), (1 << 64) - 1, 10**30]
_OBJECTS: Final[dict[str, tuple[Any, list[Any], list[Any]]]] = {
    "choices": (Choices, [{}, {"a": 1}], [{"b": 2}, {"b": "x"}, {"b": None}, {"a": 1, "b": 2}]),
    "needed": (Needed, [{"b": 1}], [{"a": 2}, {}, {"a": 2, "b": 1}]),
    "by_path": (ByPath, [{"a": 1}], [{"c": [2]}, {"c": 3}]),
    "by_name": (ByName, [{"a": 1}], [{"x": 2}, {"x": "s"}]),
    "by_name_open": (ByNameOpen, [{"a": 1, "z": 2}], [{"x": 2}, {"x": "s"}]),
    "by_name_closed": (ByNameClosed, [{"a": 1}], [{"x": 2}, {"a": 1, "x": 2}]),
    "nested": (Nested, [{"inner": [{"a": 1}]}], [{"inner": [{"b": 2}]}]),
    "excluded": (Excluded, [{"a": 1}], [{"hidden": 7}, {"hidden": 5}, {"hidden": "s"}]),
    "cased": (Cased, [{"name": 1, "Name": 2, "NAME": None}], [{"Name": 1}]),
    "reserved": (Reserved, [{"class": 1, "__proto__": 2, "constructor": 3}], [{"a": 1}]),
    "factors": (Factors, [{"by": [0.5, 1.0, 1e22]}], [{"by": [1]}, {"by": [2]}, {"by": [True]}]),
    "whole": (list[int], [_WHOLE], [[1.5]]),
    "durations": (list[dt.timedelta], [[each] for each in _LAST_DAY], [[e] for e in _YEARS + _ODD]),
    "durations_of_pydantic": (
        list[Annotated[dt.timedelta, ByPydantic]],
        [[each] for each in _LAST_DAY + _YEARS],
        [[each] for each in _ODD],
    ),
}
_OF_MSGSPEC = {"cased", "reserved", "whole", "durations"}
CASES: Final[dict[str, Case]] = {
    name: Case(kind, [*map(json.dumps, [*sent, *others])], models=name not in _OF_MSGSPEC)
    for name, (kind, sent, others) in _OBJECTS.items()
}
SENT: Final = {name: len(sent) for name, (_, sent, _) in _OBJECTS.items()}  # the first ones
_DAYS = 999_999_999 * 86_400
SECONDS: Final = [0, 0.5, -1.5, 0.9999999, 90, 86_400, 1e10 + 0.25, -9e9 - 0.25, 1 << 32, _DAYS]
SECONDS.extend([_DAYS + 86_399.5, -_DAYS, 86_399.9999999])
TOO_LONG: Final = [_DAYS + 86_400, -_DAYS - 1, 1e300]
