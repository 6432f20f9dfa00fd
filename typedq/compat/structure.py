"""What the objects and arrays of a schema hold, seen from either side.

A writer with declared members or elements writes those only: it is closed. Without, it is open.
A reader with declared members or elements drops what it does not declare, unless it forbids it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from math import inf
from typing import Any

from typedq.compat.values import limits
from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import is_array, is_object

Json = dict[str, Any]

ANY_TEXT = {"type": "string"}
_COUNTED = ("Length", "Items", "Properties")
_ONLY_READ = ("x-typedq-excluded", "x-typedq-alias")  # members that are never written


def is_only_read(schema: Schema) -> bool:
    """Return True for a member that is never written."""
    return is_object(schema) and not schema.keys().isdisjoint(_ONLY_READ)


def is_plainly_empty(kind: str, facets: Json) -> bool:
    """Whether it is plain that no value of a kind satisfies its keywords, as of 3 to 2 elements."""
    # Text may have bounds of numbers, which do not count.
    low, high = limits({} if kind == "string" else facets, whole=kind == "integer")
    if low and high and (low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))):
        return True
    if any(facets.get(f"min{of}", 0) > facets.get(f"max{of}", inf) for of in _COUNTED):
        return True
    declared: dict[str, Schema] = facets.get("properties", {})
    return any(declared.get(name) is False for name in facets.get("required", ()))


class Members:
    """The members of an object, seen from either side.

    `may_write`: whether a writer can write a declared member, given what all names must be.
    """

    def __init__(
        self,
        facets: Json,
        listed: Mapping[str | int, list[str]],
        may_write: Callable[[str, Schema], bool],
    ) -> None:
        self._listed = listed
        self._lone_tag = bool(facets.get("x-typedq-lone-tag"))
        self.declared: dict[str, Schema] = facets.get("properties", {})
        self.patterns: dict[str, Schema] = facets.get("patternProperties", {})
        self.required = frozenset(facets.get("required", ()))
        self.fixed = "properties" in facets
        self.drops = self.fixed and "additionalProperties" not in facets  # as a reader
        self.accepted: Schema = facets.get("additionalProperties", True)
        names = facets.get("propertyNames", True)
        is_text = isinstance(names, bool) or names.get("type") == "string"
        self.keys: Schema = names if is_text else {"allOf": [names, ANY_TEXT]}
        missing = facets.get("minProperties", 0) - len(self.required)
        if missing > 0:
            optional = [name for name in self.declared if name not in self.required]
            missing -= sum(may_write(name, self.keys) for name in optional)
        # Beside the declared ones: a closed writer writes others only if it must.
        self.written: Schema = False if self.drops and missing <= 0 else self.accepted

    @cached_property
    def always(self) -> frozenset[str]:
        """What a writer always writes: required members, and the tag of a lone tagged Struct."""
        if not self._lone_tag:
            return self.required
        tags = [
            name
            for name, schema in self.declared.items()
            if name not in self.required and self.constant(name) and "default" not in schema
        ]
        return self.required | set(tags if len(tags) == 1 else ())

    @cached_property
    def parts(self) -> dict[str, Schema]:
        """What a writer may write by name: declared members, and required ones of any value."""
        loose = True if self.patterns else self.accepted
        more = sorted(self.required - self.declared.keys()) if self.fixed else ()
        declared = {
            name: schema
            for name, schema in self.declared.items()
            if name in self.required or not is_only_read(schema)
        }
        return {**declared, **dict.fromkeys(more, loose)}

    @cached_property
    def aliases(self) -> dict[str, list[str]]:
        """The other names under which a reader finds members; of each one, if all are plain."""
        found, odd = dict[str, list[str]](), set[str]()
        for name, schema in self.declared.items():
            alias: Any = schema.get("x-typedq-alias") if is_object(schema) else None
            if is_array(alias) and len(alias) == 2 and isinstance(alias[0], str):
                found.setdefault(alias[0], []).append(name)
                odd |= {alias[0]} if alias[1] != name else set()
        return {name: others for name, others in found.items() if name not in odd}

    def read_instead(self, writer: Members) -> dict[str, str]:
        """Return the aliases that a writer writes, each with the member that it is read for.

        Which of several names counts is not known here, so those are left out.
        """
        found = dict[str, str]()
        if not self.aliases or writer.written is not False or writer.patterns:
            return found
        for name, others in self.aliases.items():
            written = [one for one in (name, *others) if one in writer.parts]
            if len(written) == 1 and written != [name]:
                found[written[0]] = name
        return found

    def constant(self, name: str) -> str | None:
        """Return the one value a member can have, as its equality key."""
        values = self._listed.get(name, ())
        return values[0] if len(values) == 1 else None

    def tagged(self, name: str) -> bool:
        """Return True if a member is the tag of a Struct that is no variant of a union."""
        return self._lone_tag and name in self.always - self.required


class Elements:
    """The elements of an array, seen from either side."""

    def __init__(self, facets: Json, *, writes: bool) -> None:
        self.prefix: list[Schema] = facets.get("prefixItems", [])
        self.names: list[str] = facets.get("x-typedq-elements", [])
        self.least: int = facets.get("minItems", 0)
        most: float = facets.get("maxItems", inf)
        named = "x-typedq-elements" in facets or bool(self.prefix)
        self.drops = named and "items" not in facets and "maxItems" not in facets  # as a reader
        # A closed writer writes further elements only if it must.
        closed = writes and named and self.least <= len(self.prefix)
        self.rest: Schema = facets.get("items", not closed)
        self.most = min(most, len(self.prefix)) if self.rest is False else most

    def at(self, index: int) -> Schema:
        """Return the schema of one element."""
        return self.prefix[index] if index < len(self.prefix) else self.rest

    def __str__(self) -> str:
        if self.least == self.most:
            return f"exactly {self.least}"
        return f"{self.least} or more" if self.most == inf else f"{self.least} to {self.most}"
