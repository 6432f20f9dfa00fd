"""Core schemas of types that hold others, and of references between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from typedq.contracts.fragments import Schema, as_text
from typedq.contracts.json_tree import is_object
from typedq.contracts.pydantic_types.walk import (
    Core,
    Node,
    Walk,
    is_json_value,
    json_kinds,
    notes_of,
    refuse,
)
from typedq.contracts.type_tree import NoSchema, hashes_parts, no_hash

_ITEMS = {"min_length": "minItems", "max_length": "maxItems"}
_ENTRIES = {"min_length": "minProperties", "max_length": "maxProperties"}
_ANYTHING: Core = {"type": "any"}
_READ_AS_ADDRESS = {"integer", "number", "boolean"}  # by the IPvAny types
_NO_HASH = {"list", "set", "deque", "dict", "ordered-dict", "counter", "typed-dict"}
_HASHED_BY = ("schema", "strict_schema", "json_schema", "items_schema", "choices", "fields")
# Core schemas of keys whose text pydantic reads back. Tuples, None and unions it writes, but does
# not tell apart when it reads.
_KEYS = frozenset(
    ("str", "int", "float", "bool", "literal", "enum", "uuid", "decimal", "date", "datetime")
) | {"time", "timedelta", "bytes", "url", "lax-or-strict", "function-after", "function-before"}


def without_hash(walk: Walk, node: Core, above: tuple[Core, ...] = ()) -> str | None:
    """Return the name of what surely keeps the values of a node out of a set; None if nothing."""
    node = walk.target(node)
    if is_json_value(node):
        return "JsonValue"
    kind, cls = node["type"], node.get("cls")
    if kind in _NO_HASH or (cls is not None and cls.__hash__ is None):
        return str(getattr(cls, "__name__", kind))
    function: Any = node.get("function", {}).get("function")
    module = str(getattr(getattr(function, "func", function), "__module__", ""))
    by_code = kind in ("function-after", "function-wrap") and not module.startswith("pydantic.")
    # A frozenset is one only if its own items have a hash, and that of a class may be its own.
    if by_code or kind == "frozenset" or node in above or not hashes_parts(cls or tuple):
        return None
    held = [node["steps"][-1]] if "steps" in node else [node[k] for k in _HASHED_BY if k in node]
    found = (without_hash(walk, part, (*above, node)) for part in _nodes_in(held))
    return next((name for name in found if name is not None), None)


def _nodes_in(held: Any) -> Iterator[Core]:
    """The nodes that a list, a dict or a union's choice with its label holds."""
    if is_object(held) and "type" in held:
        yield held
    elif is_object(held) or isinstance(held, list | tuple):
        for one in cast("list[Any]", held.values() if is_object(held) else held):
            yield from _nodes_in(one)


def _array(walk: Walk, node: Core, path: str) -> Schema:
    return {
        "type": "array",
        "items": walk.schema(node.get("items_schema", _ANYTHING), f"{path}[...]"),
        **{name: node[key] for key, name in _ITEMS.items() if key in node},
    }


def _set(walk: Walk, node: Core, path: str) -> Schema:
    if name := without_hash(walk, node.get("items_schema", _ANYTHING)):
        refuse(path, no_hash(name))
    return {**_array(walk, node, path), "uniqueItems": True, "x-typedq-type": "set"}


def _tuple(walk: Walk, node: Core, path: str) -> Schema:
    items, variadic = list(node["items_schema"]), node.get("variadic_item_index")
    if variadic is not None and variadic < len(items) - 1:
        refuse(path, "a tuple that goes on after `*tuple[...]` is not understood; take a list")
    written = [walk.schema(item, f"{path}[{i}]") for i, item in enumerate(items)]
    bounds: Schema = {name: node[key] for key, name in _ITEMS.items() if key in node}
    if variadic == 0:
        return {"type": "array", "items": written[0], **bounds}
    if variadic is not None:
        least = max(variadic, bounds.pop("minItems", 0))
        rest = {"items": written[-1], "minItems": least}
        return {"type": "array", "prefixItems": written[:-1], **rest, **bounds}
    prefix = {"prefixItems": written, "items": False} if written else {}
    return {"type": "array", **prefix, "minItems": len(written), "maxItems": len(written)}


def _mapping(walk: Walk, node: Core, path: str) -> Schema:
    names = _key(walk, node.get("keys_schema", _ANYTHING), f"{path}[key]")
    return {
        "type": "object",
        **({"propertyNames": names} if names != {"type": "string"} else {}),
        "additionalProperties": walk.schema(node.get("values_schema", _ANYTHING), f"{path}[...]"),
        **{name: node[key] for key, name in _ENTRIES.items() if key in node},
    }


def _counter(walk: Walk, node: Core, path: str) -> Schema:
    return _mapping(walk, {"values_schema": {"type": "int"}, **node}, path)


def _key(walk: Walk, node: Core, path: str) -> Schema:
    """The text of a key. Read back: str, and what has a text form of its own."""
    inner = walk.target(node)
    if inner["type"] == "any":
        refuse(path, "the keys of a JSON object are text; write dict[str, ...]")
    written = {**walk.definitions.resolved(walk.schema(inner, path)), **notes_of(node)}
    values: list[Any] = written.get("enum", [])
    odd = inner["type"] not in _KEYS or not all(isinstance(v, (str, bool)) for v in values)
    is_enum, flags = inner["type"] == "enum", "enum" not in written
    int_enum = is_enum and inner.get("sub_type") == "int"
    if (is_enum and flags) or (odd and not int_enum):
        refuse(path, "pydantic does not read such keys back; take str, int, UUID or date as keys")
    try:
        return as_text(written, path)
    except NoSchema:
        refuse(path, "pydantic does not read such keys back; take str, int, UUID or date as keys")


def _nullable(walk: Walk, node: Core, path: str) -> Schema:
    inner = walk.schema(node["schema"], path)
    return inner if _takes_null(walk, inner) else {"anyOf": [inner, {"type": "null"}]}


def _takes_null(walk: Walk, schema: Schema) -> bool:
    whole = walk.definitions.resolved(schema)
    for key in ("anyOf", "oneOf"):
        if key in whole:
            return any(_takes_null(walk, one) for one in whole[key])
    # A record that is still in the making, because it refers to itself, is empty here.
    unknown = "$ref" in schema and not whole.keys() - schema.keys()
    return not unknown and "null" in json_kinds(whole, walk.definitions)


def _union(walk: Walk, node: Core, path: str) -> Schema:
    nodes: list[Core] = [one[0] if type(one) is tuple else one for one in node["choices"]]
    ambiguous, walk.ambiguous = walk.ambiguous, False
    members = [walk.schema(one, path) for one in nodes]
    inner, walk.ambiguous = walk.ambiguous, False
    kinds = {kind for one in members for kind in json_kinds(one, walk.definitions)}
    if kinds & _READ_AS_ADDRESS and any("ipvany" in one.get("format", "") for one in members):
        reason = "pydantic reads numbers as IPvAny types; write IPv4Address | IPv6Address or alike"
        refuse(path, f"{reason} in a union with numbers")
    written = walk.union(members)
    if walk.ambiguous and node.get("mode") == "left_to_right":
        refuse(path, "union_mode='left_to_right' is not understood; leave it out, or add a tag")
    # A serializer of one member may take the value of another: `True` is an int to it.
    walk.ambiguous |= ambiguous or inner or any("x-typedq-written" in one for one in members)
    return written


def _tagged_union(walk: Walk, node: Core, path: str) -> Schema:
    tag: Any = node["discriminator"]
    if callable(tag):
        members = [walk.schema(one, path) for one in node["choices"].values()]
        written = walk.union(members)
        names = [str(key) for key in node["choices"]]
        walk.ambiguous = True
        return {**written, "x-typedq-tags": names}
    # pydantic looks for the field's own name first, and then for its alias.
    ways: list[Any] = [[tag]] if isinstance(tag, str) else tag
    if len(ways) > 2 or any(len(way) != 1 for way in ways):
        refuse(path, "a discriminator in a member of a member is not understood; take it out")
    *others, written_as = [str(way[0]) for way in (ways if walk.by_alias else reversed(ways))]
    # A tag must be there to decide, even where its variant has a default for it.
    variants = list({id(one): one for one in node["choices"].values()}.values())
    members = [walk.schema(one, path) for one in variants]
    if len(members) == 1:
        return members[0]
    declared = [walk.definitions.resolved(one).get("properties", {}) for one in members]
    unread = [name for name in others if not all(name in names for names in declared)]
    marked = {"properties": dict.fromkeys(unread, False)} if unread else {}
    return {"oneOf": members, "required": [written_as], **marked}


def _definitions(walk: Walk, node: Core, path: str) -> Schema:
    walk.targets |= {one["ref"]: one for one in node["definitions"]}
    return walk.schema(node["schema"], path)


def _reference(walk: Walk, node: Core, path: str) -> Schema:
    target = walk.target(node)
    if target["type"] in ("model", "dataclass", "typed-dict", "named-tuple", "enum"):
        return walk.schema(target, path)
    if is_json_value(target):
        return {}
    name = str(target["ref"]).partition(":")[0].rpartition(".")[2]
    return walk.named(target, name, lambda: walk.schema(target, path))


def _inner(key: str, *others: str) -> Node:
    """A node that travels as one inside it does."""

    def write(walk: Walk, node: Core, path: str) -> Schema:
        return walk.schema(node[key], path)

    return Node(write, frozenset((key, *others)))


_SIZES = frozenset(("min_length", "max_length", "fail_fast"))
_DICT = Node(_mapping, _SIZES | {"keys_schema", "values_schema"})
_ERRORS = ("custom_error_type", "custom_error_message", "custom_error_context")
CONTAINERS: dict[str, Node] = {
    "list": Node(_array, _SIZES | {"items_schema"}),
    "deque": Node(_array, _SIZES | {"items_schema"}),
    "set": Node(_set, _SIZES | {"items_schema"}),
    "frozenset": Node(_set, _SIZES | {"items_schema"}),
    "tuple": Node(_tuple, _SIZES | {"items_schema", "variadic_item_index"}),
    **dict.fromkeys(("dict", "frozendict", "ordered-dict"), _DICT),
    "counter": Node(_counter, _SIZES | {"keys_schema", "values_schema"}),
    "nullable": Node(_nullable, frozenset(("schema",))),
    "union": Node(_union, frozenset(("choices", "auto_collapse", "mode", *_ERRORS))),
    "tagged-union": Node(
        _tagged_union, frozenset(("choices", "discriminator", "from_attributes", *_ERRORS))
    ),
    "definitions": Node(_definitions, frozenset(("schema", "definitions"))),
    "definition-ref": Node(_reference, frozenset(("schema_ref",))),
    # Messages are JSON, and read strictly.
    "lax-or-strict": _inner("strict_schema", "lax_schema"),
    "json-or-python": _inner("json_schema", "python_schema"),
    "custom-error": _inner("schema", *_ERRORS),
}
