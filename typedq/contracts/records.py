"""Records, which are classes with fields: their fields, and their shadows.

A shadow is a Struct that msgspec reads and writes in place of a record that it cannot.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import msgspec
from msgspec import NODEFAULT, UNSET
from msgspec import _utils as _private

from typedq.contracts.foreign import is_pydantic_dataclass
from typedq.contracts.type_tree import NoSchema

_UTILS: Any = _private  # no public function resolves annotations of generic records
RecordKind = Literal["struct", "dataclass", "attrs", "typeddict", "namedtuple"]
# Default factories without side effects that always make an equal value: it is the default.
PURE_FACTORIES: tuple[Any, ...] = (list, dict, set, frozenset, tuple, bytearray)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A field of a record. `kind` is its annotation, `encoded` the `Encoding` of that.

    `default` and `default_factory` are `msgspec.NODEFAULT` where there is none.
    """

    name: str
    encoded_name: str
    kind: Any
    required: bool
    default: Any = NODEFAULT
    default_factory: Any = NODEFAULT
    encoded: Any = None

    @property
    def plain_default(self) -> Any:
        """The default, or what a factory without effects makes; NODEFAULT if there is neither."""
        pure = self.default_factory in PURE_FACTORIES
        return self.default_factory() if pure else self.default


def record_kind(cls: Any) -> RecordKind | None:
    """Return which kind of record a class is; None if it is not one that msgspec reads."""
    if not isinstance(cls, type):
        return None
    bases = cls.__mro__
    if msgspec.Struct in bases:
        return "struct"
    if dict in bases:
        return "typeddict" if hasattr(cls, "__total__") and not _needs_pydantic(cls) else None
    if tuple in bases:
        return "namedtuple" if hasattr(cls, "_fields") else None
    if hasattr(cls, "__dataclass_fields__"):
        return None if is_pydantic_dataclass(cls) else "dataclass"
    return "attrs" if hasattr(cls, "__attrs_attrs__") else None


def _needs_pydantic(cls: Any) -> bool:
    """Return True if a TypedDict or a base limits or types extra items, or has a config."""
    extra = getattr(getattr(cls, "__extra_items__", None), "__name__", "NoExtraItems")
    if getattr(cls, "__closed__", None) or extra != "NoExtraItems":
        return True
    if hasattr(cls, "__pydantic_config__"):
        return True
    return any(map(_needs_pydantic, getattr(cls, "__orig_bases__", ())))


def fields_of(kind: Any) -> list[Field]:
    """Return the fields of a record, which may be a generic alias such as `Page[int]`.

    Raises `NoSchema` for fields that cannot be sent.
    """
    cls: Any = typing.get_origin(kind) or kind
    fields = _FIELD_READERS[cast("RecordKind", record_kind(cls))](kind, cls)
    for field in fields:
        if type(field.default).__name__ == "FieldInfo":
            reason = "pydantic reads a Field(...) default only in its own models and dataclasses"
            raise NoSchema(f"$.{field.name}", f"{reason}; write Annotated[..., Field(...)]")
    return fields


def _struct(kind: Any, cls: Any) -> list[Field]:
    hints = _UTILS.get_class_annotations(kind)
    names, defaults = cls.__struct_fields__, cls.__struct_defaults__
    padded = (NODEFAULT,) * (len(names) - len(defaults)) + tuple(defaults)
    rows = zip(names, cls.__struct_encode_fields__, padded, strict=True)
    return [_field(name, encoded, hints[name], default) for name, encoded, default in rows]


def _field(name: str, encoded_name: str, kind: Any, default: Any) -> Field:
    factory = getattr(default, "factory", NODEFAULT)
    if type(default).__name__ == "Factory" and factory is not NODEFAULT:
        return Field(name, encoded_name, kind, False, NODEFAULT, factory)
    return Field(name, encoded_name, kind, default is NODEFAULT, default)


def _dataclass(kind: Any, cls: Any) -> list[Field]:
    hints = _UTILS.get_class_annotations(kind)
    declared: dict[str, Any] = cls.__dataclass_fields__
    for name, field in declared.items():
        if field._field_type.name == "_FIELD_INITVAR":  # noqa: SLF001  no other way to know
            reason = "an InitVar is not kept, so it cannot be sent; make it a field"
            raise NoSchema(f"$.{name}", reason)
    missing = dataclasses.MISSING
    return [
        Field(
            name=f.name,
            encoded_name=f.name,
            kind=hints[f.name],
            required=f.default is missing and f.default_factory is missing,
            default=NODEFAULT if f.default is missing else f.default,
            default_factory=NODEFAULT if f.default_factory is missing else f.default_factory,
        )
        for f in dataclasses.fields(cls)
    ]


def _attrs(kind: Any, cls: Any) -> list[Field]:
    hints, fields = _UTILS.get_class_annotations(kind), list[Field]()
    for attribute in cls.__attrs_attrs__:
        name, default = attribute.name, attribute.default
        if name.startswith("_"):
            reason = "a private attribute of an attrs class is never written; give it another name"
            raise NoSchema(f"$.{name}", reason)
        if type(default).__name__ == "_Nothing":
            default = NODEFAULT
        fields.append(_field(name, name, hints.get(name, Any), default))
    return fields


def _typed_dict(kind: Any, _cls: Any) -> list[Field]:
    hints, required = _UTILS.get_typeddict_info(kind)
    return [Field(n, n, hint, n in required) for n, hint in sorted(hints.items())]


def _named_tuple(kind: Any, cls: Any) -> list[Field]:
    hints, defaults = _UTILS.get_class_annotations(kind), cls._field_defaults
    return [
        Field(n, n, hints.get(n, Any), n not in defaults, defaults.get(n, NODEFAULT))
        for n in cls._fields
    ]


_FIELD_READERS: dict[RecordKind, Callable[[Any, Any], list[Field]]] = {
    "struct": _struct,
    "dataclass": _dataclass,
    "attrs": _attrs,
    "typeddict": _typed_dict,
    "namedtuple": _named_tuple,
}


class _Absent:
    """The value of a shadow's member that the JSON text lacks: the record's class fills it in."""


@dataclasses.dataclass(slots=True)
class ShadowDefault:
    """The default factory of a shadow's member; `field` has the default that the class has."""

    field: Field

    def __call__(self) -> type[_Absent]:
        return _Absent


class Shadow:
    """A Struct, `kind`, with the members of a record, but with types that msgspec reads.

    `complete` sets those types afterwards, because they may refer to the shadow itself.
    """

    def __init__(self, record: Any) -> None:
        self.cls: Any = typing.get_origin(record) or record
        self._record_kind = record_kind(self.cls)
        self._fields = fields_of(record)
        optional = ((i, field) for i, field in enumerate(self._fields) if not field.required)
        self._defaults = {i: ShadowDefault(field) for i, field in optional}
        self.kind = self._struct(record)

    def _struct(self, record: Any) -> Any:
        config: Any = getattr(self.cls, "__struct_config__", None)
        is_tuple = self._record_kind == "namedtuple"
        members: list[Any] = []
        for i, field in enumerate(self._fields):
            factory = {"default_factory": self._defaults[i]} if i in self._defaults else {}
            members.append((f"f{i}", Any, msgspec.field(name=field.encoded_name, **factory)))
        shadow = msgspec.defstruct(
            self.cls.__name__,
            members,
            kw_only=True,
            module=self.cls.__module__,
            tag=getattr(config, "tag", None),
            tag_field=getattr(config, "tag_field", None),
            array_like=is_tuple or bool(getattr(config, "array_like", False)),
            forbid_unknown_fields=is_tuple or bool(getattr(config, "forbid_unknown_fields", False)),
        )
        setattr(shadow, "__typedq_record__", record)  # noqa: B010
        return shadow

    def complete(self, fields: Sequence[Field]) -> None:
        """Set the encoded types of the fields."""
        self._fields = list(fields)
        for i, field in enumerate(fields):
            self.kind.__annotations__[f"f{i}"] = field.encoded.kind
            if i in self._defaults:
                self._defaults[i].field = field

    def load(self, shadow: Any) -> Any:
        """Return the record for a shadow that msgspec read."""
        values: dict[str, Any] = {}
        for i, field in enumerate(self._fields):
            value = getattr(shadow, f"f{i}")
            if value is not _Absent:
                values[field.name] = field.encoded.load(value) if field.encoded.load else value
        if self._record_kind == "typeddict":
            return values
        not_in_init = set[str]()
        if self._record_kind == "dataclass":
            excluded = {f.name for f in dataclasses.fields(self.cls) if not f.init}
            not_in_init = excluded & values.keys()
        record = self.cls(**{k: value for k, value in values.items() if k not in not_in_init})
        for name in not_in_init:
            object.__setattr__(record, name, values[name])  # a frozen dataclass refuses setattr
        return record

    def dump(self, record: Any) -> Any:
        """Return the shadow of a record, and anything else as it is."""
        is_dict = self._record_kind == "typeddict"
        if not isinstance(record, dict if is_dict else self.cls):
            return record
        values: dict[str, Any] = {}
        for i, field in enumerate(self._fields):
            value = record.get(field.name, UNSET) if is_dict else getattr(record, field.name, UNSET)
            dump = None if value is UNSET else field.encoded.dump
            values[f"f{i}"] = dump(value) if dump else value
        return self.kind(**values)
