"""From the schemas of a bundle to Python types, as source.

What a keyword says and no type can say is refused here, with its path. That the types say it all
is proven afterwards, by their contracts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, final

from typedq.contracts.dialect import ANNOTATIONS, ROOT_ANNOTATIONS, Document, Schema
from typedq.contracts.json_tree import is_object, text_of
from typedq.generate.python import pydantics, scalars
from typedq.generate.python.classes import (
    UNSET,
    UNSET_TYPE,
    Classes,
    Field,
    default_source,
    enum_source,
    is_enum,
    is_record,
    listed,
    struct_source,
    tag_of,
    tag_value,
)
from typedq.generate.python.names import Inexpressible, literal
from typedq.generate.python.read_by_pydantic import record_source

_IGNORED = ANNOTATIONS | ROOT_ANNOTATIONS | {"x-typedq-payload"}
_ITEMS = {"minItems": "min_length", "maxItems": "max_length"}
_MEMBERS = {"minProperties": "min_length", "maxProperties": "max_length"}
_RANK = "x-typedq-rank"
_ROW = {"prefixItems", "minItems", "maxItems", "x-typedq-elements"}
_KEYS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: text == "true",
}


@final
class Types:
    """The types of one task. Raises Inexpressible. `classes`: those of the module."""

    def __init__(self, task: str, document: Document, classes: Classes) -> None:
        self._task, self._document, self._classes = task, document, classes
        self._inside: list[int] = []  # definitions that are no classes, being written
        self._by_pydantic = False  # inside of a union that only pydantic reads

    def fields(
        self, schema: Mapping[str, Any], path: str, *, tag: str | None = None
    ) -> list[Field]:
        """Return the members of an object, but its tag, as fields."""
        found: list[Field] = []
        for name, part in schema["properties"].items():
            if name != tag:
                kind = self.of(part, f"{path}.{name}")
                required = name in schema.get("required", ())
                found.append(self._field(name, kind, part, required=required))
        return found

    def _field(self, name: str, kind: str, part: Schema, *, required: bool) -> Field:
        about = part.get("description") if is_object(part) else None
        description = about if isinstance(about, str) else ""
        if required:
            return Field(name, kind, None, description)
        default = default_source(kind, part, self._classes.sources)
        kind = f"{kind} | {UNSET_TYPE}" if default == UNSET else kind
        return Field(name, kind, default, description)

    def of(self, schema: Schema, path: str, *, hashable: bool = False) -> str:
        """Return the type of a schema."""
        if schema is False:
            self._refuse(path, "no value fits it")
        plain = {} if schema is True else {k: v for k, v in schema.items() if k not in _IGNORED}
        kind, notes = self._plain(plain, schema, path, hashable=hashable)
        if is_object(schema) and schema.get("writeOnly", False) is not False:
            notes = [*notes, "_typedq.Secret"]
        if self._by_pydantic:
            kind, notes = pydantics.instead(kind, notes)
        return f"Annotated[{', '.join([kind, *notes])}]" if notes else kind

    def _plain(
        self, plain: Mapping[str, Any], schema: Schema, path: str, *, hashable: bool
    ) -> tuple[str, list[str]]:
        if not plain:
            return "_typedq.Json", []
        if [*plain] == ["$ref"]:
            return self._referred(plain["$ref"], path, hashable=hashable), []
        if [*plain] == ["anyOf"]:
            return self._union(plain["anyOf"], path, hashable=hashable), []
        if "enum" in plain:
            return self._listed(plain, schema, path), []
        kind = plain.get("type")
        write = _WRITERS.get(kind) if isinstance(kind, str) else None
        if write is None:
            self._refuse(path, f"no Python type is described by {', '.join(sorted(plain))}")
        return write(self, plain, schema, path, hashable)

    def _refuse(self, path: str, reason: str) -> NoReturn:
        raise Inexpressible(self._task, path, reason)

    def _only(self, plain: Mapping[str, Any], known: set[str], path: str) -> None:
        scalars.only(plain, known, lambda reason: self._refuse(path, reason))

    # --- references and unions ------------------------------------------------------------------

    def _referred(self, ref: str, path: str, *, hashable: bool) -> str:
        target = self._document.target(ref)
        if is_object(target) and (is_record(target) or "enum" in target):
            return self._class(target, path, None, ref.rpartition("/")[2], hashable=hashable)
        if id(target) in self._inside:
            self._refuse(path, "it refers to itself without a class")
        self._inside.append(id(target))
        try:
            return self.of(target, path, hashable=hashable)
        finally:
            self._inside.pop()

    def _class(
        self, schema: dict[str, Any], path: str, tag: str | None, name: str, *, hashable: bool
    ) -> str:
        if "enum" in schema and not is_enum(schema):
            return self.of(schema, path)
        reached = {p: self._document.definitions.get(p) for p in self._reached(schema)}
        key = text_of([schema, tag, hashable, reached, self._by_pydantic])
        title = schema.get("title")
        first = title if isinstance(title, str) else name
        camel = "".join(word.title() for word in re.split("[^a-z0-9]+", self._task))
        wanted = [first, f"{camel}{first}"]
        if "enum" in schema:
            return self._classes.define(key, wanted, lambda: enum_source(schema))
        return self._classes.define(
            key, wanted, lambda: self._record(schema, path, tag, hashable=hashable)
        )

    def _reached(self, schema: Schema) -> list[str]:
        found = list(self._document.references(schema))
        for pointer in found:  # the list grows while it is walked
            inner = self._document.references(self._document.definitions[pointer])
            found += [each for each in inner if each not in found]
        return found

    def _union(self, members: Sequence[Schema], path: str, *, hashable: bool) -> str:
        if any(is_object(member) and _RANK in member for member in members):
            return self._ranked(members, path, hashable=hashable)
        records = [found for member in members if (found := self._record_of(member)) is not None]
        tag = tag_of(records, lone=False) if len(records) > 1 else None
        if len(records) > 1 and tag is None and "prefixItems" not in records[0]:
            self._refuse(path, "the records of this union have no tag that tells them apart")
        kinds = dict.fromkeys(self._member(m, path, tag, hashable=hashable) for m in members)
        return " | ".join(sorted(kinds, key=lambda kind: kind == "None"))

    def _ranked(self, members: Sequence[Schema], path: str, *, hashable: bool) -> str:
        """Return a union whose members can look the same in JSON. Only pydantic chooses by rank."""
        outside, self._by_pydantic = self._by_pydantic, True
        try:
            kinds = [self.of({k: m[k] for k in m.keys() - {_RANK}}, path) for m in members]
        finally:
            self._by_pydantic = outside
        if hashable or any(kind.startswith("Annotated[") for kind in kinds):
            self._refuse(path, "a union whose members look the same has only plain types")
        return f"Annotated[{' | '.join(kinds)}, _typedq.ByPydantic]"

    def _member(self, member: Schema, path: str, tag: str | None, *, hashable: bool) -> str:
        record = self._record_of(member)
        if record is not None and tag is not None:
            name = member.get("$ref", "").rpartition("/")[2] or "Record"
            return self._class(record, path, tag, name, hashable=hashable)
        if is_object(member) and "not" in member:  # what another member of the union takes first
            member = {key: value for key, value in member.items() if key != "not"}
        return self.of(member, path, hashable=hashable)

    def _record_of(self, schema: Schema) -> dict[str, Any] | None:
        if is_object(schema) and "$ref" in schema and schema.keys() - _IGNORED == {"$ref"}:
            schema = self._document.target(schema["$ref"])
        return schema if is_object(schema) and is_record(schema) else None

    def _listed(self, plain: Mapping[str, Any], schema: Schema, path: str) -> str:
        self._only(plain, {"enum"}, path)
        if is_enum(schema):
            return self._class(schema, path, None, "Choice", hashable=True)
        if not plain["enum"]:
            self._refuse(path, "no value fits it")
        if not all(value is None or type(value) in (str, int, bool) for value in plain["enum"]):
            self._refuse(path, "a Literal holds text, whole numbers, booleans and None")
        return f"Literal[{', '.join(map(literal, plain['enum']))}]"

    def scalar(
        self, plain: Mapping[str, Any], _schema: Schema, path: str, _hashable: bool
    ) -> tuple[str, list[str]]:
        return scalars.of(plain, lambda reason: self._refuse(path, reason))

    # --- collections and records ----------------------------------------------------------------

    def array(
        self, plain: Mapping[str, Any], schema: Schema, path: str, hashable: bool
    ) -> tuple[str, list[str]]:
        if "x-typedq-elements" in plain:
            return self._class(schema, path, None, "Row", hashable=hashable), []
        if "items" not in plain or plain["items"] is False:
            parts = plain.get("prefixItems", [])
            sizes = {plain.get("minItems", 0), plain.get("maxItems", -1)}
            self._only(plain, {"items", "prefixItems", "minItems", "maxItems"}, path)
            if sizes != {len(parts)}:
                self._refuse(path, "a tuple has a fixed length")
            inner = ", ".join(
                self.of(part, f"{path}[{i}]", hashable=hashable) for i, part in enumerate(parts)
            )
            return f"tuple[{inner or '()'}]", []
        is_set = plain.get("x-typedq-type") == "set"
        finer = {"uniqueItems", "x-typedq-type"} if is_set else set[str]()
        self._only(plain, {"items", *_ITEMS, *finer}, path)
        inner = self.of(plain["items"], f"{path}[*]", hashable=hashable or is_set)
        kinds = ("frozenset", "set") if is_set else ("tuple", "list")
        rest = ", ..." if hashable and not is_set else ""
        return f"{kinds[not hashable]}[{inner}{rest}]", scalars.meta(plain, _ITEMS)

    def object(
        self, plain: Mapping[str, Any], schema: Schema, path: str, hashable: bool
    ) -> tuple[str, list[str]]:
        if "properties" in plain:
            return self._class(schema, path, None, "Record", hashable=hashable), []
        self._only(plain, {"propertyNames", "additionalProperties", *_MEMBERS}, path)
        names = self._key(plain["propertyNames"], path) if "propertyNames" in plain else "str"
        values = self.of(plain.get("additionalProperties", True), f"{path}.*")
        return f"dict[{names}, {values}]", scalars.meta(plain, _MEMBERS)

    def _key(self, schema: Schema, path: str) -> str:
        read = _KEYS.get(schema.get("x-typedq-type", "")) if is_object(schema) else None
        if read is None:
            return self.of(schema, f"{path}[key]", hashable=True)
        value = {k: v for k, v in schema.items() if k not in ("pattern", "x-typedq-type", "type")}
        if "enum" in value:
            value["enum"] = [*map(read, value["enum"])]
        else:
            value["type"] = schema["x-typedq-type"]
        return self.of(value, f"{path}[key]", hashable=True)

    def _record(
        self, schema: dict[str, Any], path: str, tag: str | None, *, hashable: bool
    ) -> tuple[str, str]:
        options = dict[str, str]()
        if "x-typedq-elements" in schema:
            fields = self._elements(schema, path, options, hashable=hashable)
        else:
            known = {"properties", "required", "additionalProperties", "x-typedq-lone-tag"}
            self._only({k: 0 for k in schema if k not in _IGNORED}, known, path)
            if schema.get("additionalProperties", False) not in (False, self._by_pydantic):
                self._refuse(path, "no Struct keeps other members (additionalProperties)")
            if "additionalProperties" in schema:
                options["forbid_unknown_fields"] = "True"
            if unknown := sorted({*schema.get("required", ())} - schema["properties"].keys()):
                self._refuse(path, f"no type is known of the required member {unknown[0]!r}")
            if schema.get("x-typedq-lone-tag"):
                tag = tag_of([schema], lone=True)
            if tag is not None:
                options["tag"] = literal(tag_value(schema, tag))
                options |= {} if tag == "type" else {"tag_field": literal(tag)}
            fields = self.fields(schema, path, tag=tag)
        if self._by_pydantic and "array_like" not in options:
            return record_source(schema, fields, lambda reason: self._refuse(path, reason))
        by_place = self._classes.ordered or "array_like" in options
        return struct_source(schema, fields, options, self._classes.known, by_place=by_place)

    def _elements(
        self, schema: dict[str, Any], path: str, options: dict[str, str], *, hashable: bool
    ) -> list[Field]:
        self._only({k: 0 for k in schema if k not in _IGNORED}, _ROW, path)
        names, parts = schema["x-typedq-elements"], schema.get("prefixItems", [])
        if len(names) != len(parts):
            self._refuse(path, "there is a name for each element of a record")
        options["array_like"] = "True"
        if "maxItems" in schema:
            options["forbid_unknown_fields"] = "True"
        first, least = 0, schema.get("minItems", 0)
        tags = listed(parts[0]) if parts and is_object(parts[0]) else []
        if least and len(tags) == 1 and type(tags[0]) in (str, int):
            options["tag"], first = literal(tags[0]), 1
            options |= {} if names[0] == "type" else {"tag_field": literal(names[0])}
        return [
            self._field(
                name, self.of(p, f"{path}.{name}", hashable=hashable), p, required=place < least
            )
            for place, (name, p) in enumerate(zip(names, parts, strict=True))
            if place >= first
        ]


_Writer = Callable[[Types, Mapping[str, Any], Schema, str, bool], tuple[str, list[str]]]
_WRITERS: dict[str, _Writer] = {
    **dict.fromkeys(("null", "boolean", "integer", "number", "string"), Types.scalar),
    "array": Types.array,
    "object": Types.object,
}
