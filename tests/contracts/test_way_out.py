"""Types of Python itself: taken, and then a value comes back, or refused with what to write."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import fractions
import ipaddress
import numbers
import pathlib
import re
import types
import typing
import uuid
import zoneinfo
from collections import abc
from decimal import Decimal
from typing import Any

import annotated_types
import msgspec
import pydantic
import pydantic.networks
import pydantic.types
import pytest
import typing_extensions as te

from typedq import Context
from typedq.contracts import contract_of
from typedq.errors import ContractError, InvalidArguments, InvalidBody


class Closed(te.TypedDict, closed=True):
    a: int


class Inherits(Closed):
    pass


class Extra(te.TypedDict, extra_items=int):  # type: ignore[call-arg]
    a: str


class Frozen(te.TypedDict, total=False):
    a: te.ReadOnly[te.Required[int]]
    b: te.NotRequired[te.ReadOnly[dt.date]]


Numbers = te.TypeAliasType("Numbers", list[int])
TEXT_OR_BYTES: Any = typing.AnyStr


def contract(kind: Any) -> Any:
    def task(given: Any, more: int = 0) -> None: ...

    task.__annotations__["given"] = kind
    return contract_of(task, task="t", context=Context)


TAKEN: list[tuple[Any, Any]] = [
    (Closed, {"a": 1}), (Inherits, {"a": 1}), (Extra, {"a": "x", "z": 3}),
    (Frozen, {"a": 1, "b": dt.date(2027, 1, 31)}), (Frozen, {"a": 1}), (list[Closed], [{"a": 1}]),
    (zoneinfo.ZoneInfo, zoneinfo.ZoneInfo("Europe/Berlin")), (re.Pattern[str], re.compile("a+")),
    (pathlib.PurePosixPath, pathlib.PurePosixPath("a/b")),
    (ipaddress.IPv6Network, ipaddress.IPv6Network("2001:db8::/32")),
    (abc.Sequence[int], [1]), (abc.MutableSequence[int], [1]), (abc.Mapping[str, int], {"a": 1}),
    (abc.Set[int], {1}), (abc.Collection[int], [1]), (collections.deque[int], [1]),
    (collections.OrderedDict[str, int], collections.OrderedDict(a=1)),
    (collections.Counter[str], collections.Counter("ab")), (collections.defaultdict[str, int], {}),
    (uuid.UUID | None, uuid.UUID(int=1)), (tuple[()], ()), (bytearray, bytearray(b"a")),
    (Numbers, [1]), (Decimal, Decimal("1.50")),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*ReadOnly")
@pytest.mark.parametrize(("kind", "value"), TAKEN, ids=range(len(TAKEN)))
def test_what_is_taken_comes_back(kind: Any, value: Any) -> None:
    if kind == collections.deque[int]:
        value = collections.deque(value)
    made = contract(kind)
    args, _ = made.decode(made.encode((value,), {}))
    assert args[0] == value


def test_a_closed_typed_dict_refuses_other_items() -> None:
    for kind in (Closed, Inherits):
        made = contract(kind)
        with pytest.raises(InvalidArguments, match="would be lost"):
            made.encode(({"a": 1, "b": 2, "z": 3},), {})
        with pytest.raises(InvalidBody, match="Extra inputs are not permitted"):
            made.decode(b'{"given": {"a": 1, "b": 2, "z": 3}}')
        assert '"additionalProperties":false' in made.schema_json().decode()


CONFIG = pydantic.ConfigDict(extra="forbid", str_max_length=2)


class Configured(te.TypedDict):
    __pydantic_config__ = CONFIG  # type: ignore[misc]
    a: str


@dataclasses.dataclass
class ConfiguredData:
    __pydantic_config__ = CONFIG
    a: str


class HeirOfData(ConfiguredData): ...


class Around(msgspec.Struct):
    inner: ConfiguredData
    items: list[Configured] = []


def test_the_config_of_a_typed_dict_or_dataclass_is_enforced() -> None:
    kinds: list[Any] = [Configured, ConfiguredData, HeirOfData]
    for kind in kinds:
        made = contract(kind)
        for body in (b'{"given":{"a":"abc"}}', b'{"given":{"a":"a","z":1}}'):
            with pytest.raises(InvalidBody) as caught:
                made.decode(body)
            assert caught.value.path.startswith("$.given.")
        assert made.decode(b'{"given":{"a":"ab"}}')[0][0] == (
            {"a": "ab"} if kind is Configured else kind(a="ab")
        )
    made = contract(Around)
    for body in (b'{"a":"abc"}', b'{"a":"a","z":1}'):
        for given in (b'{"inner":%b}', b'{"inner":{"a":"a"},"items":[%b]}'):
            with pytest.raises(InvalidBody):
                made.decode(b'{"given":' + given % body + b"}")


def test_other_items_of_a_typed_dict_are_of_their_type() -> None:
    with pytest.raises(InvalidArguments, match="valid integer"):
        contract(Extra).encode(({"a": "x", "z": "no"},), {})


REFUSED: list[tuple[Any, str]] = [
    (te.Never, "no value fits it; take it off"), (typing.NoReturn, "take it off"),
    (list[te.Never], "take it off"), (typing.LiteralString, "take str"),
    (TEXT_OR_BYTES, "it stands for several types; name one of them"),
    (list[TEXT_OR_BYTES], "name one of them"), (typing.Union, "name the type of the values"),
    (typing.Literal, "name the type of the values"), (typing.Optional, "name the type"),
    (typing.Protocol, "it is no type by itself"), (te.ReadOnly[int], "name the type of the value"),
    (typing.ClassVar[int], "name the type of the value"), (typing.ParamSpec("P"), "name the type"),
    (typing.Concatenate[int, ...], "name the type"), (typing.Unpack[tuple[int]], "name the type"),
    (typing.Self, "name the type"), (type, "take its name as a str"),
    (type[int], "take its name as a str"), (abc.Iterator[int], "take a list"),
    (abc.Iterable[int], "take a list"), (abc.Generator[int], "take a list"),
    (abc.KeysView[int], "take a list"), (abc.Sized, "take a list"),
    (abc.Awaitable[int], "it stays in its process"), (abc.AsyncIterator[int], "stays in its"),
    (typing.ContextManager, "it stays in its process"), (typing.BinaryIO, "pass its path"),
    (typing.IO[str], "pass its path"), (te.Buffer, "take bytes"), (array.array, "take bytes"),
    (collections.ChainMap[str, int], "take a dict"), (collections.UserDict, "take a dict"),
    (types.MappingProxyType[str, int], "take a dict"), (collections.UserString, "take str"),
    (numbers.Real, "take int, float or Decimal"), (typing.SupportsInt, "name their type"),
    (fractions.Fraction, "take two ints, or Decimal"), (complex, "take two floats"),
    (range, "take its bounds"), (slice, "take its bounds"), (dt.tzinfo, "take a ZoneInfo"),
    (dt.timezone, "take a ZoneInfo"), (re.Match[str], "take the text"),
    (types.SimpleNamespace, "take a Struct"), (ValueError, "take its message as a str"),
    (typing.Callable[[], int], "take its name as a str"), (5, "name the type of the values"),
    (..., "name the type of the values"), (lambda: 0, "name the type of the values"),
    (bytes | str, "look the same in JSON"), (typing.Any, "typedq.Json"), (object, "typedq.Json"),
    (list, "typedq.Json"), (dict, "typedq.Json"), (typing.TypeVar("T"), "name the type"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "advice"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_says_what_to_write_instead(kind: Any, advice: str) -> None:
    with pytest.raises(ContractError) as caught:
        contract(kind)
    assert advice in caught.value.reason
    assert caught.value.parameter == "given"
    told = str(caught.value)
    assert told.startswith("task 't' has no contract: parameter 'given': ")
    assert "\n" not in told


MODULES: tuple[Any, ...] = (typing, te, annotated_types, abc, collections, pydantic, pydantic.types)
MODULES += (
    pydantic.networks,
    fractions,
    zoneinfo,
    ipaddress,
    pathlib,
    re,
    dt,
    uuid,
    numbers,
    types,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.__name__))
def test_each_public_name_is_taken_or_refused_in_one_sentence(module: Any) -> None:
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    for name in names:
        kind = getattr(module, name, Any)  # some are of another version of Python
        if (told := refusal(kind)) is not None:
            assert told.startswith("task 't' has no contract: parameter 'given': "), name
            assert "\n" not in told, name
            assert len(told) < 600, name


def refusal(kind: Any) -> str | None:
    try:
        contract(kind)
    except ContractError as error:
        return str(error)
    return None
