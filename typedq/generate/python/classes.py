"""The classes of a generated module: enums and Structs, as source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, final

from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import is_array, is_object, text_of
from typedq.generate.python.names import BUILTINS, Names, docstring, is_name, literal, name_of

INDENT = "    "
UNSET, UNSET_TYPE = "_msgspec.UNSET", "_msgspec.UnsetType"


class Field(NamedTuple):
    """A field of a record or a parameter. `default`: source, or None if it is required."""

    wire_name: str
    kind: str
    default: str | None
    description: str = ""


@final
class Classes:
    """The classes of one module, by name, in the order of their definition."""

    def __init__(self, names: Names, *, ordered: bool) -> None:
        self.names, self.ordered = names, ordered
        self.sources: dict[str, str] = {}
        self._by_key: dict[str, str] = {}
        self._by_source: dict[tuple[str, str], str] = {}

    @property
    def known(self) -> frozenset[str]:
        """The names of all classes, also of those that are not written yet."""
        return frozenset(self._by_key.values())

    def define(self, key: str, wanted: Sequence[str], render: Callable[[], tuple[str, str]]) -> str:
        """Return the name of a class, which is rendered once for each key.

        render: returns what stands after `class Name` and before it, such as a decorator
        """
        if key in self._by_key:
            return self._by_key[key]
        name = self._by_key[key] = self.names.take(*(name_of(each, "Record") for each in wanted))
        head, body = render()
        same = self._by_source.get((wanted[0], head + body))
        if same is not None and same != name:
            self.names.give_back(name)
            self._by_key[key] = same
            return same
        self._by_source[wanted[0], head + body] = name
        self.sources[name] = f"class {name}({head}):\n{body}"
        return name


def enum_source(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Return the bases and the body of an enum."""
    values = {f"{value}": value for value in schema["enum"]}
    names = Names().take_each({text: _member_name(value) for text, value in values.items()})
    lines = (f"{INDENT}{names[text]} = {literal(value)}\n" for text, value in values.items())
    return "_enum.Enum", doc(schema) + "".join(lines)


def _member_name(value: str | int) -> str:
    text = value.upper() if isinstance(value, str) else f"{value}".replace("-", "MINUS_")
    wanted = name_of(text, "EMPTY").strip("_")
    return wanted if is_name(wanted) else f"VALUE_{wanted}"


def default_source(kind: str, part: Schema, sources: Mapping[str, str]) -> str:
    """Return the source of a default that is plain. The worker fills in any other.

    sources: those of the classes
    """
    if not is_object(part) or "default" not in part:
        return UNSET
    values, value = listed(part), part["default"]
    plain = kind.removeprefix("Annotated[").split(",")[0].split(" | ") + kind.split(" | ")
    name = "None" if value is None else type(value).__name__
    if name == "int" and "float" in plain and "int" not in plain:
        return f"{value}.0"
    if (name in plain and name != "dict") or (kind.startswith("Literal[") and value in values):
        return literal(value)
    if value in ([], {}) and kind.startswith(f"{name}["):
        return literal(value)
    source = sources.get(kind, "")
    member = _enum_member(source, value) if "(_enum.Enum)" in source else None
    return f"{kind}.{member}" if member else UNSET


def _enum_member(source: str, value: object) -> str | None:
    """Return the name of the member with a value in the source of an enum."""
    lines = (line.strip().split(" = ", 1) for line in source.splitlines())
    return next((line[0] for line in lines if line[1:] == [literal(value)]), None)


def struct_source(
    schema: Mapping[str, Any],
    fields: Sequence[Field],
    options: Mapping[str, str],
    known: frozenset[str],
    *,
    by_place: bool,
) -> tuple[str, str]:
    """Return the bases and the body of a Struct; `known`: names of classes."""
    taken = known.intersection(re.findall(r"\w+", " ".join(field.kind for field in fields)))
    wanted = {field.wire_name: _field_name(field.wire_name, taken) for field in fields}
    if _is_named_tuple(fields, options, wanted):
        rows = (f"{field_source(field, field.wire_name)}\n" for field in fields)
        body = doc(schema) + "".join(INDENT + row for row in rows)
        return "_typing.NamedTuple", body or f"{INDENT}pass\n"
    required = [field.default is None for field in fields]
    in_order = by_place and required == sorted(required, reverse=True)
    keywords = {**({} if in_order else {"kw_only": "True"}), **options}
    head = "".join(f", {name}={value}" for name, value in keywords.items())
    names, lines = Names().take_each(wanted), list[str]()
    for field in fields:
        name = names[field.wire_name]
        lines.append(f"{INDENT}{field_source(field, name)}\n")
        if field.description:
            lines.append(docstring(field.description, INDENT))
    body = doc(schema) + "".join(lines)
    return f"_msgspec.Struct, frozen=True{head}", body or f"{INDENT}pass\n"


def _is_named_tuple(
    fields: Sequence[Field], options: Mapping[str, str], names: Mapping[str, str]
) -> bool:
    """Return True for a closed array without a tag. A Struct in its place could be a payload."""
    if set(options) != {"array_like", "forbid_unknown_fields"}:
        return False
    plain = all(name == wire_name for wire_name, name in names.items())
    odd = any(name[0] == "_" or name in ("count", "index") for name in names)
    return plain and not odd and all(field.default != UNSET for field in fields)


def _field_name(wire_name: str, taken: frozenset[str]) -> str:
    """Return the name of a field: that of its member, unless Python would misread it."""
    wanted = name_of(wire_name, "field")
    return f"{wanted}_" if wanted in taken | BUILTINS else wanted


def field_source(field: Field, name: str) -> str:
    """Return a field or parameter of a name, with its default."""
    if name == field.wire_name:
        return f"{name}: {field.kind}" + (f" = {field.default}" if field.default else "")
    default = "" if field.default is None else f"default={field.default}, "
    if field.default in ("[]", "{}"):
        default = f"default_factory={'list' if field.default == '[]' else 'dict'}, "
    return f"{name}: {field.kind} = _msgspec.field({default}name={literal(field.wire_name)})"


def doc(schema: Mapping[str, Any]) -> str:
    """Return the docstring of a class, or nothing."""
    text = schema.get("description")
    return docstring(text, INDENT) + "\n" if isinstance(text, str) and text.strip() else ""


def tag_of(schemas: Sequence[Mapping[str, Any]], *, lone: bool) -> str | None:
    """Return the member that holds the tag of records, or None.

    lone: one record outside of a union, whose tag need not be there
    """
    candidates = [
        name
        for name in schemas[0].get("properties", {})
        if all(_is_tag(schema, name, lone=lone) for schema in schemas)
    ]
    values = {name: [tag_value(schema, name) for schema in schemas] for name in candidates}
    distinct = [n for n in candidates if len({*map(text_of, values[n])}) == len(schemas)]
    return "type" if "type" in distinct else next(iter(distinct), None)


def _is_tag(schema: Mapping[str, Any], name: str, *, lone: bool) -> bool:
    part = schema.get("properties", {}).get(name)
    listed = part.get("enum") if is_object(part) and part.keys() == {"enum"} else None
    one = is_array(listed) and len(listed) == 1 and type(listed[0]) in (str, int)
    return one and (name in schema.get("required", ())) is not lone


def tag_value(schema: Mapping[str, Any], name: str) -> Any:
    """Return the tag of a record."""
    return schema["properties"][name]["enum"][0]


def is_record(schema: Mapping[str, Any]) -> bool:
    """Return True for the schema of an object or array whose members have names."""
    return "properties" in schema or "x-typedq-elements" in schema


def is_enum(schema: Schema) -> bool:
    """Return True if a class has the listed values, which are all text or all whole numbers."""
    values = listed(schema) if is_object(schema) else []
    return "title" in schema and {*map(type, values)} in ({str}, {int})


def listed(part: Mapping[str, Any]) -> list[Any]:
    """Return the values that an enum lists."""
    found: list[Any] = part.get("enum", [])
    return found
