"""Random types of pydantic, annotated-types and typedq as trees: make, edit, build, fill."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import datetime as dt
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Literal, NotRequired, Optional, Union

import annotated_types as at
import msgspec
import pydantic
from pydantic import (
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from typing_extensions import TypedDict

import typedq


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Text(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Bits(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass
class Member:
    name: str
    spec: Spec
    default: bool = False
    alias: Any = None  # None, a name, "choices" or "exclude"


@dataclasses.dataclass
class Spec:
    """`name`: a leaf of LEAVES, with the number of its constraint; or what is built below."""

    name: str
    choice: int = 0
    parts: list[Spec] = dataclasses.field(default_factory=list)
    members: list[Member] = dataclasses.field(default_factory=list)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    kind: Any = None  # what it was built to

    def __iter__(self) -> Iterator[Spec]:
        yield self
        for part in [*self.parts, *(member.spec for member in self.members)]:
            yield from part


DAYS = [dt.date(2019, 5, 1), dt.date(2020, 1, 1), dt.date(2500, 1, 1)]
MOMENTS = [dt.datetime(day.year, 1, 1, zone, tzinfo=dt.UTC if zone else None)
           for day in DAYS for zone in (0, 5)]  # fmt: skip
TEXTS = ["", " ", "a", "a\n", "A", " ab ", "abc", "ABCD", "2020-01-01", "YQ==", "red", "1",
         "a@b.co", "https://a.b/", "00000000-0000-4000-8000-000000000001", "10.0.0.1"]  # fmt: skip
UUIDS = [uuid.UUID(int=1), uuid.UUID("00000000-0000-1000-8000-000000000001"), uuid.UUID(TEXTS[14])]
LONG_URL = f"https://a.b/{'c' * 2100}"
_STR = StringConstraints
_AS_TEXT = PlainSerializer(str, return_type=str)
_MORE = PlainSerializer(lambda number: number + 1, int)
_LESS = BeforeValidator(lambda number: number - 1 if type(number) is int else number)
# name -> base type, what may be written beside it, values
LEAVES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "int": (
        int,
        [None, Field(gt=0), at.Ge(2), Field(le=5), at.MultipleOf(2), PlainSerializer(int, int)],
        [-2, 0, 1, 2, 3, 5, 6, 1 << 60, 1 << 70],
    ),
    "shifted": (Annotated[int, _MORE, _LESS], [None], [0, 2, 5]),
    "float": (
        float,
        [None, Field(gt=0), at.Le(2.5), Field(multiple_of=0.1)],
        [-1.5, 0.0, 0.25, 0.3, 1.0, 2.5, 9.5],
    ),
    "bool": (bool, [None], [True, False]),
    "none": (None, [None], [None]),
    "str": (
        str,
        [
            None,
            Field(min_length=1),
            _STR(max_length=2),
            _STR(pattern="^a"),
            _STR(pattern="^a$"),
            _STR(strip_whitespace=True),
            _STR(strip_whitespace=True, min_length=1),
            _STR(to_lower=True),
            _STR(to_upper=True),
        ],
        TEXTS,
    ),
    "bytes": (bytes, [None, Field(min_length=2), at.MaxLen(1)], [b"", b"a", b"YQ==", b"6161"]),
    "base64": (pydantic.Base64Bytes, [None], [b"", b"YWFh", b"YQ=="]),  # fit to be decoded
    "base64 text": (pydantic.Base64UrlStr, [None], ["", "YWFh"]),
    "date": (
        dt.date,
        [None, Field(ge=DAYS[1]), at.Gt(DAYS[1]), at.Lt(DAYS[1]), _AS_TEXT],
        DAYS,
    ),
    "past": (pydantic.PastDate, [None], DAYS[:2]),
    "future": (pydantic.FutureDatetime, [None], MOMENTS[-2:]),
    "datetime": (
        dt.datetime,
        [None, at.Timezone(...), Field(lt=MOMENTS[2]), _AS_TEXT],
        MOMENTS,
    ),
    "aware": (pydantic.AwareDatetime, [None], MOMENTS),
    "time": (
        dt.time,
        [None, at.Ge(dt.time(12))],
        [dt.time(1), dt.time(13), dt.time(2, tzinfo=dt.UTC), dt.time(13, tzinfo=dt.UTC)],
    ),
    "timedelta": (
        dt.timedelta,
        [None, Field(gt=dt.timedelta(0)), at.Le(dt.timedelta(days=1))],
        [dt.timedelta(n) for n in (-400, -1, 0, 1, 2, 365)],
    ),
    "uuid": (uuid.UUID, [None], UUIDS),
    "uuid4": (pydantic.UUID4, [None], UUIDS),
    "uuid1": (pydantic.UUID1, [None], UUIDS),
    "decimal": (
        Decimal,
        [None, Field(gt=0), Field(max_digits=2), Field(decimal_places=1), _AS_TEXT],
        [Decimal(text) for text in ("-1", "0.5", "0.05", "1.25", "100", "1E+2", "NaN", "Infinity")],
    ),
    "url": (pydantic.AnyUrl, [None], ["https://a.b/", "ftp://a.b/c", LONG_URL]),
    "http": (pydantic.AnyHttpUrl, [None], ["https://a.b/", "http://c.d/e", LONG_URL]),
    "web": (pydantic.HttpUrl, [None, Field(max_length=15)], ["https://a.b/", "http://c.d/e/f/g"]),
    "email": (pydantic.EmailStr, [None], ["a@b.co", "c@d.co"]),
    "ipv4": (ipaddress.IPv4Address, [None], ["10.0.0.1"]),
    "ip": (pydantic.IPvAnyAddress, [None], ["10.0.0.1", "::1"]),
    "path": (pathlib.PurePosixPath, [None], ["a", "b/c"]),
    "size": (pydantic.ByteSize, [None], [0, 5, 5000, 1 << 60]),
    "colour": (Colour, [None], list(Colour)),
    "text enum": (Text, [None], list(Text)),
    "level": (Level, [None], list(Level)),
    "bits": (Bits, [None], [Bits.A, Bits.A | Bits.B, Bits(0), Bits(64)]),
    "literal": (Literal["red"], [None], ["red"]),
    "literals": (Literal["red", 1, None], [None], ["red", 1, None]),
    "literal enum": (Literal[Text.RED], [None], [Text.RED]),
    "json": (typedq.Json, [None], [None, 1, "a", [1], {"a": None}]),
    "json value": (pydantic.JsonValue, [None], [True, {"red": [1.5]}]),
}
NEAR = [
    {"int", "shifted", "float", "decimal", "level", "bits", "size", "bool"},
    {"str", "date", "datetime", "uuid", "url", "email", "ipv4", "ip", "path", "literal", "bytes"},
    {"bytes", "base64", "base64 text", "str"},
    {"date", "past", "datetime"},
    {"datetime", "aware", "future"},
    {"uuid", "uuid4", "uuid1"},
    {"url", "http", "web"},
    {"colour", "text enum", "literal", "literal enum", "literals", "str"},
    {"json", "json value", "int", "str"},
]
KEYS = ("str", "str", "int", "uuid", "uuid4", "date", "level", "colour", "literal", "bool", "ipv4",
        "email", "text enum", "decimal")  # fmt: skip
HOLDERS = ("model", "model", "model", "dataclass", "struct", "plain", "typed")
COLLECTIONS = ("list", "set", "tuple", "deque", "dict", "dict", "optional", "union", "pair")
CONFIG: dict[str, list[Any]] = {
    "extra": ["ignore", "forbid", "allow"],
    "str_strip_whitespace": [False, True],
    "str_to_lower": [False, True],
    "str_max_length": [None, 3],
    "bytes": ["utf8", "base64", "hex"],
    "populate_by_name": [False, True],
    "regex_engine": ["rust-regex", "python-re"],
    "use_enum_values": [False, True],
    "computed": [None, "a", "z"],
}


class Maker:
    """Makes random trees."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def leaf(self, names: Any = tuple(LEAVES)) -> Spec:
        name = self.random.choice(list(names))
        return Spec(name, self.random.randrange(len(LEAVES[name][1])))

    def spec(self, depth: int) -> Spec:
        random = self.random
        if depth > 1 or random.random() < 0.6:
            return self.leaf()
        if random.random() < 0.3:
            return self.record(depth + 1)
        name = random.choice(COLLECTIONS)
        parts = [self.spec(depth + 1) for _ in range(2 if name in ("union", "pair") else 1)]
        if name == "set":
            parts = [self.leaf(("int", "str", "uuid", "date", "colour"))]
        if name == "dict":
            parts.insert(0, self.leaf(KEYS))
        return Spec(name, random.choice([0, 0, 1, 2]), parts)

    def record(self, depth: int) -> Spec:
        random = self.random
        names = random.sample("abcd", random.randint(1, 3))
        made = Spec(random.choice(HOLDERS), members=[self.member(n, depth) for n in names])
        for key, values in CONFIG.items():
            made.options[key] = random.choice(values) if random.random() < 0.15 else values[0]
        return made

    def member(self, name: str, depth: int) -> Member:
        random = self.random
        alias = random.choice([None, None, None, None, "A", "B", "choices", "exclude"])
        return Member(name, self.spec(depth + 1), random.random() < 0.3, alias)


def edited(spec: Spec, maker: Maker) -> Spec:
    """A copy with one or two random edits."""
    new, random = copy.deepcopy(spec), maker.random
    for _ in range(random.choice((1, 1, 2))):
        target = random.choice(list(new))
        if target.name in LEAVES:
            near = [name for group in NEAR if target.name in group for name in sorted(group)]
            made = maker.leaf(near if near and random.random() < 0.6 else [target.name])
            made = maker.spec(1) if random.random() < 0.15 else made
            target.name, target.choice, target.parts = made.name, made.choice, made.parts
            target.members, target.options = made.members, made.options
        elif not target.members:
            _edit_collection(target, random)
        else:
            _edit_record(target, maker)
    return new


def _edit_collection(target: Spec, random: Random) -> None:
    if random.random() < 0.5:
        target.choice = random.randrange(3)
    elif target.name == "union":
        target.parts.reverse()
    elif target.name in ("list", "set", "deque", "tuple"):
        target.name = random.choice(("list", "tuple", "deque"))


def _edit_record(target: Spec, maker: Maker) -> None:
    random = maker.random
    member = random.choice(target.members)
    action = random.randrange(7)
    free = [name for name in "abcdef" if name not in {m.name for m in target.members}]
    if action == 0:
        target.members.append(maker.member(random.choice(free), 1))
    elif action == 1 and len(target.members) > 1:
        target.members.remove(member)
    elif action == 2:
        member.default = not member.default
    elif action == 3:
        member.alias = random.choice([None, "A", "B", "choices", "exclude"])
    elif action == 4:
        member.name = random.choice(free)
    elif action == 5:
        target.name = random.choice(HOLDERS)
    else:
        key = random.choice(list(CONFIG))
        target.options[key] = random.choice(CONFIG[key])


# --- Python types ---------------------------------------------------------------------------------


def build(spec: Spec) -> Any:
    """The type that a tree stands for. Raises whatever pydantic or msgspec raise."""
    spec.kind = _built(spec)
    return spec.kind


def _built(spec: Spec) -> Any:
    if spec.name in LEAVES:
        base, beside, _ = LEAVES[spec.name]
        note = beside[spec.choice % len(beside)]
        return base if note is None else Annotated[base, note]
    if spec.name in HOLDERS:
        return _record(spec)
    parts = [build(part) for part in spec.parts]
    if spec.name == "optional":
        return Optional[parts[0]]  # noqa: UP045
    if spec.name == "union":
        return Union[tuple(parts)]  # noqa: UP007
    generics: dict[str, Any] = {
        "list": list, "set": set, "deque": collections.deque, "dict": dict, "tuple": tuple,
        "pair": tuple,
    }  # fmt: skip
    inner = (*parts, ...) if spec.name == "tuple" else tuple(parts)
    made = generics[spec.name][inner]
    if spec.name == "pair" or not spec.choice:
        return made
    return Annotated[made, at.MinLen(1) if spec.choice == 1 else at.MaxLen(2)]


def _record(spec: Spec) -> Any:
    kinds = {member.name: build(member.spec) for member in spec.members}
    if spec.name == "struct":
        ordered = sorted(spec.members, key=lambda member: member.default)
        fields = [(m.name, kinds[m.name], *_default(m)) for m in ordered]
        return msgspec.defstruct(
            "R", fields, forbid_unknown_fields=spec.options["extra"] == "forbid"
        )
    if spec.name == "plain":
        ordered = sorted(spec.members, key=lambda member: member.default)
        return dataclasses.make_dataclass(
            "R", [(m.name, kinds[m.name], *map(_field, _default(m))) for m in ordered]
        )
    if spec.name == "typed":
        hints = {
            m.name: NotRequired[kinds[m.name]] if m.default else kinds[m.name] for m in spec.members
        }
        return TypedDict("R", hints)  # type: ignore[operator]
    config = ConfigDict(
        extra=spec.options["extra"],
        str_strip_whitespace=spec.options["str_strip_whitespace"],
        str_to_lower=spec.options["str_to_lower"],
        str_max_length=spec.options["str_max_length"],
        ser_json_bytes=spec.options["bytes"],
        val_json_bytes=spec.options["bytes"],
        populate_by_name=spec.options["populate_by_name"],
        regex_engine=spec.options["regex_engine"],
        use_enum_values=spec.options["use_enum_values"],
    )
    namespace: dict[str, Any] = {"__annotations__": kinds, "__module__": __name__}
    for member in sorted(spec.members, key=lambda member: member.default):
        namespace[member.name] = _pydantic_field(member)
    if (name := spec.options["computed"]) and name not in kinds:
        namespace[name] = pydantic.computed_field(property(_computed))
    if spec.name == "model":
        return type("R", (pydantic.BaseModel,), {**namespace, "model_config": config})
    ordered_hints = {m.name: kinds[m.name] for m in sorted(spec.members, key=lambda m: m.default)}
    made = type("R", (), {**namespace, "__annotations__": ordered_hints})
    return pydantic.dataclasses.dataclass(made, config=config)


def _computed(self: Any) -> int:
    return 7


def _default(member: Member) -> list[Any]:
    if not member.default:
        return []
    return [msgspec.field(default_factory=_Constant(value_of(member.spec, Random(1))))]


def _field(default: Any) -> Any:
    return dataclasses.field(default_factory=default.default_factory)


@dataclasses.dataclass
class _Constant:
    value: Any

    def __call__(self) -> Any:
        return self.value


def _pydantic_field(member: Member) -> Any:
    options: dict[str, Any] = {}
    if member.default or member.alias == "exclude":
        options["default_factory"] = _Constant(value_of(member.spec, Random(1)))
    if member.alias == "exclude":
        options["exclude"] = True
    elif member.alias == "choices":
        options |= {"validation_alias": AliasChoices("x", "y", member.name)}
        options["serialization_alias"] = member.name
    elif member.alias is not None:
        options["alias"] = member.alias
    return Field(**options)


# --- values ---------------------------------------------------------------------------------------


def value_of(spec: Spec, random: Random) -> Any:
    """A random value of a built type. Raises ValueError or TypeError if none is found."""
    if spec.name in LEAVES:
        return _leaf_value(spec, random)
    if spec.name in HOLDERS:
        return _record_value(spec, random)
    if spec.name == "optional":
        return None if random.random() < 0.3 else value_of(spec.parts[0], random)
    if spec.name == "union":
        return value_of(random.choice(spec.parts), random)
    if spec.name == "pair":
        return tuple([value_of(part, random) for part in spec.parts])
    size = random.choice((1, 1, 2, 0, 3))
    values = [value_of(spec.parts[-1], random) for _ in range(size)]
    if spec.name == "dict":
        return {value_of(spec.parts[0], random): value for value in values}
    made: Any = {"list": list, "set": set, "tuple": tuple, "deque": collections.deque}[spec.name]
    return made(values)


def _leaf_value(spec: Spec, random: Random) -> Any:
    values = LEAVES[spec.name][2]
    if spec.name.startswith(("json", "base64")):
        return copy.deepcopy(random.choice(values))
    key = spec.name, spec.choice % len(LEAVES[spec.name][1])
    if key not in _VALUES:
        _VALUES[key] = list(_valid(pydantic.TypeAdapter(spec.kind), values))
    if not _VALUES[key]:
        raise ValueError(f"no value of {spec.kind}")
    return random.choice(_VALUES[key])


_VALUES: dict[tuple[str, int], list[Any]] = {}


def _valid(adapter: pydantic.TypeAdapter[Any], values: list[Any]) -> Iterator[Any]:
    for value in values:
        with contextlib.suppress(pydantic.ValidationError):
            yield adapter.validate_python(value)


def _record_value(spec: Spec, random: Random) -> Any:
    given: dict[str, Any] = {}
    for member in spec.members:
        if (member.default or member.alias == "exclude") and random.random() < 0.5:
            continue
        given[member.name] = value_of(member.spec, random)
    if spec.name == "typed":
        return given
    if spec.name in ("struct", "plain"):
        return spec.kind(**given)
    # As an application has it: validated, by the names that it reads.
    by_alias: dict[str, Any] = {}
    for member in spec.members:
        if member.name in given:
            alias = member.alias if member.alias in ("A", "B") else member.name
            by_alias[alias] = given[member.name]
    if spec.options["extra"] == "allow" and random.random() < 0.3:
        by_alias["z"] = random.choice([1, "x", [1]])
    return spec.kind(**by_alias)
