"""One text for all schemas that mean the same on the wire, and the hashes taken of it.

What a message looks like does not depend on titles, defaults, the order of keys, or what a
definition is called; so neither does the fingerprint that travels in the message.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from typedq.contracts.json_tree import is_array, is_object

Schema = dict[str, Any]

_REF = "#/$defs/"
_ANNOTATIONS = frozenset(
    (
        "$comment", "$id", "$schema", "default", "deprecated", "description", "discriminator",
        "examples", "readOnly", "title", "writeOnly", "x-typedq",
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


def fingerprint(schema: Schema) -> str:
    """16 hex digits of the wire form: equal for equal contracts."""
    return hashlib.sha256(canonical(schema)).hexdigest()[:16]


def document_hash(schema: Schema) -> str:
    """64 hex digits of the whole document, without its `x-typedq` block: proves it unedited."""
    whole = {key: value for key, value in schema.items() if key != "x-typedq"}
    return hashlib.sha256(_text(whole).encode()).hexdigest()


def canonical(schema: Schema) -> bytes:
    """The wire form: canonical JSON without annotations, sorted, `$defs` named by first visit.

    Definitions that say the same become one, whatever they were called.
    """
    definitions = {_address(name): body for name, body in schema.get("$defs", {}).items()}
    root = {key: value for key, value in schema.items() if key != "$defs"}
    colours = _colours(_reachable(root, definitions))
    bodies = {colour: definitions[ref] for ref, colour in colours.items()}
    names: dict[str, str] = {}
    wire = _wire(root, colours)
    waiting = _name_refs(wire, bodies, names)
    named: Schema = {}
    for colour in waiting:  # grows while it is walked
        body = _wire(bodies[colour], colours)
        waiting += _name_refs(body, bodies, names)
        named[names[colour]] = body
    return _text({**_object(wire), **({"$defs": named} if named else {})}).encode()


def _address(name: str) -> str:
    return _REF + name.replace("~", "~0").replace("/", "~1")


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _object(wire: Any) -> Schema:
    return {"not": {}} if wire is False else wire


def _reachable(root: Schema, definitions: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting: list[Any] = [root]
    while waiting:
        part = waiting.pop()
        if is_object(part):
            ref: Any = part.get("$ref")
            if isinstance(ref, str) and ref in definitions and ref not in found:
                found[ref] = definitions[ref]
                waiting.append(found[ref])
            waiting.extend(part.values())
        elif is_array(part):
            waiting.extend(part)
    return found


def _colours(definitions: Mapping[str, Any]) -> dict[str, str]:
    """A colour per definition: the same for two exactly if they say the same.

    Refined round by round, because definitions may refer to each other in circles and their names
    must not count; it ends when a round tells no more of them apart.
    """
    colours, kinds = dict.fromkeys(definitions, ""), 0
    while len(set(colours.values())) > kinds:
        kinds = len(set(colours.values()))
        colours = {
            ref: hashlib.sha256(_text(_wire(body, colours)).encode()).hexdigest()
            for ref, body in definitions.items()
        }
    return colours


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


def _wire(schema: Any, colours: Mapping[str, str]) -> Any:
    """One schema without annotations, its refs exchanged for colours, its sets sorted."""
    if not is_object(schema):
        return {} if schema is True else schema
    wire: Schema = {}
    for key, value in schema.items():
        if key not in _ANNOTATIONS:
            name, form = _FORMS.get(key, (key, _as_it_is))
            wire[name] = form(value, colours)
    wire = {key: value for key, value in wire.items() if value not in _NOTHING.get(key, [])}
    if len(wire) == 1 and len(wire.get("anyOf", [])) == 1:
        return wire["anyOf"][0]
    return wire


def _as_it_is(value: Any, _colours: Mapping[str, str]) -> Any:
    return value


def _ref(value: Any, colours: Mapping[str, str]) -> Any:
    return colours.get(value, value) if isinstance(value, str) else value


def _named_schemas(value: Any, colours: Mapping[str, str]) -> Any:
    return {name: _wire(body, colours) for name, body in value.items()}


def _row(value: Any, colours: Mapping[str, str]) -> Any:
    return [_wire(body, colours) for body in value]


def _values(value: Any, _colours: Mapping[str, str]) -> Any:
    """Sorted without duplicates by their JSON text, which tells 1, "1", 1.0 and true apart."""
    return [text[1] for text in sorted({_text(v): v for v in value}.items())]


def _set(value: Any, colours: Mapping[str, str]) -> Any:
    return _values(_row(value, colours), colours)


def _union(value: Any, colours: Mapping[str, str]) -> Any:
    members: list[Any] = []
    for body in _row(value, colours):
        inner = body["anyOf"] if is_object(body) and set(body) == {"anyOf"} else [body]
        members += inner
    return _values(members, colours)


def _type(value: Any, colours: Mapping[str, str]) -> Any:
    kinds = _values([value] if isinstance(value, str) else value, colours)
    return kinds[0] if len(kinds) == 1 else kinds


# keyword -> its name and form on the wire; other keywords stay as they are
_Form = Callable[[Any, Mapping[str, str]], Any]
_FORMS: dict[str, tuple[str, _Form]] = {
    "$ref": ("$ref", _ref),
    "allOf": ("allOf", _set),
    "anyOf": ("anyOf", _union),
    "const": ("enum", lambda value, _: [value]),
    "enum": ("enum", _values),
    "oneOf": ("oneOf", _set),
    "prefixItems": ("prefixItems", _row),
    "required": ("required", _values),
    "type": ("type", _type),
    **{key: (key, _wire) for key in _NESTED},
    **{key: (key, _named_schemas) for key in _MAPS},
}
