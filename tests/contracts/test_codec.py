"""What a call accepts arrives as it was given; all else is refused with its path."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Annotated, Any

import attrs
import msgspec
import pydantic
import pytest

from typedq.contracts import Contract, contract_of
from typedq.contracts.codec import Codec
from typedq.errors import InvalidArguments, InvalidBody


class Context:
    pass


class Email(msgspec.Struct):
    to: str
    subject: str = ""
    cc: list[str] = []
    weight: float | None = None


class Extended(Email):
    extra: int = 0


class Row(msgspec.Struct, array_like=True):
    a: int
    b: int | msgspec.UnsetType = msgspec.UNSET


class NoEquality(msgspec.Struct, eq=False):
    a: float


class Model(pydantic.BaseModel):
    a: int
    weight: float | None = None


class KeptBack(pydantic.BaseModel):
    a: int = pydantic.Field(default=0, exclude=True)


def send(args: Email) -> None: ...
def resize(image_id: int, width: int = 100, *, tags: list[str] = []) -> None: ...  # noqa: B006
def only_place(a: int, /) -> None: ...
def none() -> None: ...
def rows(rows: list[Row]) -> None: ...
def unequal(args: NoEquality) -> None: ...
def model(args: Model) -> None: ...
def models(all: list[Model], one: Model | None = None) -> None: ...
def kept_back(args: KeptBack) -> None: ...
def loads(by_load: dict[float, int], ids: set[int]) -> None: ...


def contract(fn: Callable[..., Any]) -> Contract:
    return contract_of(fn, task="t", context=Context)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (send, (Email("a"),), {}),
        (resize, (7, 50), {"tags": ["x"]}),
        (only_place, (1,), {}),
        (none, (), {}),
        (rows, ([Row(1, 2)],), {}),
        (model, (Model(a=1),), {}),
        (models, ([Model(a=1)], None), {}),
        (loads, ({1.5: 2}, {1, 2}), {}),
    ],
)
def test_what_is_encoded_is_decoded(fn: Any, args: Any, kwargs: Any) -> None:
    found = contract(fn)
    assert found.decode(found.encode(args, kwargs)) == (args, kwargs)


def test_defaults_and_names_are_filled_in() -> None:
    found = contract(resize)
    assert found.decode(found.encode((), {"image_id": 7})) == ((7, 100), {"tags": []})
    assert contract(unequal).encode((NoEquality(1),), {}) == b'{"a":1}'


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "path", "reason"),
    [
        (send, (Email(1),), {}, "$.to", "Expected `str`, got `int`"),  # type: ignore[arg-type]
        (send, (), {}, "$.args", "missing required argument"),
        (send, (1, 2), {}, "$", "takes 1 positional argument(s), got 2"),
        (resize, ("7",), {}, "$.image_id", "Expected `int`, got `str`"),
        (resize, (7,), {"widht": 1}, "$.widht", "unexpected argument; did you mean 'width'?"),
        (resize, (7,), {"image_id": 1}, "$.image_id", "given twice, by position and by name"),
        (resize, (7,), {"tags": ["a", 1]}, "$.tags[1]", "Expected `str`, got `int`"),
        (only_place, (), {"a": 1}, "$.a", "is positional-only"),
        (send, (Email("a", weight=math.nan),), {}, "$.weight", "NaN and infinity"),
        (loads, ({math.inf: 1}, set()), {}, "$.by_load[inf]", "NaN and infinity"),
        (loads, ({}, [1, 1]), {}, "$.ids", "not arrive as it was given"),
        (rows, ([Row(1)],), {}, "$.rows[0][1]", "UnsetType"),
        (send, (Email("a", subject=object()),), {}, "$.subject", "object has no JSON form"),  # type: ignore[arg-type]
        (send, (Email(b"a"),), {}, "$.to", "Expected `str`, got `bytes`"),  # type: ignore[arg-type]
        (send, (Email(uuid.UUID(int=0)),), {}, "$.to", "Expected `str`, got `uuid`"),  # type: ignore[arg-type]
        (send, (Extended("a"),), {}, "$.extra", "not arrive as it was given"),
        (send, ({"to": 1},), {}, "$.to", "Expected `str`, got `int`"),
        (send, (Email("\ud800"),), {}, "$.to", "surrogates not allowed"),
        (model, (Model.model_construct(a="5"),), {}, "$.a", "valid integer"),
        (models, ([Model.model_construct(a="5")],), {}, "$.all[0].a", "valid integer"),
        (model, (Model(a=1, weight=math.inf),), {}, "$.weight", "NaN and infinity"),
        (kept_back, (KeptBack(a=1),), {}, "$.a", "not arrive as it was given"),
    ],
)
def test_what_is_refused(fn: Any, args: Any, kwargs: Any, path: str, reason: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        contract(fn).encode(args, kwargs)
    assert (caught.value.task, caught.value.path) == ("t", path)
    assert reason in caught.value.reason


@dataclasses.dataclass
class Uncompared:
    id: int
    weight: float | None = dataclasses.field(default=None, compare=False)


@attrs.define
class AlsoUncompared:
    id: int
    weight: float | None = attrs.field(default=None, eq=False)


class Entity(msgspec.Struct, eq=False):
    id: int
    weight: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]


class Lenient(pydantic.BaseModel):
    id: int
    weight: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lenient) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Uncompared, AlsoUncompared, Entity, Lenient])
def test_an_equality_that_overlooks_fields_hides_no_change(kind: Any) -> None:
    def task(args: Any) -> None: ...

    task.__annotations__["args"] = kind
    found = contract(task)
    with pytest.raises(InvalidArguments, match=r"NaN and infinity.*\$\.weight"):
        found.encode((kind(id=1, weight=math.nan),), {})
    sent = kind(id=1, weight=2.5)
    ((read,), _) = found.decode(found.encode((sent,), {}))
    assert (read.id, read.weight) == (1, 2.5)


class Colour(enum.Enum):
    RED = "red"


def mixed(by_number: dict[int, list[int]], by_colour: dict[Colour, tuple[int, ...]]) -> None: ...


def test_a_tuple_may_stand_for_a_list_whatever_the_keys_are() -> None:
    given: Any = ({1: (1, 2)}, {Colour.RED: [3]})
    found = contract(mixed)
    assert found.decode(found.encode(given, {}))[0] == ({1: [1, 2]}, {Colour.RED: (3,)})


class Nest(msgspec.Struct):
    inner: list[Nest] = []


def nested(args: Nest) -> None: ...


def _nest(levels: int) -> Nest:
    nest = Nest()
    for _ in range(levels - 1):
        nest = Nest([nest])
    return nest


def test_bounds_of_a_call() -> None:
    found = contract(nested)
    found.encode((_nest(32),), {})
    with pytest.raises(InvalidArguments, match="nested more than 64 levels deep"):
        found.encode((_nest(33),), {})
    circle = Nest()
    circle.inner.append(circle)
    with pytest.raises(InvalidArguments, match="contains itself"):
        found.encode((circle,), {})
    with pytest.raises(InvalidArguments, match="1,000,031 bytes; the limit is 1,000"):
        contract(send).encode((Email("a" * 999_987),), {}, max_body=1_000)


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (b'{"to":1}', "$.to", "Expected `str`, got `int`"),
        (b"{}", "$.to", "missing required field"),
        (b'{"to":"\xff"}', "$", "the body is not valid JSON: "),  # msgspec's words, of each version
        (b'{"to":NaN}', "$", "the body is not valid JSON: JSON is malformed"),
        (b'{"to":"a', "$", "the body is not valid JSON: Input data was truncated"),
        (b"", "$", "truncated"),
        (b"[" * 100_000, "$", "nested more than 64 levels"),
        (b'{"x":' + b"[" * 64 + b"]" * 64 + b"}", "$", "nested more than 64 levels"),
        (b'{"weight":' + b"1" * 5_000 + b"}", "$.weight", "out of range"),
        (b'{"weight":1e999,"to":""}', "$.weight", "out of range"),
        (b" " * (1 << 20) + b"{}", "$", "1,048,578 bytes; the limit is 1,048,576"),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, path: str, reason: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        contract(send).decode(body)
    assert reason in caught.value.reason
    assert caught.value.path == path


def test_brackets_count_only_where_they_nest() -> None:
    text = "[" * 100 + '"' + "\\"
    body = contract(send).encode((Email(text, cc=["{"] * 100),), {})
    assert contract(send).decode(body)[0][0].to == text
    many = contract(rows).encode(([Row(1, 2)] * 1_000,), {})
    assert len(contract(rows).decode(many)[0][0]) == 1_000


def test_the_bounds_of_the_worker_can_be_set() -> None:
    found = contract(nested)
    with pytest.raises(InvalidBody, match="3 levels"):
        found.decode(b'{"inner":[{"inner":[]}]}', 40, 3)
    with pytest.raises(InvalidBody, match="41 bytes"):
        found.decode(b" " * 41, 40, 3)


def test_a_default_is_not_shared_between_calls() -> None:
    found = contract(resize)
    first = found.decode(b'{"image_id":1}')
    first[1]["tags"].append("changed")
    assert found.decode(b'{"image_id":1}')[1] == {"tags": []}


# --- types that run code of their own


class Checked(msgspec.Struct):
    a: int

    def __post_init__(self) -> None: ...


class Made(msgspec.Struct):
    a: str = msgspec.field(default_factory=lambda: "made")


class Guessing(enum.Enum):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Guessing:
        return cls.A


class Strict(enum.Enum):
    A = 1


@dataclasses.dataclass
class CheckedData:
    a: int

    def __post_init__(self) -> None: ...


@attrs.define
class CheckedAttrs:
    a: int

    def __attrs_post_init__(self) -> None: ...


@attrs.define
class Validated:
    a: int = attrs.field(validator=attrs.validators.ge(0))


class Hashed(msgspec.Struct, frozen=True):
    a: int

    def __hash__(self) -> int:
        return self.a


@dataclasses.dataclass(unsafe_hash=True)
class Compared:  # noqa: PLW1641
    a: int

    def __eq__(self, other: object) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: int


@attrs.frozen
class FrozenAttrs:
    a: int


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(kind, False) for kind in (int, uuid.UUID, list[int], Email, Row, Strict, dict[str, Email])]
    + [(kind, True) for kind in (Checked, Made, Guessing, CheckedData, CheckedAttrs, Model)]
    + [(kind, True) for kind in (Validated, set[Hashed], set[Compared])]
    + [(kind, False) for kind in (set[Frozen], set[FrozenAttrs])]
    + [(list[Checked], True), (dict[str, Made | None], True), (tuple[Guessing, int], True)],
)
def test_types_that_run_code_when_they_are_read_are_known(kind: Any, expected: bool) -> None:
    """Such code may hang or end its process, so that a worker must know whom it is for."""

    def fn(a: Any, b: int = 0) -> None: ...

    fn.__annotations__["a"] = kind
    assert contract_of(fn, task="t", context=Context).runs_code == expected


@attrs.define
class Checks:
    one: int = attrs.field(default=1, validator=attrs.validators.in_([1, 2]))
    name: str = attrs.field(default="a", validator=attrs.validators.matches_re("[a-z]"))
    kind: int = attrs.field(default=1, validator=attrs.validators.instance_of(bool))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"one":7}', "'one' must be in [1, 2] (got 7)"),
        (b'{"name":"A"}', "'name' must match regex '[a-z]' ('A' doesn't)"),
        (b"{}", "'kind' must be <class 'bool'> (got 1 that is a <class 'int'>)."),
    ],
)
def test_what_a_validator_of_attrs_says_is_told_in_its_words(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        Codec(Checks).read(body, 100, 9)
    assert caught.value.reason == reason


SECOND = dt.datetime(2026, 10, 25, 2, 30, fold=1)  # noqa: DTZ001


class Moments(pydantic.BaseModel):
    at: dt.datetime
    note: str = ""


@dataclasses.dataclass(slots=True)
class Held:
    at: dt.datetime | None
    moments: Moments | None = None


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (dt.datetime, SECOND, "$"),
        (dt.time, SECOND.time(), "$"),
        (list[dt.datetime], [SECOND], "$[0]"),
        (set[dt.datetime], {SECOND}, "$[0]"),
        (dict[dt.datetime, int], {SECOND: 1}, f"$[{SECOND!r}]"),
        (Held, Held(SECOND), "$.at"),
        (Held, Held(None, Moments(at=SECOND)), "$.moments.at"),
        (Moments, Moments(at=SECOND), "$.at"),
    ],
)
def test_a_local_time_that_comes_twice_is_refused_the_second_time(
    kind: Any, value: Any, path: str
) -> None:
    """Text cannot tell the two, and they are an hour apart."""
    with pytest.raises(
        InvalidBody, match="fold=1 cannot be said in JSON; give it a time zone"
    ) as e:
        Codec(kind).write(value, 1 << 20, 64)
    assert e.value.path == path


def test_a_time_with_a_zone_keeps_its_instant() -> None:
    sent = SECOND.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    codec = Codec(dt.datetime)
    assert codec.read(codec.write(sent, 99, 9), 99, 9).timestamp() == sent.timestamp()


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_decimal_that_is_no_number_is_refused_unless_its_type_allows_it(text: str) -> None:
    """pydantic would not read it, and the schema of both is the same."""
    value = decimal.Decimal(text)
    for kind, held, path in (
        (decimal.Decimal, value, "$"),
        (list[decimal.Decimal], [value], "$[0]"),
    ):
        with pytest.raises(InvalidBody, match="NaN and infinity cannot be said in JSON") as caught:
            Codec(kind).write(held, 99, 9)
        assert caught.value.path == path
    free = Annotated[decimal.Decimal, pydantic.Field(allow_inf_nan=True)]
    model = pydantic.create_model("Free", x=(free, ...))
    if text.endswith("Infinity"):
        codec = Codec(model)
        assert codec.read(codec.write(model(x=value), 99, 9), 99, 9) == model(x=value)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (dt.time, dt.time(12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), "would not arrive as it"),
        (list[dt.time], [dt.time(12, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"))], "would not arrive"),
    ],
)
def test_what_cannot_be_compared_or_loses_its_zone_is_refused(
    kind: Any, value: Any, reason: str
) -> None:
    with pytest.raises(InvalidBody, match=reason):
        Codec(kind).write(value, 1 << 20, 64)
    aware = dt.time(12, tzinfo=dt.UTC)
    assert Codec(dt.time).read(Codec(dt.time).write(aware, 99, 9), 99, 9) == aware
