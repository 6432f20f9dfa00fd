"""One schema document: its references, and whether two parts of documents say the same."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias, TypeGuard

Schema: TypeAlias = Any  # a dict, True or False; whatever else is found where a schema should be
Json: TypeAlias = dict[str, Any]

NOTHING: Any = object()
ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
) | {"$comment", "$schema", "$defs", "definitions", "x-typedq", "x-typedq-payload"}
_NAMED_SCHEMAS = frozenset(("properties", "patternProperties", "dependentSchemas"))
_SCHEMAS = frozenset(("items", "additionalProperties", "propertyNames", "contains", "not")) | {
    *("if", "then", "else", "anyOf", "oneOf", "allOf", "prefixItems"),
    *("unevaluatedItems", "unevaluatedProperties"),
}
_UNORDERED = frozenset(("enum", "required", "type"))


def is_object(value: object) -> TypeGuard[Json]:
    """Whether it is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a JSON array."""
    return isinstance(value, list)


def text_of(value: Any) -> str:
    """Canonical JSON, in which 1, 1.0, true and "1" all differ."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Document:
    """Reads one document, which must not change meanwhile."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self._targets: dict[str, Schema] = {}
        # By identity; the schema is kept, so that no other can take its place in memory.
        self._skeletons: dict[int, tuple[Schema, str, tuple[str, ...]]] = {}

    def target(self, ref: object) -> Schema:
        """What a `$ref` points to; NOTHING if it is not in this document."""
        if not isinstance(ref, str):
            return NOTHING
        if ref not in self._targets:
            self._targets[ref] = self._walk(ref)
        return self._targets[ref]

    def _walk(self, ref: str) -> Schema:
        if not (ref == "#" or ref.startswith("#/")):
            return NOTHING
        here = self.root
        for part in _unquote(ref).split("/")[1:]:
            step = part.replace("~1", "/").replace("~0", "~")
            if is_object(here) and step in here:
                here = here[step]
            elif is_list(here) and step.isdecimal() and int(step) < len(here):
                here = here[int(step)]
            else:
                return NOTHING
        return here

    def skeleton(self, schema: Schema) -> tuple[str, tuple[str, ...]]:
        """Its text without annotations and with a hole for each reference; the references."""
        if id(schema) not in self._skeletons:
            refs: list[str] = []
            text = text_of(_plain(schema, refs))
            self._skeletons[id(schema)] = schema, text, tuple(refs)
        return self._skeletons[id(schema)][1:]


def same(left: Document, a: Schema, right: Document, b: Schema) -> bool:
    """Whether both say the same, annotations and names of `$defs` aside. False if in doubt."""
    todo, seen = [(a, b)], set[tuple[str, str]]()
    while todo:
        a, b = todo.pop()
        text, refs = left.skeleton(a)
        other_text, other_refs = right.skeleton(b)
        if text != other_text:
            return False
        for pair in zip(refs, other_refs, strict=True):
            if pair in seen:
                continue
            seen.add(pair)
            a, b = left.target(pair[0]), right.target(pair[1])
            if a is not NOTHING and b is not NOTHING:
                todo.append((a, b))
            elif a is not b or pair[0] != pair[1]:
                return False
    return True


def _plain(value: Any, refs: list[str]) -> Any:
    """A schema, or a list of them, without annotations."""
    if is_list(value):
        return [_plain(item, refs) for item in value]
    if not is_object(value):
        return value
    plain: Json = {}
    for key in sorted(value.keys() - ANNOTATIONS):
        inner = value[key]
        if key in _NAMED_SCHEMAS and is_object(inner):
            plain[key] = {name: _plain(inner[name], refs) for name in sorted(inner)}
        elif key in _UNORDERED and is_list(inner):
            plain[key] = sorted(map(text_of, inner))
        else:
            plain[key] = _plain(inner, refs) if key in _SCHEMAS else _verbatim(key, inner, refs)
    return plain


def _verbatim(key: str, value: Any, refs: list[str]) -> Any:
    """What nobody here understands, but for references in it. Constants are left as they are."""
    if key == "$ref" and isinstance(value, str):
        refs.append(value)
        return ""
    if key != "const" and is_list(value):
        return [_verbatim("", item, refs) for item in value]
    if key != "const" and is_object(value):
        return {name: _verbatim(name, value[name], refs) for name in sorted(value)}
    return value


def _unquote(ref: str) -> str:
    def byte(found: re.Match[bytes]) -> bytes:
        return bytes.fromhex(found[1].decode())

    raw = re.sub(rb"%([0-9A-Fa-f]{2})", byte, ref.encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "replace")
