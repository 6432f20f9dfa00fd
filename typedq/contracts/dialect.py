"""The dialect of JSON Schema that is understood: 2020-12 with a closed list of keywords.

A keyword is listed if its meaning does not depend on other keywords but those named here. A
document with any other keyword, or another `$schema`, is not normalized and not compared.
docs/compatibility.md has the same list for people; a test keeps both the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeAlias

from typedq.contracts.json_tree import Limits, NotJson, check_json, is_array, is_object, text_of

Schema: TypeAlias = Any  # a dict, True or False

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# A body has at most 64 levels, and each takes two in its schema.
LIMITS = Limits(values=6_000, depth=150, characters=400_000)
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
DEFINITIONS = frozenset(("$defs", "definitions"))
_NOTES = "$comment default deprecated description example examples readOnly title writeOnly"
ANNOTATIONS = DEFINITIONS | {*_NOTES.split()}
ROOT_ANNOTATIONS = frozenset(("$id", "$schema", "x-typedq"))
HOLDS_SCHEMA = frozenset(
    ("items", "additionalProperties", "propertyNames", "not", "x-typedq-written")
)
HOLDS_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
HOLDS_NAMED = frozenset(("properties", "patternProperties"))
_PREFIX = "x-typedq-"


class Unsupported(ValueError):
    """A document that cannot be normalized. `malformed`: it is no JSON Schema of 2020-12 at all."""

    def __init__(self, reason: str, *, malformed: bool = False) -> None:
        self.malformed = malformed
        super().__init__(reason)


class TooComplex(Unsupported):
    """A document that would take more steps than the budget allows."""


class Budget:
    """Counts steps, so that work has a bound that does not depend on the machine."""

    def __init__(self, steps: int) -> None:
        self.steps = self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Count some steps. Raises `TooComplex`."""
        self.left -= steps
        if self.left < 0:
            raise TooComplex(f"it takes more than {self.steps:,} steps")


class Document:
    """A document of the dialect; the constructor raises `Unsupported` for any other.

    It must not change as long as this is used.
    """

    def __init__(self, root: Schema) -> None:
        try:
            check_json(root, LIMITS)
        except NotJson as error:
            raise Unsupported(str(error), malformed=True) from None
        if not (is_object(root) or isinstance(root, bool)):
            raise Unsupported("it is neither an object nor a boolean", malformed=True)
        self.root: Schema = root
        self._schemas: dict[str, Schema] = {}  # by JSON pointer
        self._pointers: dict[str, str] = {}  # of each `$ref`, as it is written
        _check_dialect(root)
        refs = dict[str, str]()
        waiting: list[tuple[str, Schema]] = [("", root)]
        while waiting:
            at, schema = waiting.pop()
            self._schemas[at] = schema
            if not is_object(schema):
                continue
            _check_keywords(schema, at)
            if "$ref" in schema:
                refs.setdefault(schema["$ref"], at)
            waiting += _subschemas(schema, at)
        for ref, at in refs.items():
            pointer = _pointer(ref)
            if pointer is None or pointer not in self._schemas:
                raise _outside(
                    at, f"$ref {text_of(ref)} does not lead to a schema in this document"
                )
            self._pointers[ref] = pointer

    def target(self, ref: str) -> Schema:
        """Return the schema that a `$ref` of this document points to."""
        return self._schemas[self._pointers[ref]]

    def pointer(self, ref: str) -> str:
        """Return the one JSON pointer for all spellings of a `$ref`."""
        return self._pointers[ref]

    @cached_property
    def definitions(self) -> dict[str, Schema]:
        """What references from the root lead to, and those in there, by JSON pointer."""
        found: dict[str, Schema] = {}
        waiting: list[Schema] = [self.root]
        while waiting:
            for pointer in self.references(waiting.pop()):
                if pointer not in found:
                    found[pointer] = self._schemas[pointer]
                    waiting.append(found[pointer])
        return found

    def references(self, schema: Schema) -> list[str]:
        """Return the JSON pointers of all references in a schema, in order, once each."""
        found = dict[str, None]()
        waiting = [schema]
        while waiting:
            part = waiting.pop()
            if is_object(part):
                if "$ref" in part:
                    found[self._pointers[part["$ref"]]] = None
                waiting += subschemas(part)
        return list(found)


def subschemas(schema: dict[str, Any]) -> list[Schema]:
    """Return the schemas right inside one, definitions aside."""
    found: list[Schema] = []
    for key, value in schema.items():
        if key in HOLDS_SCHEMA:
            found.append(value)
        elif key in HOLDS_LIST:
            found += value
        elif key in HOLDS_NAMED:
            found += value.values()
    return found


def _subschemas(schema: dict[str, Any], at: str) -> Iterator[tuple[str, Schema]]:
    for key, value in schema.items():
        if key in HOLDS_SCHEMA:
            yield f"{at}/{key}", value
        elif key in HOLDS_LIST:
            yield from ((f"{at}/{key}/{i}", part) for i, part in enumerate(value))
        elif key in HOLDS_NAMED or key in DEFINITIONS:
            yield from ((f"{at}/{key}/{_escape(name)}", part) for name, part in value.items())


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _pointer(ref: str) -> str | None:
    """Return the JSON pointer in a local reference; None if it is not one."""
    if ref != "#" and not ref.startswith("#/"):
        return None
    if re.search(r"%(?![0-9A-Fa-f]{2})", ref):
        return None
    raw = re.sub(rb"%(..)", lambda found: bytes.fromhex(found[1].decode()), ref[1:].encode())
    try:
        pointer = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if re.search(r"~(?![01])", pointer) else pointer


def _check_dialect(root: Schema) -> None:
    dialect = root.get("$schema", DIALECT) if is_object(root) else DIALECT
    if not isinstance(dialect, str):
        raise Unsupported("its $schema is not text", malformed=True)
    if dialect.removesuffix("#") != DIALECT:
        raise Unsupported(f"its $schema is {text_of(dialect)}; expected {DIALECT}")


def _check_keywords(schema: dict[str, Any], at: str) -> None:
    for key, value in schema.items():
        if key in VALUES:
            fits = VALUES[key](value)
        elif key in HOLDS_SCHEMA:
            fits = isinstance(value, dict | bool)
        elif key in HOLDS_LIST:
            fits = is_array(value) and all(isinstance(part, dict | bool) for part in value)
            fits = fits and (bool(value) or key in ("allOf", "prefixItems"))
        elif key in HOLDS_NAMED or key in DEFINITIONS:
            fits = is_object(value) and all(isinstance(p, dict | bool) for p in value.values())
        elif key in ANNOTATIONS or (key in ROOT_ANNOTATIONS and not at):
            continue
        elif not key.startswith(_PREFIX) or "$ref" in text_of(value):
            raise _outside(at, f"the keyword {text_of(key)} is not in the list of those compared")
        else:
            continue
        if not fits:
            raise Unsupported(f"at #{at}: {key} has a value that it cannot have", malformed=True)
    if "x-typedq-payload" in schema and at:
        raise _outside(at, "the keyword x-typedq-payload is only for the top of a document")


def _outside(at: str, reason: str) -> Unsupported:
    return Unsupported(f"at #{at}: {reason}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return is_array(value) and all(isinstance(item, str) for item in value)


def _are_types(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return is_array(names) and bool(names) and all(name in TYPES for name in names)


VALUES: dict[str, Callable[[Any], bool]] = {
    "$ref": _is_text,
    "type": _are_types,
    "enum": is_array,
    "const": lambda _: True,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_count),
    **dict.fromkeys(("minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("x-typedq-minBytes", "x-typedq-maxBytes", "x-typedq-mask"), _is_count),
    **dict.fromkeys(("pattern", "format", "contentEncoding", "x-typedq-type"), _is_text),
    **dict.fromkeys(("uniqueItems", "x-typedq-lone-tag", "x-typedq-nearly"), _is_flag),
    **dict.fromkeys(("required", "x-typedq-elements"), _are_texts),
    "x-typedq-payload": _is_text,
}  # fmt: skip
