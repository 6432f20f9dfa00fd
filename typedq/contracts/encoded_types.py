"""From the type that a task takes to the one that msgspec reads and writes for it.

Most types are their own encoded type. The others are constraints that only `msgspec.Meta` enforces,
and types that pydantic reads: msgspec meets those as a stand-in class, whose values its hooks
convert. A record that holds one of them anywhere is read and written as a shadow of itself.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing
import uuid
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union

import msgspec
from msgspec import _utils as _private

from typedq.contracts.constraints import constrain, facts_of, is_by_pydantic, is_plain
from typedq.contracts.conversions import Convert, convert_each, first_fitting, one_after_another
from typedq.contracts.foreign import Json, is_foreign, is_pydantic
from typedq.contracts.records import Field, Shadow, fields_of, record_kind
from typedq.contracts.secrets import KEYWORD, is_secret
from typedq.contracts.type_tree import NoSchema
from typedq.contracts.way_out import refuse

_UTILS: Any = _private
_SCALARS = frozenset[Any](
    (bool, int, float, str, bytes, bytearray, memoryview, uuid.UUID, Decimal)
) | {dt.datetime, dt.date, dt.time, dt.timedelta}
_CONCRETE: dict[Any, Any] = {
    **_UTILS._CONCRETE_TYPES,  # noqa: SLF001  there is no other way to know them
    **{kind: kind for kind in _SCALARS},
}
_OTHER_NATIVES: tuple[Any, ...] = (Any, object, None, NoneType, msgspec.Raw, msgspec.UnsetType)
_NEED_ARGUMENTS: tuple[Any, ...] = (Union, Literal, typing.Optional, typing.Final)
_ABSENT: tuple[Any, ...] = (None, NoneType, msgspec.UnsetType)
_NOTES = {"title", "description", "examples", "extra_json_schema"}
_MARK = msgspec.Meta(extra_json_schema={KEYWORD: True})


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What msgspec reads and writes, and how its values become those of the task and back.

    `decoded`: the classes of what `load` takes, to choose by in a union. `defaults`: those of all
    records inside, with their types, by JSON path.
    """

    kind: Any
    load: Convert | None = None
    dump: Convert | None = None
    decoded: Any = object
    defaults: tuple[tuple[str, Any, Any], ...] = ()


def encoded_type(kind: Any, *, mark_secrets: bool = False) -> Encoding:
    """Return how `kind` travels. Raises `NoSchema`, and what resolving its annotations raises.

    mark_secrets: note secret parts, for the schema; reading and writing would only get slower
    """
    if isinstance(kind, Encoding):
        return kind
    translator = _Translator(mark_secrets)
    encoded = translator.translate(kind, "$")
    return dataclasses.replace(encoded, defaults=tuple(translator.defaults.values()))


class _Other:
    """In place of a shadow, while it is asked if a record needs one."""


class _Recursive(Exception):
    """A type alias refers to itself."""


class _Translator:
    def __init__(self, mark_secrets: bool) -> None:
        self._mark_secrets = mark_secrets
        self.defaults: dict[tuple[Any, str], tuple[str, Any, Any]] = {}
        self._shadows: dict[Any, Encoding] = {}
        self._aliases: list[Any] = []  # that are being unwrapped
        self._place: list[str] = []  # steps to the type that is translated
        self._probed: set[Any] | None = None  # records, while it is asked if one needs a shadow

    def translate(self, kind: Any, path: str) -> Encoding:
        depth = len(self._aliases)
        self._place.append(path.removeprefix("$"))
        try:
            return self._translate(kind, depth)
        except _Recursive:
            if depth:
                raise
            return self._by_pydantic(kind)
        except NoSchema as error:
            raise NoSchema(path + error.path.removeprefix("$"), error.reason) from None
        finally:
            del self._aliases[depth:]
            self._place.pop()

    def _translate(self, kind: Any, depth: int) -> Encoding:
        base, metadata = self._unwrapped(kind)
        if is_secret(base):
            raise NoSchema("$", "Secret is not a type; write Annotated[str, typedq.Secret]")
        rest = tuple(item for item in metadata if not is_secret(item))
        if not self._mark_secrets or len(rest) == len(metadata):
            return self._unmarked(kind, base, metadata, depth)
        encoded = self._unmarked(Annotated[base, *rest] if rest else base, base, rest, depth)
        return dataclasses.replace(encoded, kind=Annotated[encoded.kind, _MARK])

    def _unmarked(self, kind: Any, base: Any, metadata: tuple[Any, ...], depth: int) -> Encoding:
        if is_by_pydantic(metadata):
            return self._by_pydantic(kind)
        return self._read_here(kind, base, metadata, depth)

    def _read_here(self, kind: Any, base: Any, metadata: tuple[Any, ...], depth: int) -> Encoding:
        if isinstance(base, (str, typing.ForwardRef)) and self._aliases:
            raise _Recursive  # pydantic knows where to look for the name
        if len(self._aliases) > depth:  # msgspec does not know the aliases of typing_extensions
            kind = Annotated[base, *metadata] if metadata else base
        origin = typing.get_origin(base) or base
        _check_form(base, origin)
        if origin in (Union, UnionType):
            return self._union(kind, base, metadata)
        if base is Json or _is_json_value(base):
            return Encoding(Json)
        if origin is Literal:
            return _literal(kind, base)
        if _is_hashable(origin) and (concrete := _CONCRETE.get(origin)) is not None:
            return self._builtin(kind, base, concrete, metadata)
        if is_pydantic(base):
            return Encoding(kind) if is_plain(metadata) else self._by_pydantic(kind)
        known = any(origin is one for one in _OTHER_NATIVES) or record_kind(origin)
        if not (known or isinstance(base, (TypeVar, enum.EnumMeta))):
            refuse(base)
            return self._by_pydantic(kind)
        if facts := facts_of(metadata).keys() - _NOTES:
            constrain(kind, base, dict.fromkeys(facts))
        return self._record(kind, base) if record_kind(origin) else Encoding(kind)

    def _unwrapped(self, kind: Any) -> tuple[Any, tuple[Any, ...]]:
        """A type without aliases and `Annotated`, and what was said beside it, inside out."""
        metadata: tuple[Any, ...] = ()
        while True:
            origin: Any = typing.get_origin(kind)
            if origin is Annotated:
                kind, metadata = kind.__origin__, (*kind.__metadata__, *metadata)
            elif origin in (typing.Final, typing.Required, typing.NotRequired):
                kind = kind.__args__[0]
            elif getattr(origin, "_name", "") == "ReadOnly" and self._place[-1:] != [""]:
                self._aliases.append(origin)  # msgspec does not know it either
                kind = kind.__args__[0]
            elif hasattr(kind, "__supertype__"):
                kind = kind.__supertype__
            elif "TypeAliasType" in (type(kind).__name__, type(origin).__name__):
                if _is_json_value(kind):
                    return kind, metadata
                if any(kind == alias for alias in self._aliases):
                    raise _Recursive
                self._aliases.append(kind)
                kind = origin.__value__[kind.__args__] if origin else kind.__value__
            else:
                return kind, metadata

    def _builtin(self, kind: Any, base: Any, concrete: Any, metadata: tuple[Any, ...]) -> Encoding:
        arguments = [part for part in typing.get_args(base) if part not in ((), ...)]
        variadic = concrete is tuple and ... in typing.get_args(base)
        fixed = concrete is tuple and not variadic
        places = [f"$[{i}]" for i in range(len(arguments))] if fixed else ["$[...]"]
        if concrete is dict:
            places = ["$[key]", "$[...]"]
        parts = [self.translate(*pair) for pair in zip(arguments, places, strict=False)]
        if all(part.kind is argument for part, argument in zip(parts, arguments, strict=True)):
            if is_plain(metadata):
                return Encoding(kind)
        elif concrete is tuple:
            inner: Any = (*(part.kind for part in parts), *((...,) if variadic else ()))
            base = tuple[inner]
        else:
            generic: Any = concrete
            base = generic[tuple(part.kind for part in parts)]
        encoded = constrain(base, concrete, facts_of(metadata))
        load, dump = (
            convert_each(concrete, [getattr(part, way) for part in parts], fixed=fixed)
            for way in ("load", "dump")
        )
        return Encoding(encoded, load, dump, concrete)

    def _union(self, kind: Any, base: Any, metadata: tuple[Any, ...]) -> Encoding:
        members = typing.get_args(base)
        if not is_plain(metadata):
            try:
                facts = facts_of(metadata)
            except NoSchema:
                facts = None  # for pydantic, if its types are in here
            if facts is None or facts.keys() - _NOTES:
                return self._constrained_union(kind, members, metadata)
        parts = [self.translate(member, "$") for member in members]
        if any(part.kind is Json for part in parts):
            return Encoding(Json)
        real = [_bare(part.kind) for part in parts if part.kind not in _ABSENT]
        if any(map(is_foreign, real)) and len(real) > 1:
            return self._by_pydantic(kind, members=members)
        if all(part.kind is member for part, member in zip(parts, members, strict=True)):
            return Encoding(kind)
        encoded: Any = Union[tuple(part.kind for part in parts)]  # noqa: UP007
        loads = [(part.decoded, part.load) for part in parts if part.load]
        dumps = [part.dump for part in parts if part.dump]
        return Encoding(encoded, first_fitting(loads), one_after_another(dumps))

    def _constrained_union(
        self, kind: Any, members: tuple[Any, ...], metadata: tuple[Any, ...]
    ) -> Encoding:
        """A constraint beside a union is one of each member."""
        parts = [self.translate(member, "$") for member in members]
        if any(is_foreign(_bare(part.kind)) for part in parts):
            return self._by_pydantic(kind, members=members)
        each = [m if m in _ABSENT else Annotated[m, *metadata] for m in members]
        return self.translate(Union[tuple(each)], "$")  # noqa: UP007

    def _record(self, kind: Any, cls: Any) -> Encoding:
        """The record itself, unless something in it, or in what that refers to, is another type."""
        if self._probed is not None:
            if cls in self._probed:
                return Encoding(kind)
            self._probed.add(cls)
            fields = self._translated(cls)
            for field in fields:
                if (default := field.plain_default) is not msgspec.NODEFAULT:
                    place = f"${''.join(self._place)}.{field.encoded_name}"
                    self.defaults[cls, field.name] = place, field.kind, default
            same = all(field.encoded.kind is field.kind for field in fields)
            return Encoding(kind if same else _Other)
        if cls in self._shadows:
            return self._shadows[cls]
        self._probed = set()
        try:
            same = self._record(kind, cls).kind is kind
        finally:
            self._probed = None
        if same:
            return Encoding(kind)
        shadow = Shadow(cls)
        self._shadows[cls] = Encoding(shadow.kind, shadow.load, shadow.dump, shadow.kind)
        shadow.complete(self._translated(cls))
        return self._shadows[cls]

    def _translated(self, cls: Any) -> list[Field]:
        return [
            dataclasses.replace(f, encoded=self.translate(f.kind, f"$.{f.encoded_name}"))
            for f in fields_of(cls)
        ]

    def _by_pydantic(self, kind: Any, members: tuple[Any, ...] = ()) -> Encoding:
        from typedq.contracts.pydantic_types.adapter import adapter_of

        if any(record_kind(_bare(member)) in ("struct", "attrs") for member in members):
            hint = "make all of them models, or all of them Structs with a tag"
            raise NoSchema("$", f"no reader knows all types of this union; {hint}")
        adapter = adapter_of(kind)
        adapter.check_union(members)
        return Encoding(adapter.stand_in, None, adapter.to_builtins)


def _check_form(base: Any, origin: Any) -> None:
    several = isinstance(base, TypeVar) and bool(base.__constraints__)
    if several or (origin is base and any(base is one for one in _NEED_ARGUMENTS)):
        refuse(base)


def _literal(kind: Any, base: Any) -> Encoding:
    values: tuple[Any, ...] = typing.get_args(base)
    if not any(isinstance(value, enum.Enum) for value in values):
        return Encoding(kind)
    plain = [value.value if isinstance(value, enum.Enum) else value for value in values]
    by_value: dict[Any, Any] = {(type(p), p): v for p, v in zip(plain, values, strict=True)}
    if len(by_value) < len(values):
        raise NoSchema("$", "two values of a Literal look the same in JSON; keep one of them")
    made: Any = Literal[tuple(plain)]
    decoded: Any = tuple({p.__class__ for p in plain})
    return Encoding(made, lambda value: by_value[type(value), value], None, decoded)


def _bare(kind: Any) -> Any:
    while typing.get_origin(kind) is Annotated:
        kind = kind.__origin__
    return kind


def _is_hashable(kind: Any) -> bool:
    return getattr(kind.__class__, "__hash__", None) is not None


def _is_json_value(kind: Any) -> bool:
    module: str = getattr(kind, "__module__", None) or ""
    return getattr(kind, "__name__", "") == "JsonValue" and module.startswith("pydantic")
