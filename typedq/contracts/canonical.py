"""One text for all schemas that mean the same on the wire, and the hashes taken of it.

What a message looks like does not depend on titles, defaults, the order of keys, or what a
definition is called; so neither does the fingerprint that travels in the message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from typedq.contracts.json_tree import is_array, is_object, reachable, redirect, target, text_of

Schema = dict[str, Any]

_REF = "#/$defs/"
ANNOTATIONS = frozenset(
    (
        "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated",
        "description", "examples", "readOnly", "title", "writeOnly", "x-typedq",
    )
)  # fmt: skip
_MAPS = frozenset(("properties", "patternProperties", "dependentSchemas"))  # of names to schemas
_NESTED = frozenset(
    (
        "items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else",
        "unevaluatedProperties", "unevaluatedItems", "contentSchema",
    )
)  # fmt: skip
# keyword -> values that allow everything; not `properties`, even when empty: a Struct is no dict
_NOTHING: dict[str, list[Any]] = {
    **{key: [[]] for key in ("required", "prefixItems", "allOf")},
    **{key: [{}] for key in ("patternProperties", "dependentSchemas", "items")},
    "propertyNames": [{}, {"type": "string"}],
    **{key: [0] for key in ("minItems", "minLength", "minProperties")},
    "uniqueItems": [False],
}


class Palette(dict[str, str]):
    """Colours that keep the wire forms made with them, which must not be changed then.

    `wires`: a schema, held so that no other gets its id, and its form; by that id.
    """

    def __init__(self, painted: Mapping[str, str]) -> None:
        super().__init__(painted)
        self.wires: dict[int, tuple[Schema, Any]] = {}


def fingerprint(schema: Schema) -> str:
    """16 hex digits of the wire form: equal for equal contracts."""
    return hashlib.sha256(canonical(schema)).hexdigest()[:16]


def document_hash(schema: Schema) -> str:
    """64 hex digits of the whole document, without its `x-typedq` block: proves it unedited."""
    whole = {key: value for key, value in schema.items() if key != "x-typedq"}
    return _hash(text_of(whole))


def canonical(schema: Schema) -> bytes:
    """The wire form: canonical JSON without annotations, sorted, `$defs` named by first visit.

    Definitions that say the same become one, whatever they were called.
    """
    definitions = reachable(schema, partial(target, schema))
    (painted,) = colours(definitions)
    bodies = {colour: definitions[ref] for ref, colour in painted.items()}
    names: dict[str, str] = {}
    root = wire(schema, painted)
    waiting = _name_refs(root, bodies, names)
    named: Schema = {}
    for colour in waiting:  # grows while it is walked
        body = wire(bodies[colour], painted)
        waiting += _name_refs(body, bodies, names)
        named[names[colour]] = body
    whole: Schema = {"not": {}} if root is False else root
    return text_of({**whole, **({"$defs": named} if named else {})}).encode()


def colours(*documents: Mapping[str, Any]) -> list[dict[str, str]]:
    """A colour per definition of each document: the same for two exactly if they say the same.

    Refined round by round, because definitions may refer to each other in circles and their names
    must not count; it ends when a round tells no more of them apart.
    """
    painted, kinds = [dict.fromkeys(document, "") for document in documents], 0
    while (found := len({colour for known in painted for colour in known.values()})) > kinds:
        kinds = found
        painted = [
            {ref: _hash(text_of(wire(body, known))) for ref, body in document.items()}
            for document, known in zip(documents, painted, strict=True)
        ]
    return painted


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _name_refs(wire: Any, bodies: Mapping[str, Any], names: dict[str, str]) -> list[str]:
    """Exchanges colours for names in the order of keys; returns colours seen for the first time."""
    new: list[str] = []
    if is_array(wire):
        for item in wire:
            new += _name_refs(item, bodies, names)
    elif is_object(wire):
        for key in sorted(wire.keys() - {"enum"}):
            colour = wire[key]
            if key != "$ref" or not isinstance(colour, str):
                new += _name_refs(colour, bodies, names)
            elif colour in bodies:
                if colour not in names:
                    names[colour] = f"d{len(names)}"
                    new.append(colour)
                wire[key] = _REF + names[colour]
    return new


def wire(schema: Any, painted: Mapping[str, str]) -> Any:
    """One schema without annotations, its refs exchanged for colours, its sets sorted."""
    if not is_object(schema):
        return {} if schema is True else schema
    if not isinstance(painted, Palette):
        return _wire(schema, painted)
    if id(schema) not in painted.wires:
        painted.wires[id(schema)] = schema, _wire(schema, painted)
    return painted.wires[id(schema)][1]


def _wire(schema: Schema, painted: Mapping[str, str]) -> Any:
    plain: Schema = {}
    for key in schema.keys() - ANNOTATIONS:
        name, kinds, form = _FORMS.get(key, (key, object, redirect))
        value = schema[key]
        plain[name] = form(value, painted) if isinstance(value, kinds) else value
    plain = {key: value for key, value in plain.items() if value not in _NOTHING.get(key, [])}
    if len(plain) == 1 and len(plain.get("anyOf", [])) == 1:
        return plain["anyOf"][0]
    return plain


def _named_schemas(value: Any, painted: Mapping[str, str]) -> Any:
    return {name: wire(body, painted) for name, body in value.items()}


def _row(value: Any, painted: Mapping[str, str]) -> Any:
    return [wire(body, painted) for body in value]


def _values(value: Any, _painted: Mapping[str, str]) -> Any:
    """Sorted without duplicates by their JSON text, which tells 1, "1", 1.0 and true apart."""
    return [text[1] for text in sorted({text_of(v): v for v in value}.items())]


def _set(value: Any, painted: Mapping[str, str]) -> Any:
    return _values(_row(value, painted), painted)


def _union(value: Any, painted: Mapping[str, str]) -> Any:
    members: list[Any] = []
    for body in _row(value, painted):
        members += body["anyOf"] if is_object(body) and set(body) == {"anyOf"} else [body]
    return _values(members, painted)


def _type(value: Any, painted: Mapping[str, str]) -> Any:
    kinds = _values([value] if isinstance(value, str) else value, painted)
    return kinds[0] if len(kinds) == 1 else kinds


# keyword -> its name on the wire, what it should hold, and its form; of others, references count
_Form = Callable[[Any, Mapping[str, str]], Any]
_FORMS: dict[str, tuple[str, Any, _Form]] = {
    "$ref": ("$ref", str, lambda ref, painted: painted.get(ref, ref)),
    "allOf": ("allOf", list, _set),
    "anyOf": ("anyOf", list, _union),
    "const": ("enum", object, lambda value, _: [value]),
    "enum": ("enum", list, _values),
    "oneOf": ("oneOf", list, _set),
    "prefixItems": ("prefixItems", list, _row),
    "required": ("required", list, _values),
    "type": ("type", (str, list), _type),
    **{key: (key, object, wire) for key in _NESTED},
    **{key: (key, dict, _named_schemas) for key in _MAPS},
}
