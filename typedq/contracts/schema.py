"""From a type to a standalone JSON Schema 2020-12 document that says what the decoder does.

Standard keywords, plus what they cannot say: `KEYWORDS` of fragments.py, which docs/types.md
explains. Integers are written without fraction or exponent; `1.0` is refused where an integer is
due. Numbers fit a double.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec import inspect as mi

from typedq.contracts.conversions import adapter_for, encode_value
from typedq.contracts.encoded_types import Encoding, encoded_type
from typedq.contracts.foreign import Json
from typedq.contracts.fragments import (
    ANNOTATION_KEYS,
    CopyOf,
    Definitions,
    Schema,
    about,
    as_text,
    class_name,
    elements,
    enum_values,
    given,
    members,
    only_annotations,
    share,
)
from typedq.contracts.records import PURE_FACTORIES, Field, ShadowDefault
from typedq.contracts.scalars import scalar
from typedq.contracts.type_tree import KEYS_ARE_TEXT, NoSchema, bare, tree_of

# msgspec describes them and writes none of their values.
_UNREAD_KEYS = (mi.ByteArrayType, mi.MemoryViewType)
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"


def document(kind: Any, *, payload: str | None = None) -> Schema:
    """Return the document of one type, `$schema` first. Raises `NoSchema`.

    `payload="parameters"` marks an object made of a task's parameters.
    """
    encoded: Encoding = encoded_type(kind, mark_secrets=True)
    builder = _Builder()
    root = builder.build(tree_of(encoded.kind), "$")
    builder.definitions.fill_ranks()
    definitions = builder.definitions.schemas
    notes = {key: root[key] for key in root.keys() & ANNOTATION_KEYS}
    if root.keys() - notes == {"$ref"} and f'"{root["$ref"]}"' not in json.dumps(definitions):
        root = {**definitions.pop(root["$ref"].removeprefix(_REF)), **notes}
    marked = {"x-typedq-payload": payload} if payload else {}
    return {
        "$schema": DIALECT,
        **marked,
        **root,
        **({"$defs": definitions} if definitions else {}),
    }


class _Builder:
    """Turns a tree of `msgspec.inspect` types into schemas; collects `$defs` on the way."""

    def __init__(self) -> None:
        self.definitions = Definitions()

    def build(self, kind: mi.Type, path: str, *, tagged: bool = False) -> Schema:
        annotations, kind = _notes(kind), bare(kind)
        if isinstance(kind, mi.StructType) and tagged and not kind.array_like:
            schema = self._named(
                (kind.cls, "tagged"), kind.cls, lambda: self._struct(kind, path, tagged=True)
            )
        elif type(kind) in _WRITERS:
            schema = _WRITERS[type(kind)](self, kind, path)
        else:
            schema = scalar(kind) or _refuse(kind, path)
        return {**schema, **annotations}

    def _named(self, key: Any, cls: Any, write: Callable[[], Schema]) -> Schema:
        return self.definitions.named(key, class_name(_shown(cls)), write)

    def enumeration(self, kind: mi.EnumType | mi.CustomType, _path: str) -> Schema:
        cls: Any = kind.cls
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
        cls: Any = getattr(bare(kind), "cls", None)
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            # In place: keys are written as text, values are not.
            return as_text({**enum_values(cls), **_notes(kind)}, path)
        written = as_text(self.definitions.resolved(self.build(kind, path)), path)
        if isinstance(bare(kind), _UNREAD_KEYS) or written.get("x-typedq-type") == "boolean":
            raise NoSchema(path, KEYS_ARE_TEXT)
        return written

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
            return elements(_shown(kind.cls), names, schemas, len(names) - spare, closed)
        lone = kind.tag_field is not None and not tagged
        if kind.tag_field is not None and tagged:
            required = [kind.tag_field, *required]
        return {
            **members(_shown(kind.cls), names, schemas, required),
            **({"additionalProperties": False} if kind.forbid_unknown_fields else {}),
            **({"x-typedq-lone-tag": True} if lone else {}),
        }

    def record(self, kind: mi.DataclassType | mi.TypedDictType, path: str) -> Schema:
        def write() -> Schema:
            names, schemas = self._fields(kind.fields, path)
            required = [f.encode_name for f in kind.fields if f.required]
            return members(_shown(kind.cls), names, schemas, required)

        return self._named(kind.cls, kind.cls, write)

    def named_tuple(self, kind: mi.NamedTupleType, path: str) -> Schema:
        def write() -> Schema:
            names, schemas = self._fields(kind.fields, path)
            required = sum(f.required for f in kind.fields)
            return elements(_shown(kind.cls), names, schemas, required, len(names))

        return self._named(kind.cls, kind.cls, write)

    def _fields(self, fields: Sequence[mi.Field], path: str) -> tuple[list[str], list[Schema]]:
        schemas = list[Schema]()
        for field in fields:
            schema = self.build(field.type, f"{path}.{field.encode_name}")
            default = _default(field).items()
            plain = {key: self.definitions.in_order(value, schema) for key, value in default}
            schemas.append({**schema, **plain})
        return [f.encode_name for f in fields], schemas

    def custom(self, kind: mi.CustomType, path: str) -> Schema:
        cls: Any = kind.cls
        if cls is Json:
            return {}
        if isinstance(cls, enum.EnumMeta):
            return self.enumeration(kind, path)
        if (adapter := adapter_for(cls)) is None:
            _refuse(kind, path)
        described: Schema = adapter.describe(self.definitions, path)
        return described


def _notes(kind: mi.Type) -> Schema:
    """The annotations around a type; the outermost counts."""
    found: Schema = {}
    while isinstance(kind, mi.Metadata):
        extra: Schema = getattr(kind, "extra_json_schema", None) or {}
        found = {**only_annotations(extra), **found}
        kind = kind.type
    return found


def _shown(cls: Any) -> Any:
    """The class that a shadow stands for; any other itself."""
    return getattr(cls, "__typedq_record__", cls)


def _default(field: mi.Field | Field) -> Schema:
    """`{"default": value}` where a field has one that JSON can say."""
    value = field.default
    if value is msgspec.NODEFAULT:
        factory = field.default_factory
        if isinstance(factory, ShadowDefault):
            return _default(factory.field)
        if not isinstance(factory, CopyOf) and factory not in PURE_FACTORIES:
            return {}
        value = factory()
    encoded: Any = getattr(field, "encoded", None)
    try:
        value = encoded.dump(value) if encoded and encoded.dump else value
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=encode_value)
        return {"default": json.loads(json.dumps(plain, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {}


_FREE = "name the type, or write typedq.Json for any JSON value"


def _refuse(kind: mi.Type, path: str) -> NoReturn:
    what = getattr(kind, "cls", type(kind))
    hints = {
        mi.AnyType: f"Any, or a collection without element types, says nothing; {_FREE}",
        object: f"object says nothing about its values; {_FREE}",
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
