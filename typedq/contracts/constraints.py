"""Translate constraints of annotated-types and pydantic into the `msgspec.Meta` that enforces them.

Nothing is imported from those packages: their classes are told by name. Whatever is not in the
tables below is refused, because a constraint that is written and not enforced would be a lie.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NoReturn

import msgspec

from typedq.contracts.foreign import PydanticMark
from typedq.contracts.json_tree import MAX_NUMBER
from typedq.contracts.secrets import is_secret
from typedq.contracts.type_tree import NoSchema

_BOUNDS = {"Gt": "gt", "Ge": "ge", "Lt": "lt", "Le": "le", "MultipleOf": "multiple_of"}
_FACTS = _BOUNDS | {"MinLen": "min_length", "MaxLen": "max_length"}
_META_FACTS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz")
_NOTES = ("title", "description", "examples", "extra_json_schema")
# Strict is how every message is read; no JSON text holds NaN; the rest is documentation.
_WITHOUT_EFFECT = frozenset(
    ("Strict", "AllowInfNan", "FailFast", "Unit", "Examples", "WithJsonSchema", "SkipJsonSchema")
)
# Predicates that hold for every number of JSON: those of annotated_types.IsFinite and its like.
_OF_JSON = frozenset(
    ("Predicate(math.isfinite)", "Predicate(Not(math.isnan))", "Predicate(Not(math.isinf))")
) | {f"Predicate(Not(func=<built-in function {name}>))" for name in ("isnan", "isinf")}
_GENERAL_WITHOUT_EFFECT = frozenset(("strict", "allow_inf_nan", "fail_fast"))
_NOT_IN_A_FIELD = ("alias", "validation_alias", "serialization_alias", "exclude", "exclude_if")
_PACKAGES = frozenset(("annotated_types", "pydantic"))
_NUMBERS = frozenset(("gt", "ge", "lt", "le"))
_SIZES = frozenset(("min_length", "max_length"))
_ALLOWED: dict[type, frozenset[str]] = {
    int: _NUMBERS | {"multiple_of"},
    float: _NUMBERS,
    str: _SIZES | {"pattern"},
    **dict.fromkeys((bytes, bytearray, memoryview, list, set, frozenset, dict, tuple), _SIZES),
    **dict.fromkeys((dt.datetime, dt.time), frozenset(("tz",))),
}
_STRONGER: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("gt", "ge", "min_length"), max),
    **dict.fromkeys(("lt", "le", "max_length"), min),
    "multiple_of": math.lcm,
}


def is_plain(metadata: Iterable[Any]) -> bool:
    """Return True if msgspec itself reads all that is said beside a type."""
    return all(
        isinstance(item, (msgspec.Meta, str)) or item is None or is_secret(item)
        for item in metadata
    )


def is_by_pydantic(metadata: Iterable[Any]) -> bool:
    """Return True for `ByPydantic` beside a type.

    Raises `NoSchema` for what pydantic would not read there.
    """
    notes = list(metadata)
    if not any(isinstance(item, PydanticMark) for item in notes):
        return False
    for item in notes:
        if isinstance(item, msgspec.Meta):
            raise NoSchema("$", "pydantic does not read msgspec.Meta; write Field(...) instead")
        if type(item).__name__ == "FieldInfo":
            _refuse_what_only_a_field_has(item)
    return True


def facts_of(metadata: Iterable[Any]) -> dict[str, Any]:
    """Return the arguments of one `Meta` that says what all of `metadata` say.

    Raises `NoSchema` for what msgspec cannot enforce.
    """
    facts: dict[str, Any] = {}
    for item in metadata:
        for name, value in _facts(item):
            _add(facts, name, value, item)
    return facts


def constrain(kind: Any, base: Any, facts: dict[str, Any]) -> Any:
    """Return `kind` with a `Meta`. `base` is its concrete class. Raises `NoSchema`."""
    constraints = facts.keys() - _NOTES
    if wrong := sorted(constraints - _ALLOWED.get(base, frozenset())):
        _refuse(f"{wrong[0]} on a {getattr(base, '__name__', base)}")
    facts = {**facts}
    for name in constraints & (_NUMBERS | {"multiple_of"}):
        facts[name] = _bound(base, name, facts[name])
    for exclusive, inclusive, pick in (("gt", "ge", max), ("lt", "le", min)):
        if exclusive in facts and inclusive in facts:
            both = facts[exclusive], facts[inclusive]
            del facts[exclusive if pick(both) != both[0] else inclusive]
    return Annotated[kind, msgspec.Meta(**facts)] if facts else kind


def _bound(base: type, name: str, value: Any) -> Any:
    number = plain_number(value)
    if base is float and number is not None:
        return number
    if number is None or int(number) != number or not -(1 << 63) <= number < 1 << 63:
        kind = "float" if base is float else "whole number"
        _refuse(f"{name}={value!r:.60} on a {kind}")
    return int(number)


def plain_number(bound: Any) -> float | None:
    """Return a bound as a number that JSON can say, or None. Python has more kinds of numbers."""
    try:
        plain = bound if type(bound) in (int, float) else int(bound)
        plain = plain if plain == bound else float(bound)
        return plain if plain == bound and abs(plain) < MAX_NUMBER else None
    except (TypeError, ValueError, OverflowError):  # of NaN, infinity, and what is no number
        return None


def _facts(item: Any) -> Iterator[tuple[str, Any]]:
    name, package = type(item).__name__, type(item).__module__.partition(".")[0]
    if item is None or isinstance(item, str) or is_secret(item):
        return
    if isinstance(item, msgspec.Meta):
        found = {key: getattr(item, key) for key in (*_META_FACTS, *_NOTES)}
        yield from ((key, value) for key, value in found.items() if value is not None)
    elif name == "Doc" and isinstance(text := getattr(item, "documentation", None), str):
        yield "description", text
    elif package in _PACKAGES:
        yield from _known_facts(name, item)
    else:
        _refuse(repr(item), hint="remove it, or ")


def _known_facts(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    """What a class of annotated-types or pydantic says."""
    if name == "FieldInfo":
        yield from _field(item)
    elif name == "_PydanticGeneralMetadata":
        yield from _general(item)
    elif getattr(item, "__is_annotated_types_grouped_metadata__", False):
        for part in item:
            yield from _facts(part)
    elif name in _FACTS:
        yield _FACTS[name], getattr(item, _FACTS[name])
    elif name == "Timezone" and item.tz in (None, ...):
        yield "tz", item.tz is not None
    elif name not in _WITHOUT_EFFECT and repr(item) not in _OF_JSON:
        _refuse(repr(item))


def _general(item: Any) -> Iterator[tuple[str, Any]]:
    stated: dict[str, Any] = item.__dict__
    for name, value in stated.items():
        if name == "pattern":
            yield name, getattr(value, "pattern", value)
        elif name not in _GENERAL_WITHOUT_EFFECT and value not in (None, False):
            _refuse(f"{name}={value!r}")


def _field(item: Any) -> Iterator[tuple[str, Any]]:
    """Read a pydantic `Field(...)`."""
    _refuse_what_only_a_field_has(item)
    if item.discriminator is not None:
        _refuse("Field(discriminator=...) beside what is no union of models")
    for part in item.metadata:
        yield from _facts(part)
    notes = {name: getattr(item, name, None) for name in ("title", "description", "examples")}
    yield from ((name, note) for name, note in notes.items() if note is not None)


def _refuse_what_only_a_field_has(item: Any) -> None:
    for name in _NOT_IN_A_FIELD:
        if getattr(item, name, None):
            _refuse(f"Field({name}=...)")
    if not item.is_required():
        raise NoSchema("$", "a default in Field(...) is not read here; write it after `=`")


def _add(facts: dict[str, Any], name: str, value: Any, item: Any) -> None:
    if name in facts and name in _STRONGER:
        value = _STRONGER[name](facts[name], value)
    elif name not in _NOTES and facts.get(name, value) != value:
        _refuse(f"a second {name}, {item!r}")
    facts[name] = value


def _refuse(what: str, hint: str = "") -> NoReturn:
    raise NoSchema("$", f"{what} is not enforced here; {hint}put it in a pydantic model")
