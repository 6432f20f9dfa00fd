"""Walk a core schema of pydantic by a closed list: refuse nodes and keys that are not in it.

What is in it is carried into the JSON Schema, or docs/types.md names it as code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, cast

from typedq.contracts.fragments import Definitions, Schema, only_annotations
from typedq.contracts.json_tree import is_object, text_of
from typedq.contracts.secrets import KEYWORD
from typedq.contracts.type_tree import NoSchema

Core = dict[str, Any]
_EVERYWHERE = frozenset(("type", "ref", "metadata", "strict", "serialization"))
_SCALARS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
_KINDS = _SCALARS | {type(None): "null", list: "array", dict: "object"}
# What a type reads beside what it writes.
_ALSO_READ = {
    "decimal": {"string", "integer", "number"},
    "byte-size": {"integer", "string", "boolean"},
}


class Node(NamedTuple):
    """What is known of a type of node: the keys it may have, and what writes its schema."""

    write: Callable[[Walk, Core, str], Schema]
    keys: frozenset[str] = frozenset()


class Walk:
    """One walk. `ambiguous`: a union in it has members that can look the same in JSON.

    `classes`: those of the records in it. `times`: it has a time of day; `moments`: a datetime.
    """

    def __init__(
        self, definitions: Definitions, nodes: Mapping[str, Node], *, by_alias: bool
    ) -> None:
        self.definitions, self.by_alias = definitions, by_alias
        self.ambiguous = self.times = self.moments = False
        self.classes: list[Any] = []
        self.config: Core = {}
        self.owner: Any = None  # the class whose fields are walked
        self.targets: dict[str, Core] = {}
        self._nodes = nodes

    def schema(self, node: Core, path: str) -> Schema:
        """Return the schema of a node. Raises `NoSchema`."""
        kind = node["type"]
        if is_json_value(node):
            return {}
        if (known := self._nodes.get(kind)) is None:
            refuse(path, f"pydantic's {kind!r} is not understood; write its parts as a model")
        for key in node.keys() - known.keys - _EVERYWHERE:
            refuse(path, f"{key}={node[key]!r} of pydantic's {kind!r} is not understood")
        written = known.write(self, node, path)
        if "serialization" in node:
            written = self._nodes["serialization"].write(self, {**node, "": written}, path)
        return {**written, **notes_of(node)}

    def named(self, node: Core, name: str, write: Callable[[], Schema]) -> Schema:
        """Return a reference to a definition, which is written at its first use."""
        key = ("pydantic", node.get("ref", id(node)), self.by_alias)
        return self.definitions.named(key, name, write)

    @contextmanager
    def within(self, config: Core, owner: Any) -> Generator[None]:
        """Walk the inside of a class: its config alone holds there."""
        outer, self.config, self.owner = (self.config, self.owner), config, owner
        try:
            yield
        finally:
            self.config, self.owner = outer

    def target(self, node: Core) -> Core:
        """Return what a reference refers to; any other node itself."""
        for _ in range(99):
            if node["type"] == "definition-ref":
                node = self.targets[node["schema_ref"]]
            elif node["type"] == "definitions":
                self.targets |= {one["ref"]: one for one in node["definitions"]}
                node = node["schema"]
        return node

    def option(self, node: Core, key: str, config_key: str) -> Any:
        """Return what a node says, or else the config around it."""
        return node[key] if key in node else self.config.get(config_key)

    def union(self, members: list[Schema]) -> Schema:
        """Return the schema of a union, in which pydantic takes the member that fits best.

        Members that can look the same in JSON get their rank, on which the choice depends.
        """
        members = list({text_of(member): member for member in members}.values())
        mixed = [
            any(look_alike(one, other, self.definitions) for other in members if other is not one)
            for one in members
        ]
        self.ambiguous = self.ambiguous or any(mixed)
        ranked = self.definitions.ranked(members, mixed) if len(members) > 1 else members
        return {"anyOf": ranked} if len(ranked) > 1 else ranked[0]


def is_json_value(node: Core) -> bool:
    """Return True for the node of pydantic's JsonValue."""
    return str(node.get("ref", "")).startswith("pydantic.types.JsonValue:")


def look_alike(one: Schema, other: Schema, definitions: Definitions) -> bool:
    """Return True if a JSON value may fit both schemas."""
    kinds = json_kinds(one, definitions), json_kinds(other, definitions)
    if not kinds[0] & kinds[1]:
        return False
    left, right = definitions.resolved(one), definitions.resolved(other)
    if _apart(left, right):
        return False
    members = left.get("properties", {}), right.get("properties", {})
    needed = {*left.get("required", ())} & {*right.get("required", ())}
    return not any(
        _apart(definitions.resolved(members[0][name]), definitions.resolved(members[1][name]))
        for name in needed
        if name in members[0] and name in members[1]
    )


def _apart(one: Schema, other: Schema) -> bool:
    """Whether both list their values, and share none."""
    if "enum" not in one or "enum" not in other:
        return False
    return {*map(text_of, one["enum"])}.isdisjoint(map(text_of, other["enum"]))


def json_kinds(schema: Schema, definitions: Definitions) -> set[str]:
    """Return the kinds of JSON values a schema may take; of one still in the making, any."""
    schema = definitions.resolved(schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return set[str]().union(*(json_kinds(one, definitions) for one in schema[key]))
    if "enum" in schema:
        kinds = {_KINDS[type(value)] for value in schema["enum"]}
        # To pydantic, true is a 1 of a Literal.
        return kinds | ({"boolean", "integer"} if {0, 1} & {*schema["enum"]} else set())
    if schema.get("x-typedq-type") in _ALSO_READ:
        return _ALSO_READ[schema["x-typedq-type"]]
    kind = schema.get("type", [*_KINDS.values()])
    return {kind} if isinstance(kind, str) else {*kind}


def parts_in(node: Any, leave_out: frozenset[str]) -> Iterator[Core]:
    """Yield every node inside a node, and itself, but nothing under the keys of `leave_out`."""
    if is_object(node):
        yield node
        for key in node.keys() - leave_out:
            yield from parts_in(node[key], leave_out)
    elif isinstance(node, (list, tuple)):
        for one in cast("list[Any]", node):
            yield from parts_in(one, leave_out)


def notes_of(node: Core) -> Schema:
    """Return the title, description and the like that a node or field has been given."""
    metadata: dict[str, Any] = node.get("metadata") or {}
    extra = metadata.get("pydantic_js_extra")
    marked = {KEYWORD: extra[KEYWORD]} if is_object(extra) and KEYWORD in extra else {}
    return marked | only_annotations(metadata.get("pydantic_js_updates", {}))


def refuse(path: str, reason: str) -> NoReturn:
    """Raise `NoSchema`."""
    raise NoSchema(path, reason)
