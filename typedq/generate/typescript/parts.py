"""Small pieces of a rendered type: values, facets, members, unions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import is_array, is_object
from typedq.generate.typescript.names import TAKEN, literal


@dataclass(frozen=True, slots=True)
class Rendered:
    """A type and the expression of its check. members: the body of an interface, if it is one."""

    type: str
    check: str
    members: str = ""


ANY, NEVER = Rendered("t.Json", "t.any"), Rendered("never", "t.never")


def joined(made: Sequence[Rendered], *, alike: bool = False) -> Rendered:
    """Return a union. alike: values of some of its types can look the same."""
    types = dict.fromkeys(one.type for one in made)
    checks = ", ".join(one.check for one in made)
    return Rendered(" | ".join(types), f"t.{'alike' if alike else 'union'}({checks})")


def values(schema: dict[str, Any]) -> Rendered:
    """Return one of the values that a schema lists."""
    listed = [schema["const"]] if "const" in schema else schema["enum"]
    if not all(value is None or isinstance(value, str | int | float) for value in listed):
        return ANY
    types = dict.fromkeys(literal(value) for value in listed)
    checks = ", ".join(dict.fromkeys(map(_exact, listed)))
    return Rendered(" | ".join(types) or "never", f"t.oneOf({checks})")


def _exact(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value}n" if whole else literal(value)


def values_of(schema: Schema) -> list[str]:
    """Return the only values of a member, as literals; none if it may have others."""
    listed: Any = None
    if is_object(schema):
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
    simple = listed and all(type(value) in (str, int) for value in listed)
    return list(map(_exact, listed)) if simple else []


def is_tag(schema: Schema) -> bool:
    """Return True for the tag of a record, which writers always write."""
    return len(values_of(schema)) == 1 and "default" not in schema


def unsent(part: Schema) -> Rendered | None:
    """Return what refuses a member that is only read, or None for any other member.

    Contracts say that nobody sends it, so a later worker need not read it any more.
    """
    if not is_object(part) or part.keys().isdisjoint(("x-typedq-alias", "x-typedq-excluded")):
        return None
    why, alias = "workers read it, and nobody sends it", part.get("x-typedq-alias")
    if is_array(alias) and alias:
        why = f"workers read it as {literal(alias[0])}; pass that member instead"
    return Rendered("never", f"t.unsent({literal(why)})")


def common_tag(records: Sequence[dict[str, Any]]) -> str | None:
    """Return the member that tells some records apart, or None."""
    first: dict[str, Any] = records[0]["properties"] if records else {}
    for name in first:
        tags = [
            values_of(one["properties"].get(name)) if name in one.get("required", ()) else []
            for one in records
        ]
        if all(len(tag) == 1 for tag in tags) and len({tag[0] for tag in tags}) == len(tags):
            return name
    return None


def sizes(schema: dict[str, Any], what: str) -> dict[str, str]:
    """Return the bounds of a collection: of `Items` or `Properties`."""
    return {
        key: literal(schema[f"{key}{what}"]) for key in ("min", "max") if f"{key}{what}" in schema
    }


def facets_of(given: Mapping[str, str]) -> str:
    """Return an object literal; nothing for none."""
    inside = ", ".join(f"{key}: {value}" for key, value in given.items())
    return f"{{ {inside} }}" if inside else ""


def more(given: Mapping[str, str]) -> str:
    """Return facets as a further argument."""
    return f", {facets_of(given)}" if given else ""


def grouped(type: str) -> str:
    """Return a type that `[]` may follow."""
    return type if re.fullmatch(r"[\w.]+|\{[^{}]*\}", type) else f"({type})"


def element(type: str, name: str, place: int, *, optional: bool) -> str:
    """Return one element of a tuple, with a name if it is a simple one."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name not in TAKEN
    label = name if plain else f"item{place}"
    return f"{label}{'?' * optional}: {type}"


def step(name: str) -> str:
    """Return the step of a JSON path to a member."""
    return f".{name}" if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f"[{literal(name)}]"


def about(schema: Schema) -> list[str]:
    """Return what a schema says to people."""
    if not is_object(schema):
        return []
    found = [schema["description"]] if isinstance(schema.get("description"), str) else []
    if "default" in schema:
        found.append(f"Default: {literal(schema['default'])}")
    return [*found, "A secret: no tool shows it."] if schema.get("writeOnly") is True else found
