"""Read and write one type through pydantic, strictly. Imports pydantic."""

from __future__ import annotations

import itertools
from functools import cached_property, lru_cache
from typing import Any, cast

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from typedq.contracts.foreign import StandIn
from typedq.contracts.fragments import Definitions
from typedq.contracts.json_tree import is_array, is_object
from typedq.contracts.pydantic_types.code import CODE
from typedq.contracts.pydantic_types.containers import CONTAINERS, without_hash
from typedq.contracts.pydantic_types.records import RECORDS
from typedq.contracts.pydantic_types.scalars import SCALARS
from typedq.contracts.pydantic_types.walk import Walk, json_kinds, look_alike
from typedq.contracts.type_tree import NoSchema, ambiguous, name_of

Loc = tuple[int | str, ...]
_Way = tuple[bool, Loc]  # whether the last step is in it, and its steps
_NODES = {**SCALARS, **CONTAINERS, **CODE, **RECORDS}
_MOST_ERRORS = 100  # of a value, among which the first is looked for
INNER = "\0"  # between a reason and its path in the value, inside a message of msgspec


def adapter_of(kind: Any) -> Adapter:
    """Return the adapter of a type; the same one for the same type. Raises `NoSchema`."""
    try:
        return _cached(kind)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return Adapter(kind)


def plain_model(model: BaseModel) -> Any:
    """Return the JSON values that a model writes, whatever the declared type is."""
    by_alias = _by_alias(type(model))
    return model.model_dump(mode="json", by_alias=by_alias, warnings=False)


def _by_alias(kind: Any) -> bool:
    """Whether a type is written under its aliases: under the names that it reads."""
    config: dict[str, Any] = (
        getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    )
    return bool(config.get("validate_by_alias", True))


class Adapter:
    """`stand_in`: the class that msgspec meets instead. Making one raises `NoSchema`."""

    def __init__(self, kind: Any) -> None:
        self.kind, self._by_alias = kind, _by_alias(kind)
        self._types = self._adapter()
        self.stand_in: Any = StandIn(
            name_of(kind), (), {"load": staticmethod(self.from_builtins), "adapter": self}
        )

    def _adapter(self) -> TypeAdapter[Any]:
        try:
            made = TypeAdapter[Any](self.kind)
            made.rebuild(raise_errors=True)
        except NameError as error:
            reason = str(error).partition("\n")[0]
            raise NoSchema("$", f"{reason}; define it at the top of a module") from error
        except PydanticUserError as error:
            raise NoSchema("$", _why_not(self.kind, error)) from error
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise NoSchema("$", f"pydantic cannot read {name_of(self.kind)}: {reason}") from error
        return made

    def read(self, body: bytes) -> Any:
        """Return the value in a JSON text. Raises ValueError."""
        if b"NaN" in body or b"Infinity" in body:  # which pydantic takes for numbers
            msgspec.json.decode(body)
        return self._types.validate_json(body, strict=True)

    def write(self, value: Any) -> bytes:
        """Return the JSON text of a value."""
        return self._types.dump_json(value, by_alias=self._by_alias, warnings=False)

    def from_builtins(self, value: Any) -> Any:
        """Return the value that parsed JSON stands for. Raises ValueError."""
        # As JSON text, because pydantic's strict mode would refuse a datetime's string as a value.
        try:
            return self._types.validate_json(msgspec.json.encode(value), strict=True)
        except ValidationError as error:
            path, reason = problem_in(error, value)
            raise ValueError(f"{reason}{INNER}{path.removeprefix('$')}") from error

    def to_builtins(self, value: Any) -> Any:
        """Return the JSON value of a value; one that has none is left as it is."""
        try:
            return self._types.dump_python(
                value, mode="json", by_alias=self._by_alias, warnings=False
            )
        except Exception:  # noqa: BLE001  a value of another type: found when it is read back
            return value

    def describe(self, definitions: Definitions, path: str) -> dict[str, Any]:
        """Return the schema; what it defines is added to `definitions`. Raises `NoSchema`."""
        return self._walk(definitions, path)[0]

    @cached_property
    def walked(self) -> tuple[dict[str, Any], Walk]:
        """The schema by itself, and what was found out on the walk."""
        return self._walk(Definitions(), "$")

    @cached_property
    def without_hash(self) -> str | None:
        """The name of what keeps values of the type out of a set, if anything does."""
        return without_hash(self.walked[1], cast("Any", self._types.core_schema))

    def _walk(self, definitions: Definitions, path: str) -> tuple[dict[str, Any], Walk]:
        walk = Walk(definitions, _NODES, by_alias=self._by_alias)
        return walk.schema(cast("Any", self._types.core_schema), path), walk

    def check_union(self, members: tuple[Any, ...]) -> None:
        """Raise `NoSchema` if two members of the union that this is are the same text in JSON."""
        if not members:
            return
        schema, walk = self.walked
        parts = schema.get("anyOf", [schema])
        texts = [one for one in parts if json_kinds(one, walk.definitions) == {"string"}]
        pairs = itertools.combinations(texts, 2)
        if any(look_alike(one, other, walk.definitions) for one, other in pairs):
            raise NoSchema("$", ambiguous(" | ".join(map(name_of, members))))


_cached = lru_cache(maxsize=1_024)(Adapter)


def _why_not(kind: Any, error: PydanticUserError) -> str:
    if "infer a default factory" in error.message:
        return f"nobody knows what {name_of(kind)} holds for a missing key; take a dict"
    if error.code == "schema-for-unknown-type":
        return (
            f"{name_of(kind)} has no JSON form that typedq knows; take its parts in a Struct or a"
            " pydantic model, or a str"
        )
    if error.code == "circular-reference-schema":
        return f"no value fits {name_of(kind)}, which is nothing but itself; name its values"
    return f"{name_of(kind)}: {error.message.partition(chr(10))[0]}"


def problem_in(error: ValidationError, value: Any) -> tuple[str, str]:
    """Return the first problem that pydantic found in parsed JSON: its path from `$`, and why.

    Of the members of a union, each of which has its own, the one that got farthest counts. The
    names of those members, which pydantic has in its paths, are left out.
    """
    found: list[tuple[Loc, str]] = []
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    for one in errors[:_MOST_ERRORS]:
        missing = one["type"] == "missing"
        found.append((_way(one["loc"], value, missing, {})[1], one["msg"]))
    first = found[0][0]
    inside = [one for one in found if one[0][: len(first)] == first]
    loc, reason = max(inside, key=lambda one: len(one[0]))
    return "$" + "".join(map(_step, loc)), reason


def _step(step: int | str) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"


def _way(loc: Loc, value: Any, missing: bool, known: dict[tuple[int, int], _Way]) -> _Way:
    """Return most of the steps that lead through `value`; the others name members of unions.

    Before all others comes a way with the last step.
    """
    key = len(loc), id(value)
    if not loc or key in known:
        return known.get(key, (False, ()))
    step, rest = loc[0], loc[1:]
    inside: Any = msgspec.UNSET
    if isinstance(step, str):
        inside = value.get(step, inside) if is_object(value) else inside
    elif is_array(value) and step < len(value):
        inside = value[step]
    ways = [_way(rest, value, missing, known)]
    if inside is not msgspec.UNSET:
        ends, steps = _way(rest, inside, missing, known)
        ways.insert(0, (ends or not rest, (step, *steps)))
    elif missing and not rest and (is_object(value) or is_array(value)):
        ways.insert(0, (True, (step,)))
    known[key] = max(ways, key=lambda way: (way[0], len(way[1])))
    return known[key]
