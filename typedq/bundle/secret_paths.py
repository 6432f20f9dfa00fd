"""Where the secret parts of a payload are, and a schema that quotes none of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from typedq.contracts.dialect import (
    DEFINITIONS,
    HOLDS_LIST,
    HOLDS_NAMED,
    HOLDS_SCHEMA,
    Budget,
    Document,
    Schema,
    Unsupported,
)
from typedq.contracts.json_tree import is_object

_MARK = "writeOnly"
_QUOTES = ("default", "example", "examples")
_STEPS = 100_000


def secret_paths(schema: Schema) -> list[str]:
    """Return the JSON paths of secret parts, sorted; `[*]` is any element, `.*` any member.

    Of recursive types, the paths of the first round. `$`, which is all of it, if that cannot be
    told: the schema is outside of the dialect, or takes too many steps.
    """
    try:
        return sorted(set(_Marks(Document(schema)).below(schema, "$", ())))
    except Unsupported:
        return ["$"]


def without_secret_values(schema: Any) -> Any:
    """Return a schema without the defaults and examples of parts that are or hold a secret.

    The fingerprint stays the same. Raises `Unsupported`.
    """
    marks = _Marks(Document(schema))

    def cleaned(part: Schema) -> Schema:
        if not is_object(part):
            return part
        quotes = any(key in part for key in _QUOTES) and any(marks.below(part, "$", ()))
        return {
            key: _map(key, value) for key, value in part.items() if not (quotes and key in _QUOTES)
        }

    def _map(key: str, value: Any) -> Any:
        if key in HOLDS_SCHEMA:
            return cleaned(value)
        if key in HOLDS_LIST:
            return [cleaned(inner) for inner in value]
        if key in HOLDS_NAMED or key in DEFINITIONS:
            return {name: cleaned(inner) for name, inner in value.items()}
        return value

    return cleaned(schema)


class _Marks:
    def __init__(self, document: Document) -> None:
        self._document, self._budget = document, Budget(_STEPS)

    def below(self, schema: Schema, path: str, above: tuple[int, ...]) -> Iterator[str]:
        """Yield the paths of marked parts. Raises `TooComplex`."""
        self._budget.spend()
        if not is_object(schema) or id(schema) in above:
            return
        if schema.get(_MARK, False) is not False:
            yield path
            return
        above = (*above, id(schema))
        if "$ref" in schema:
            yield from self.below(self._document.target(schema["$ref"]), path, above)
        for inner, step in _parts(schema):
            yield from self.below(inner, path + step, above)


def _parts(schema: dict[str, Any]) -> Iterator[tuple[Schema, str]]:
    """Yield the schemas inside one that describe values, with the step to each."""
    for key in ("anyOf", "oneOf", "allOf"):
        yield from ((branch, "") for branch in schema.get(key, ()))
    yield from ((part, _step(name)) for name, part in schema.get("properties", {}).items())
    yield from ((part, ".*") for part in schema.get("patternProperties", {}).values())
    yield from ((part, f"[{i}]") for i, part in enumerate(schema.get("prefixItems", ())))
    steps = {"additionalProperties": ".*", "propertyNames": ".*", "items": "[*]"}
    others = {**steps, "x-typedq-written": ""}
    yield from ((schema[key], step) for key, step in others.items() if key in schema)


def _step(name: str) -> str:
    return f".{name}" if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f"[{json.dumps(name)}]"
