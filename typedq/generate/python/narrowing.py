"""A schema that no Python types have, without what a producer need not write.

Its types write less than the contract allows; `compat` proves that the workers read all of it.
"""

from __future__ import annotations

from typing import Any

from typedq.contracts.dialect import DEFINITIONS, HOLDS_LIST, HOLDS_NAMED, HOLDS_SCHEMA, Schema
from typedq.contracts.json_tree import is_array, is_object

_NOT_WRITTEN = frozenset(("x-typedq-alias", "x-typedq-computed", "x-typedq-excluded"))  # members
_NAMED = HOLDS_NAMED | DEFINITIONS
_REF = "#/$defs/"


def narrowed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without other names of members, other members, and what is only computed.

    A union whose records are told apart by a member becomes one of records with a tag.
    """
    tags = dict[str, str]()
    made: dict[str, Any] = _narrowed(schema, tags)
    definitions: dict[str, Schema] = made.get("$defs", {})
    for ref, tag in tags.items():
        record = definitions.get(ref.removeprefix(_REF))
        if is_object(record) and is_object(part := record.get("properties", {}).get(tag)):
            if "enum" in part:
                record["properties"][tag] = {"enum": part["enum"]}
            record["required"] = sorted({*record.get("required", ()), tag})
    return made


def _narrowed(schema: Schema, tags: dict[str, str]) -> Schema:
    if not is_object(schema):
        return schema
    made = {key: _inside(key, value, tags) for key, value in schema.items()}
    made.pop("x-typedq-written", None)
    if "properties" in made:
        parts: dict[str, Schema] = made["properties"]
        made["properties"] = {name: part for name, part in parts.items() if _is_written(part)}
        if made.get("additionalProperties", False) is not False:
            del made["additionalProperties"]
    if "oneOf" in made and len(made.get("required", ())) == 1:
        made["anyOf"], (tag,) = made.pop("oneOf"), made.pop("required")
        tags |= {one["$ref"]: tag for one in made["anyOf"] if is_object(one) and "$ref" in one}
    return made


def _inside(key: str, value: Any, tags: dict[str, str]) -> Any:
    if key in HOLDS_SCHEMA:
        return _narrowed(value, tags)
    if key in HOLDS_LIST and is_array(value):
        return [_narrowed(part, tags) for part in value]
    if key in _NAMED and is_object(value):
        return {name: _narrowed(part, tags) for name, part in value.items()}
    return value


def _is_written(part: Schema) -> bool:
    return not is_object(part) or _NOT_WRITTEN.isdisjoint(part)
