"""Which functions have a contract, and what is said of those that have none."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pydantic
import pytest
from msgspec import Meta

from typedq.contracts import Contract, contract_of
from typedq.errors import ContractError

if TYPE_CHECKING:
    from fractions import Fraction


Item = TypeVar("Item")


class Context:
    pass


class Args(msgspec.Struct):
    to: str
    subject: str = ""


@dataclass
class Data:
    a: int


class Typed(TypedDict):
    a: int
    b: NotRequired[str]


class Named(NamedTuple):
    a: int


@attrs.define
class Attrs:
    a: int


class Model(pydantic.BaseModel):
    a: int


def contract(fn: Callable[..., Any]) -> Contract:
    return contract_of(fn, task="t", context=Context)


def takes_struct(args: Args) -> Fraction: ...  # type: ignore[empty-body]
def takes_data(args: Data) -> None: ...
def takes_typed(args: Typed) -> None: ...
def takes_attrs(args: Attrs) -> None: ...
def takes_model(args: Model) -> None: ...
def by_keyword(*, args: Args) -> None: ...


@pytest.mark.parametrize(
    "fn", [takes_struct, takes_data, takes_typed, takes_attrs, takes_model, by_keyword]
)
def test_one_record_is_the_payload(fn: Callable[..., Any]) -> None:
    schema = contract(fn).schema
    assert "x-typedq-payload" not in schema
    assert "args" not in schema["properties"]


def takes_named(args: Named) -> None: ...
def takes_optional(args: Args | None) -> None: ...
def takes_default(args: Args = Args("x")) -> None: ...  # noqa: B008
def takes_two(args: Args, n: int) -> None: ...


@pytest.mark.parametrize("fn", [takes_named, takes_optional, takes_default, takes_two])
def test_anything_else_is_a_member_of_the_payload(fn: Callable[..., Any]) -> None:
    schema = contract(fn).schema
    assert schema["x-typedq-payload"] == "parameters"
    assert "args" in schema["properties"]


async def resize(ctx: Context, image_id: int, /, *, width: int = 100) -> list[Args]: ...  # type: ignore[empty-body]


def test_the_context_is_no_part_of_it() -> None:
    found = contract(resize)
    assert (found.takes_context, found.is_async) == (True, True)
    assert found.signature == "(image_id: int, /, *, width: int = 100) -> list[Args]"
    assert list(found.schema["properties"]) == ["image_id", "width"]
    assert found.id == f"t@{found.fingerprint}"


def test_the_return_annotation_need_not_resolve() -> None:
    assert contract(takes_struct).signature == "(args: Args) -> Fraction"


def test_the_schema_is_written_with_sorted_keys() -> None:
    assert contract(takes_data).schema_json().startswith(b'{"$schema":"https://json-schema.org')


class Owner:
    def method(self, a: int) -> None: ...

    @staticmethod
    def below(a: int) -> None: ...


def bare(a) -> None: ...  # type: ignore[no-untyped-def]
def stars(*args: int) -> None: ...
def doubles(**kwargs: int) -> None: ...
def anything(a: Any) -> None: ...
def an_object(a: object) -> None: ...
def deep(a: int, meta: dict[str, list[Any]]) -> None: ...
def second(a: int, ctx: Context) -> None: ...
def maybe(ctx: Context | None) -> None: ...
def named_context(*, ctx: Context) -> None: ...
def unknown(a: Fraction) -> None: ...
def number(a: complex) -> None: ...
def bad_default(a: int = "x") -> None: ...  # type: ignore[assignment]
def bad_nested(a: list[int] = ["x"]) -> None: ...  # type: ignore[list-item]  # noqa: B006
def generator(a: int) -> Iterator[int]:
    yield a


async def agenerator(a: int) -> AsyncIterator[int]:
    yield a


@functools.wraps(bare)
def generator_round_a_function(a: int) -> Iterator[int]:
    yield a


@functools.wraps(bare)
async def agenerator_round_a_function(a: int) -> AsyncIterator[int]:
    yield a


class GeneratorCall:
    """A decorator that is a class, and forgets to run what it yields."""

    def __init__(self, fn: Any) -> None:
        functools.update_wrapper(self, fn)

    def __call__(self, a: int) -> Iterator[int]:
        yield a


def endless(a: int) -> None: ...


endless.__wrapped__ = endless  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fn", "parameter", "reason"),
    [
        (Owner.method, None, "a method of Owner"),
        (Owner().method, None, "not method"),
        (Owner, None, "not type"),
        (bare, "a", "no annotation; write its type"),
        (stars, "args", "take a list"),
        (doubles, "kwargs", "take a dict"),
        (anything, "a", "says nothing"),
        (an_object, "a", "object says nothing"),
        (deep, "meta", "at $.meta[...][...]"),
        (second, "ctx", "only be the first"),
        (maybe, "ctx", "without anything around"),
        (named_context, "ctx", "not by keyword"),
        (unknown, "a", "outside `if TYPE_CHECKING:`"),
        (number, "a", "complex has no JSON Schema"),
        (bad_default, "a", "refuses its default 'x'"),
        (bad_nested, "a", "at $[0]"),
        (generator, None, "a generator"),
        (agenerator, None, "a generator"),
        (generator_round_a_function, None, "a generator"),
        (agenerator_round_a_function, None, "a generator"),
        (functools.wraps(generator_round_a_function)(lambda a: None), None, "a generator"),
        (GeneratorCall(bare), None, "a generator"),
        (endless, None, "never ends"),
    ],
)
def test_a_function_without_a_contract(fn: Any, parameter: str | None, reason: str) -> None:
    with pytest.raises(ContractError) as caught:
        contract(fn)
    assert (caught.value.task, caught.value.parameter) == ("t", parameter)
    assert reason in caught.value.reason


def test_a_static_method_is_a_plain_function() -> None:
    static = Owner.__dict__["below"]
    assert contract(static).signature == "(a: int) -> None"


# msgspec 0.22 kills the interpreter, or mixes up its notes, when it makes a decoder of these.
Pattern = Annotated[str, Meta(pattern="^a")]
Positive = Annotated[int, Meta(gt=0)]
Short = Annotated[str, Meta(max_length=3)]


class Holder(msgspec.Struct):
    inner: list[Pattern | dict[str, int]]


def pattern_and_dict(a: Pattern | dict[str, int]) -> None: ...
def pattern_and_list(a: Pattern | Annotated[list[int], Meta(max_length=2)] | None) -> None: ...
def pattern_and_any_tuple(a: tuple[int, ...] | Annotated[Pattern, Meta(title="t")]) -> None: ...
def bound_and_tuple(a: Positive | tuple[int, str]) -> None: ...
def length_and_tuple(a: tuple[int] | Short | Args) -> None: ...
def dict_and_tuple(a: Annotated[dict[str, int], Meta(min_length=1)] | tuple[int]) -> None: ...
def bytes_and_tuple(a: Annotated[bytes, Meta(min_length=1)] | tuple[int]) -> None: ...
def float_and_tuple(a: Annotated[float, Meta(le=1)] | tuple[int]) -> None: ...
def inside_a_struct(a: int, b: Holder) -> None: ...


@pytest.mark.parametrize(
    ("fn", "parameter", "reason"),
    [
        (pattern_and_dict, "a", "a str with a pattern beside a dict; take the constraint off"),
        (pattern_and_list, "a", "a str with a pattern beside a list"),
        (pattern_and_any_tuple, "a", "a str with a pattern beside a tuple"),
        (bound_and_tuple, "a", "a bounded int beside a tuple of fixed length"),
        (length_and_tuple, "a", "a bounded str beside a tuple of fixed length"),
        (dict_and_tuple, "a", "a bounded dict beside a tuple of fixed length"),
        (bytes_and_tuple, "a", "a bounded bytes beside a tuple of fixed length"),
        (float_and_tuple, "a", "or put one of them in a Struct"),
        (inside_a_struct, "b", "a str with a pattern beside a dict"),
    ],
)
def test_a_union_that_would_crash_the_decoder(fn: Any, parameter: str, reason: str) -> None:
    test_a_function_without_a_contract(fn, parameter, reason)


def pattern_and_tuple(a: Pattern | tuple[int, str]) -> None: ...
def bounded_list_and_dict(a: Annotated[list[int], Meta(max_length=2)] | dict[str, int]) -> None: ...
def pattern_and_struct(a: Pattern | Args) -> None: ...
def bound_and_dict(a: Positive | Short | dict[str, int]) -> None: ...
def list_of_patterns(a: Positive | list[Pattern]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "bodies"),
    [
        (pattern_and_tuple, ["ab", (1, "x")]),
        (bounded_list_and_dict, [[1], {"a": 1}]),
        (pattern_and_struct, ["ab", Args("x")]),
        (bound_and_dict, [1, "ab", {"a": 1}]),
        (list_of_patterns, [1, ["ab"]]),
    ],
)
def test_a_union_next_to_those_that_crash(fn: Any, bodies: list[Any]) -> None:
    found = contract(fn)
    for value in bodies:
        assert found.decode(found.encode((value,), {})) == ((value,), {})


@dataclass(frozen=True)
class FrozenData:
    a: list[int]


class Frozen(msgspec.Struct, frozen=True):
    a: int


class FrozenAround(msgspec.Struct, frozen=True):
    a: list[int]


class ModelAround(pydantic.BaseModel, frozen=True):
    a: list[int]


class FrozenModel(pydantic.BaseModel, frozen=True):
    a: int


class OwnHash(pydantic.BaseModel):
    a: list[int]

    def __hash__(self) -> int:
        return 1


@pydantic.dataclasses.dataclass
class PydanticData:
    a: int


class HasSet(pydantic.BaseModel, Generic[Item]):
    held: set[Item]


class Identity(msgspec.Struct, eq=False):
    a: int


class Loop(msgspec.Struct, frozen=True):
    next: Loop | None = None


def set_of_lists(a: set[list[int]]) -> None: ...
def set_of_structs(a: frozenset[Args]) -> None: ...
def set_of_data(a: set[Data | int]) -> None: ...
def set_of_typed(a: dict[str, set[Typed]]) -> None: ...
def set_of_models(a: set[Model]) -> None: ...
def set_of_pairs(a: set[tuple[int, list[int]]]) -> None: ...
def set_of_frozen_lists(a: set[FrozenAround]) -> None: ...
def set_of_sets(a: set[tuple[set[int], ...]]) -> None: ...
def set_of_frozen_data(a: set[FrozenData]) -> None: ...
def set_of_queues(a: set[deque[int]]) -> None: ...
def set_of_maps(a: frozenset[defaultdict[str, int]]) -> None: ...
def set_of_models_around(a: list[set[ModelAround | None]]) -> None: ...
def inner_set_of_models_around(a: HasSet[ModelAround]) -> None: ...
def inner_set_of_lists(a: HasSet[list[int]]) -> None: ...
def inner_set_of_models(a: HasSet[tuple[Model, ...]]) -> None: ...
def inner_set_of_unions(a: HasSet[str | list[int] | None]) -> None: ...
def inner_set_of_data(a: HasSet[PydanticData]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (set_of_lists, "list"),
        (set_of_structs, "Args"),
        (set_of_data, "Data"),
        (set_of_typed, "Typed"),
        (set_of_models, "Model"),
        (set_of_pairs, "list"),
        (set_of_frozen_lists, "list"),
        (set_of_sets, "set"),
        (set_of_frozen_data, "list"),
        (set_of_queues, "deque[int]"),
        (set_of_maps, "defaultdict[str, int]"),
        (set_of_models_around, "list"),
    ],
)
def test_a_set_of_what_has_no_hash(fn: Any, name: str) -> None:
    reason = f"a set cannot hold {name}, which has no hash; make it frozen, or take a list"
    test_a_function_without_a_contract(fn, "a", reason)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (inner_set_of_lists, "list"),
        (inner_set_of_models, "Model"),
        (inner_set_of_unions, "list"),
        (inner_set_of_data, "PydanticData"),
        (inner_set_of_models_around, "list"),
    ],
)
def test_a_set_in_a_model_of_what_has_no_hash(fn: Any, name: str) -> None:
    """pydantic makes such a model, which then reads nothing but an empty set."""
    reason = f"a set cannot hold {name}, which has no hash; make it frozen, or take a list"
    test_a_function_without_a_contract(fn, "a", reason)


def hashable(
    a: set[Frozen], b: frozenset[frozenset[int]], c: set[Loop], d: set[Identity], e: set[Named]
) -> None: ...
def hashable_models(a: set[OwnHash], b: set[FrozenModel]) -> None: ...
def hashable_in_a_model(
    a: HasSet[OwnHash], b: HasSet[tuple[frozenset[int], FrozenModel]]
) -> None: ...


def test_a_set_of_what_has_a_hash() -> None:
    contract(hashable)
    contract(hashable_models)
    found = contract(hashable_in_a_model)
    models = HasSet(held={OwnHash(a=[3])}), HasSet(held={(frozenset({1}), FrozenModel(a=2))})
    assert found.decode(found.encode(models, {})) == (models, {})


def with_session(fn: Callable[..., None]) -> Callable[..., None]:
    """Injects a parameter, and says so where `inspect` looks for it."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        fn("session", *args, **kwargs)

    whole = inspect.signature(fn)
    kept = [p for name, p in whole.parameters.items() if name != "session"]
    wrapper.__signature__ = whole.replace(parameters=kept)  # type: ignore[attr-defined]
    return wrapper


def traced(fn: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        fn(*args, **kwargs)

    return wrapper


@traced
@with_session
def injected(session: object, order: int, args: Args) -> None: ...


@with_session
@traced
def injected_below(session: object, order: int, args: Args) -> None: ...


@pytest.mark.parametrize("fn", [injected, injected_below])
def test_a_signature_that_a_decorator_states_counts(fn: Callable[..., Any]) -> None:
    found = contract(fn)
    assert found.signature == "(order: int, args: Args) -> None"
    assert found.decode(found.encode((1, Args("x")), {})) == ((1, Args("x")), {})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is of Python 3.12")
def test_recursive_type_statements() -> None:
    scope: dict[str, Any] = {}
    exec("type Tree = dict[str, Tree] | list[Tree] | int\ntype Count = int", scope)

    def task(tree: Any, count: Any) -> None: ...

    task.__annotations__ |= {"tree": scope["Tree"], "count": scope["Count"]}
    found = contract(task)
    sent = ({"a": [1, {"b": 2}]}, 3)
    assert found.decode(found.encode(sent, {}))[0] == sent


class Mood(enum.Enum):
    GOOD = "good"
    ODD = 1


class StructDefaults(msgspec.Struct):
    n: list[int] = msgspec.field(default_factory=dict)  # type: ignore[arg-type]


class ModelDefaults(pydantic.BaseModel):
    n: Annotated[list[int], pydantic.Field(min_length=1)] = pydantic.Field(default_factory=list)


class FieldOfMsgspec(pydantic.BaseModel):
    n: int = msgspec.field(default=1)


class TextForEnum(pydantic.BaseModel):
    n: Mood = "good"  # type: ignore[assignment]


class EmptyDefaults(pydantic.BaseModel):
    a: list[int] = pydantic.Field(default_factory=list)
    b: set[str] = pydantic.Field(default_factory=set)
    c: float = 0


def from_a_struct(a: StructDefaults) -> None: ...
def from_a_model(a: ModelDefaults) -> None: ...
def from_msgspec(a: FieldOfMsgspec) -> None: ...
def text_for_enum(a: TextForEnum) -> None: ...
def empty(a: EmptyDefaults) -> None: ...
def mixed(a: Mood) -> None: ...
def bytes_in_a_literal(a: Literal[b"x"]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (from_a_struct, "its type refuses its default {}: Expected `array`, got `object`"),
        (from_a_model, "its type refuses its default []: List should have at least 1 item"),
        (from_msgspec, "has no JSON form; write another, or None - at $.n"),
        (text_for_enum, "its type refuses its default 'good': would not arrive as it was given"),
        (bytes_in_a_literal, "a Literal may hold None, str, int, and members of enums"),
        (mixed, "Mood has values that are not all str or all int; give it values of one of these"),
    ],
)
def test_a_default_or_an_enum_that_no_worker_reads_back(fn: Any, reason: str) -> None:
    test_a_function_without_a_contract(fn, "a", reason)


def test_defaults_that_factories_make() -> None:
    found = contract(empty)
    assert found.decode(found.encode((EmptyDefaults(),), {})) == ((EmptyDefaults(),), {})
