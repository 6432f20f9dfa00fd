"""From a type to a standalone JSON Schema 2020-12 document that says what the decoder does.

Standard keywords, plus what they cannot say. A validator that shall agree with the decoder to the
last value must also know:

- `type: integer` and integers in `enum`: written without fraction or exponent; `1.0` is refused.
  Numbers fit a double.
- `x-typedq-type`: a finer type. Strings: `aware-datetime`, `naive-datetime`, `datetime` (either),
  `aware-time`, `naive-time`, `time` (either), `date`, `timedelta`, `uuid`, `decimal` (writers write
  a string, readers take a JSON number too), `bytes` (base64), `utf8-bytes`. In `propertyNames`:
  `integer`, `number` (the key's text is such a number, and numeric bounds apply to it). Arrays:
  `set` (writers write no duplicates, readers drop them before they count).
- `x-typedq-minBytes`, `x-typedq-maxBytes`: length of `bytes` before base64.
- `x-typedq-elements`: names of the elements of an array that stands for a Struct or NamedTuple.
- `x-typedq-lone-tag`: writers always write the tag, readers do not insist on it.
- `x-typedq-mask`: an integer whose bits lie within this mask.
- `x-typedq-decimal`: bounds of a pydantic Decimal.
- `x-typedq-payload`: at the top; `parameters` if the payload is made of a task's parameters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from msgspec import inspect as mi

from typedq.contracts.fragments import (
    Schema,
    about,
    as_text,
    class_name,
    default,
    elements,
    enum_values,
    given,
    is_pydantic,
    members,
    only_annotations,
    share,
)
from typedq.contracts.json_tree import redirect
from typedq.contracts.scalars import scalar
from typedq.contracts.type_tree import NoSchema, bare, tree_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"


def document(kind: Any, *, payload: str | None = None) -> Schema:
    """The document of one type, `$schema` first. Raises `NoSchema`.

    `payload="parameters"` marks an object made of a task's parameters.
    """
    builder = _Builder()
    root = builder.build(tree_of(kind), "$")
    if set(root) == {"$ref"} and f'"{root["$ref"]}"' not in json.dumps(builder.definitions):
        root = builder.definitions.pop(root["$ref"].removeprefix(_REF))
    marked = {"x-typedq-payload": payload} if payload else {}
    definitions = {"$defs": builder.definitions} if builder.definitions else {}
    return {"$schema": DIALECT, **marked, **root, **definitions}


class _Builder:
    """Turns a tree of `msgspec.inspect` types into schemas; collects `$defs` on the way."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._refs: dict[Any, str] = {}

    def build(self, kind: mi.Type, path: str, *, tagged: bool = False) -> Schema:
        annotations: Schema = {}
        while isinstance(kind, mi.Metadata):
            extra: Schema = getattr(kind, "extra_json_schema", None) or {}
            annotations = {**extra, **annotations}
            kind = kind.type
        if isinstance(kind, mi.StructType) and tagged and not kind.array_like:
            schema = self._named(
                (kind.cls, "tagged"), kind.cls, lambda: self._struct(kind, path, tagged=True)
            )
        elif type(kind) in _WRITERS:
            schema = _WRITERS[type(kind)](self, kind, path)
        else:
            schema = scalar(kind) or _refuse(kind, path)
        return {**schema, **only_annotations(annotations)}

    def _named(self, key: Any, cls: Any, write: Callable[[], Schema]) -> Schema:
        """A `$ref` to the definition of `key`, which is written at its first use."""
        if key not in self._refs:
            self._refs[key] = self._reserve(class_name(cls))
            self.definitions[self._refs[key].removeprefix(_REF)] = write()
        return {"$ref": self._refs[key]}

    def _reserve(self, wanted: str) -> str:
        """The address of a new definition; recursive types refer to it before it is written."""
        name, n = wanted, 1
        while name in self.definitions:
            n += 1
            name = f"{wanted}_{n}"
        self.definitions[name] = {}
        return _REF + name

    def enumeration(self, kind: mi.EnumType, _path: str) -> Schema:
        cls = kind.cls
        return self._named(cls, cls, lambda: {**about(cls), **enum_values(cls)})

    # --- collections ---------------------------------------------------------------------------

    def collection(self, kind: mi.CollectionType, path: str) -> Schema:
        lengths = given(kind, {"min_length": "minItems", "max_length": "maxItems"})
        is_set = isinstance(kind, (mi.SetType, mi.FrozenSetType))
        unique = {"uniqueItems": True, "x-typedq-type": "set"} if is_set else {}
        return {
            "type": "array",
            "items": self.build(kind.item_type, f"{path}[...]"),
            **lengths,
            **unique,
        }

    def fixed_tuple(self, kind: mi.TupleType, path: str) -> Schema:
        items = [self.build(item, f"{path}[{i}]") for i, item in enumerate(kind.item_types)]
        prefix = {"prefixItems": items, "items": False} if items else {}
        return {"type": "array", **prefix, "minItems": len(items), "maxItems": len(items)}

    def mapping(self, kind: mi.DictType, path: str) -> Schema:
        names = self._key(kind.key_type, f"{path}[key]")
        lengths = given(kind, {"min_length": "minProperties", "max_length": "maxProperties"})
        return {
            "type": "object",
            **({"propertyNames": names} if names != {"type": "string"} else {}),
            "additionalProperties": self.build(kind.value_type, f"{path}[...]"),
            **lengths,
        }

    def _key(self, kind: mi.Type, path: str) -> Schema:
        inner = bare(kind)
        if isinstance(inner, mi.EnumType):  # in place: keys are written as text, values are not
            return as_text(enum_values(inner.cls), path)
        return as_text(self.build(kind, path), path)

    def union(self, kind: mi.UnionType, path: str) -> Schema:
        kinds = [bare(member) for member in kind.types]
        scalars = [type(k) for k in kinds if scalar(k) and not isinstance(k, mi.LiteralType)]
        if len(scalars) > len(set(scalars)):
            raise NoSchema(path, "a union of one type under two constraints; keep one of them")
        structs = sum(isinstance(k, mi.StructType) and not k.array_like for k in kinds)
        built = (self.build(member, path, tagged=structs > 1) for member in kind.types)
        members = [m for k, s in zip(kinds, built, strict=True) if (m := share(k, s, kinds))]
        return {"anyOf": members} if len(members) > 1 else members[0]

    # --- records -------------------------------------------------------------------------------

    def struct(self, kind: mi.StructType, path: str) -> Schema:
        return self._named(kind.cls, kind.cls, lambda: self._struct(kind, path, tagged=False))

    def _struct(self, kind: mi.StructType, path: str, *, tagged: bool) -> Schema:
        names, schemas = self._fields(kind.fields, path)
        required = [f.encode_name for f in kind.fields if f.required]
        if kind.tag_field is not None:
            names, schemas = [kind.tag_field, *names], [{"enum": [kind.tag]}, *schemas]
        if kind.array_like:
            spare = 0
            while spare < len(kind.fields) and not kind.fields[-1 - spare].required:
                spare += 1
            closed = len(names) if kind.forbid_unknown_fields else None
            return elements(kind.cls, names, schemas, len(names) - spare, closed)
        lone = kind.tag_field is not None and not tagged
        if kind.tag_field is not None and tagged:
            required = [kind.tag_field, *required]
        return {
            **members(kind.cls, names, schemas, required),
            **({"additionalProperties": False} if kind.forbid_unknown_fields else {}),
            **({"x-typedq-lone-tag": True} if lone else {}),
        }

    def record(self, kind: mi.DataclassType | mi.TypedDictType, path: str) -> Schema:
        def write() -> Schema:
            names, schemas = self._fields(kind.fields, path)
            required = [f.encode_name for f in kind.fields if f.required]
            return members(kind.cls, names, schemas, required)

        return self._named(kind.cls, kind.cls, write)

    def named_tuple(self, kind: mi.NamedTupleType, path: str) -> Schema:
        def write() -> Schema:
            names, schemas = self._fields(kind.fields, path)
            required = sum(f.required for f in kind.fields)
            return elements(kind.cls, names, schemas, required, len(names))

        return self._named(kind.cls, kind.cls, write)

    def _fields(self, fields: Sequence[mi.Field], path: str) -> tuple[list[str], list[Schema]]:
        schemas = [{**self.build(f.type, f"{path}.{f.encode_name}"), **default(f)} for f in fields]
        return [f.encode_name for f in fields], schemas

    def custom(self, kind: mi.CustomType, path: str) -> Schema:
        if not is_pydantic(kind.cls):
            _refuse(kind, path)
        if kind.cls not in self._refs:
            self._refs[kind.cls] = self._import(kind.cls, path)
        return {"$ref": self._refs[kind.cls]}

    def _import(self, model: Any, path: str) -> str:
        """Brings in a pydantic model with its own `$defs`; returns its address."""
        from typedq.contracts import pydantic_models  # pydantic is heavy; only for its users

        schema = pydantic_models.schema_of(model, path)
        inner: dict[str, Schema] = schema.pop("$defs", {})
        own = schema.get("$ref") or _REF + model.__name__
        inner.setdefault(own.removeprefix(_REF), schema)
        refs = {_REF + name: self._reserve(name) for name in inner}
        for name, definition in inner.items():
            self.definitions[refs[_REF + name].removeprefix(_REF)] = redirect(definition, refs)
        return refs[own]


def _refuse(kind: mi.Type, path: str) -> NoReturn:
    what = getattr(kind, "cls", type(kind))
    hints = {
        mi.AnyType: "Any, or a collection without element types, says nothing; name the type",
        object: "object says nothing about its values; name the type",
        mi.RawType: "msgspec.Raw has no schema; name the type, or pass str or bytes",
    }
    name = getattr(what, "__name__", str(what))
    raise NoSchema(path, hints.get(what, f"{name} has no JSON Schema; use a type that has"))


_WRITERS: dict[type[mi.Type], Callable[[_Builder, Any, str], Schema]] = {
    mi.EnumType: _Builder.enumeration,
    mi.ListType: _Builder.collection,
    mi.VarTupleType: _Builder.collection,
    mi.SetType: _Builder.collection,
    mi.FrozenSetType: _Builder.collection,
    mi.TupleType: _Builder.fixed_tuple,
    mi.DictType: _Builder.mapping,
    mi.UnionType: _Builder.union,
    mi.StructType: _Builder.struct,
    mi.DataclassType: _Builder.record,
    mi.TypedDictType: _Builder.record,
    mi.NamedTupleType: _Builder.named_tuple,
    mi.CustomType: _Builder.custom,
}
