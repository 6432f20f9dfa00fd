"""Small pieces of a schema: what a class says of itself, members, elements, keys, defaults."""

from __future__ import annotations

import copy
import enum
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, product, repeat
from typing import Any

import msgspec
from msgspec import inspect as mi

from typedq.contracts.canonical import fingerprint
from typedq.contracts.json_tree import is_array, is_object, text_of
from typedq.contracts.type_tree import NoSchema

Schema = dict[str, Any]

ANNOTATION_KEYS = frozenset(
    ("title", "description", "examples", "deprecated", "$comment", "default", "writeOnly")
)
# Keywords that matter at the reader's only: a writer that has one writes nothing more. To a
# comparison that does not know it, a keyword of typedq's means "equal or incompatible".
READER_KEYWORDS = frozenset(
    (
        "x-typedq-mask",  # an integer whose bits lie within this mask
        "x-typedq-decimal",  # bounds of a pydantic Decimal
        "x-typedq-bounds",  # bounds of a pydantic date, time or duration, as ISO text
        "x-typedq-text",  # what pydantic does to a text before it checks it
        "x-typedq-url",  # schemes, length and defaults of a pydantic URL
        "x-typedq-uuid",  # the version of a UUID
        "x-typedq-check",  # checks that pydantic or a custom type makes, by name
        "x-typedq-alias",  # what is read for another member, where that is not there
        "x-typedq-rank",  # place in a union whose members can look the same in JSON
        "x-typedq-excluded",  # a member that is read and never written
        "x-typedq-tags",  # tags of a union whose discriminator is a function
    )
)
NEARLY = "x-typedq-nearly"
KEYWORDS = READER_KEYWORDS | {
    "x-typedq-type",  # a finer type of a string, an array, or the text of an object's key
    "x-typedq-minBytes",  # length of bytes, before they became text
    "x-typedq-maxBytes",
    NEARLY,  # pydantic's float: what is nearly a multiple is one, too; msgspec's is exact
    "x-typedq-elements",  # names of the elements of an array that stands for a record
    "x-typedq-lone-tag",  # writers always write the tag, readers do not insist on it
    "x-typedq-written",  # a serializer's schema, where it is not what is read
    "x-typedq-computed",  # a member that is always written, and never read
    "x-typedq-payload",  # at the top: `parameters` if the payload is made of a task's parameters
}
_REF = "#/$defs/"
_MAX_LISTED_BITS = 6
_KEY_PATTERNS = {
    "integer": "^-?(0|[1-9][0-9]*)$",
    "number": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$",
}


@dataclass(frozen=True, slots=True, eq=False)
class CopyOf:
    """A default factory: a task may change what it is given, the next call gets a fresh copy."""

    default: Any

    def __call__(self) -> Any:
        return copy.deepcopy(self.default)


class Definitions:
    """The `$defs` of a document in the making. `schemas`: by name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._refs: dict[Any, str] = {}
        self._unranked: list[tuple[list[list[Any]], list[Schema]]] = []

    def named(self, key: Any, wanted: str, write: Callable[[], Schema]) -> Schema:
        """Return a `$ref` to the definition of `key`, which is written at its first use.

        Recursive types refer to it before it is written.
        """
        if key not in self._refs:
            wanted = re.sub(r"[^a-zA-Z0-9.\-_]", "_", wanted)
            names = (wanted if n == 1 else f"{wanted}_{n}" for n in count(1))
            name = next(name for name in names if name not in self.schemas)
            self._refs[key], self.schemas[name] = _REF + name, {}
            self.schemas[name] = write()
        return {"$ref": self._refs[key]}

    def ranked(self, members: Sequence[Schema], alike: Sequence[bool]) -> list[Schema]:
        """Return the members of a union, with the place of those that can look the same in JSON.

        A change of one of them moves values to it from the others, so each is to name all of
        them: `fill_ranks` does so, when what they refer to is written.
        """
        ranks = [[place] for place, one in enumerate(alike) if one]
        mixed = [member for member, one in zip(members, alike, strict=True) if one]
        self._unranked.append((ranks, mixed))
        left = iter(ranks)
        return [
            {**member, "x-typedq-rank": next(left)} if one else member
            for member, one in zip(members, alike, strict=True)
        ]

    def fill_ranks(self) -> None:
        """Name the members of unions by their fingerprints, now that all definitions are there."""
        named = [
            [fingerprint({**member, "$defs": self.schemas}) for member in members]
            for _, members in self._unranked
        ]
        for (ranks, _), names in zip(self._unranked, named, strict=True):
            for rank in ranks:
                rank.extend(names)
        self._unranked.clear()

    def resolved(self, schema: Schema) -> Schema:
        """Return what a schema that is a mere reference refers to; any other itself."""
        for _ in range(99):
            if "$ref" not in schema or schema["$ref"].removeprefix(_REF) not in self.schemas:
                break
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self.schemas[schema["$ref"].removeprefix(_REF)], **beside}
        return schema

    def in_order(self, value: Any, schema: Any) -> Any:
        """Return a JSON value of a schema with its sets sorted. In each process they differ."""
        schema = self.resolved(schema) if is_object(schema) else {}
        for branch in schema.get("anyOf", schema.get("oneOf", ())):
            value = self.in_order(value, branch)
        if is_object(value):
            named, rest = schema.get("properties", {}), schema.get("additionalProperties")
            return {k: self.in_order(part, named.get(k, rest)) for k, part in value.items()}
        if not is_array(value):
            return value
        schemas = chain(schema.get("prefixItems", ()), repeat(schema.get("items")))
        parts = [self.in_order(*pair) for pair in zip(value, schemas, strict=False)]
        return sorted(parts, key=text_of) if schema.get("x-typedq-type") == "set" else parts


def class_name(cls: Any) -> str:
    """A name for `$defs`, such as `Page_int_` for `Page[int]`."""
    arguments = getattr(cls, "__args__", ())
    name: str = getattr(cls, "__origin__", cls).__name__
    if arguments:
        name += str([getattr(a, "__name__", repr(a)) for a in arguments]).replace("'", "")
    return re.sub(r"[^a-zA-Z0-9.\-_]", "_", name)


def about(cls: Any) -> Schema:
    """Title and description of a class; a docstring made by a decorator is none."""
    origin = getattr(cls, "__origin__", cls)
    if origin is None:
        return {}
    doc = inspect.cleandoc(origin.__doc__ or "")
    if doc.startswith(f"{origin.__name__}(") or not doc:
        return {"title": origin.__name__}
    return {"title": origin.__name__, "description": doc}


def only_annotations(extra: Mapping[str, Any]) -> Schema:
    """What of `Meta(extra_json_schema=...)` promises nothing that the decoder does not check.

    Examples are values of the type, as JSON has them; what has no JSON form is left out.
    """
    found: Schema = {}
    for key in sorted(extra.keys() & ANNOTATION_KEYS - {"default"}):
        with suppress(TypeError, ValueError, RecursionError):
            plain = msgspec.to_builtins(extra[key], str_keys=True, order="deterministic")
            found[key] = plain
    return found


def given(kind: mi.Type, names: Mapping[str, str]) -> Schema:
    """The constraints of `kind` that are set, under their JSON Schema names."""
    values = {key: getattr(kind, attribute) for attribute, key in names.items()}
    return {key: value for key, value in values.items() if value is not None}


def members(
    cls: Any, names: Sequence[str], schemas: Sequence[Schema], required: Sequence[str]
) -> Schema:
    """An object with these members."""
    return {
        **about(cls),
        "type": "object",
        "properties": dict(zip(names, schemas, strict=True)),
        "required": list(required),
    }


def elements(
    cls: Any, names: Sequence[str], schemas: Sequence[Schema], least: int, most: int | None
) -> Schema:
    """An array whose elements have names."""
    return {
        **about(cls),
        "type": "array",
        **({"prefixItems": list(schemas)} if schemas else {}),
        "minItems": least,
        **({} if most is None else {"maxItems": most}),
        "x-typedq-elements": list(names),
    }


def enum_values(cls: type[enum.Enum], most: int = 2**64 - 1) -> Schema:
    """The values of an enum; of flags, every combination, up to the most that is read as one."""
    if not issubclass(cls, enum.Flag):
        values = [member.value for member in cls]
        return {"enum": sorted(values, key=lambda value: (type(value).__name__, value))}
    boundary: Any = getattr(cls, "_boundary_", None)
    if boundary is enum.KEEP:  # bits it does not know; a negative number it complements
        return {"type": "integer", "minimum": 0, "maximum": most}
    mask = 0
    for member in cls.__members__.values():
        mask |= member.value
    bits = [1 << i for i in range(mask.bit_length()) if mask >> i & 1]
    if len(bits) <= _MAX_LISTED_BITS:
        return {"enum": sorted(map(sum, product(*((0, bit) for bit in bits))))}
    gaps = {} if mask & (mask + 1) == 0 else {"x-typedq-mask": mask}
    return {"type": "integer", "minimum": 0, "maximum": mask, **gaps}


def as_text(schema: Schema, path: str) -> Schema:
    """The schema of an object's key: what would be a number as a value is text as a key."""
    if schema.get("type") == "string":
        return schema
    text: Schema = {**schema, "type": "string"}
    kind, values = schema.get("type"), schema.get("enum", [None])
    if kind in _KEY_PATTERNS:
        return {**text, "pattern": _KEY_PATTERNS[kind], "x-typedq-type": kind}
    kinds: set[type] = {type(value) for value in values}
    if kind == "boolean" or kinds == {bool}:
        listed = [True, False] if kind == "boolean" else values
        return {**text, "enum": [str(v).lower() for v in listed], "x-typedq-type": "boolean"}
    if kinds == {str}:
        return text
    if kinds == {int}:
        return {**text, "enum": [str(v) for v in values], "x-typedq-type": "integer"}
    raise NoSchema(path, "cannot be told apart as the key of a JSON object; use one type, as str")


def share(kind: mi.Type, schema: Schema, union: Sequence[mi.Type]) -> Schema | None:
    """What `kind` accepts as a member of `union`, or None if nothing is left to it.

    The decoder chooses by the kind of JSON token: str before Literal, int before Literal, and any
    of the integers before float, float before Decimal. What it chose then has the last word.
    """
    present = {type(member) for member in union}
    if isinstance(kind, mi.LiteralType):
        taken = tuple(t for t, by in ((str, mi.StrType), (int, mi.IntType)) if by in present)
        left = [v for v in kind.values if isinstance(v, bool) or not isinstance(v, taken)]
        return {**schema, "enum": left} if left else None
    numbers = any(isinstance(k, mi.FloatType) and k != mi.FloatType() for k in union)
    if isinstance(kind, mi.DecimalType) and numbers:
        return {**schema, "not": {"type": "number"}}
    if isinstance(kind, (mi.FloatType, mi.DecimalType)) and any(map(_some_integers, union)):
        whole: Schema = {"type": "integer"}
        if mi.IntType not in present:  # Literal and enums leave what has no 64 bits to the float
            whole |= {"minimum": -(1 << 63), "maximum": (1 << 64) - 1}
        return {**schema, "not": whole}
    return schema


def _some_integers(kind: mi.Type) -> bool:
    if isinstance(kind, mi.IntType):
        return kind != mi.IntType()  # all integers leave nothing to say
    values: Any = kind.values if isinstance(kind, mi.LiteralType) else ()
    if isinstance(kind, mi.EnumType):
        values = [member.value for member in kind.cls]
    return any(type(value) is int for value in values)
