"""From a type to msgspec's description of it, without what would crash its decoder or never read.

msgspec (0.22 at least) mixes up its own notes on a union with a `pattern` beside a dict or a
collection, or with a bound beside a fixed tuple: making a decoder then kills the interpreter, or
puts one note in the place of another. `msgspec.inspect.type_info` makes a decoder, too.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import msgspec
from msgspec import inspect as mi

from typedq.contracts.foreign import StandIn, is_pydantic

_PLACES = re.compile(r"(?:[A-Za-z_]\w*\.|<locals>\.)+(?=[A-Za-z_])")
_LISTS = (mi.ListType, mi.SetType, mi.FrozenSetType, mi.VarTupleType)
_BYTES = (mi.BytesType, mi.ByteArrayType, mi.MemoryViewType)
_BOUNDABLE = (mi.IntType, mi.FloatType, mi.StrType, mi.DictType, *_BYTES)
_BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
_NEVER_HASHABLE = (mi.ListType, mi.SetType, mi.DictType, mi.TypedDictType, mi.ByteArrayType)
KEYS_ARE_TEXT = "the keys of a JSON object are text; take str, int, UUID or date as keys"
_WRAP = "take the constraint off and check in the task's code, or put one of them in a Struct"


class NoSchema(TypeError):
    """A type that no schema can describe. Fields: `path` (JSON path), `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(reason if path == "$" else f"{reason} - at {path}")


def tree_of(kind: Any) -> mi.Type:
    """The description of a type. Raises `NoSchema`, and what `msgspec.inspect.type_info` raises."""
    for part in _parts(_described(kind)):
        for reason_against in _CHECKS:
            if reason := reason_against(part):
                raise NoSchema("$", reason)
    try:
        return mi.type_info(kind)
    except Exception as error:
        raise NoSchema("$", in_our_words(str(error))) from error


def in_our_words(message: str) -> str:
    """What msgspec has against a type, as a sentence that says what to write instead."""
    if "ype union" in message:
        found = re.search(r" - type `(.*)` is not supported", message, re.DOTALL)
        return ambiguous(name_of(found[1]) if found else "a union")
    if "keys are supported" in message:
        return KEYS_ARE_TEXT
    if message.startswith("Enums must contain"):
        name = message.partition("enum '")[2].partition("'")[0]
        name = name or name_of(message.partition("type `")[2].partition(" |")[0])
        hint = "give it values of one of these types"
        return f"{name} has values that are not all str or all int; {hint}"
    if message.startswith("Enum types must have"):
        return "no value fits an enum without members; give it some"
    if message.startswith("Integer values >"):
        return "an enum or Literal may hold whole numbers of 64 bits with a sign; take int or str"
    if "int64" in message:
        return "bounds of an int have 64 bits with a sign; check larger ones in the task's code"
    if message.startswith("Literal may only contain"):
        return "a Literal may hold None, str, int, and members of enums; take the type of the value"
    if "Required[" in message:
        return "Required and NotRequired belong in a TypedDict; name the type of the value"
    if "recursion depth" in message:
        return "its types are nested too deeply; take fewer levels"
    return f"{message.partition(chr(10))[0]}; correct it, or write another type"


def ambiguous(union: str) -> str:
    """Return why a union whose members can look the same in JSON is refused."""
    return (
        f"members of {union} look the same in JSON, so a worker could not tell which was sent;"
        " keep one of them, or give each a Struct or model with a tag"
    )


def name_of(kind: Any) -> str:
    """Return a type as people write it, without the modules it comes from."""
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__name__
    return _PLACES.sub("", kind if isinstance(kind, str) else inspect.formatannotation(kind))


def parts_of(kind: Any) -> list[mi.Type] | None:
    """Every type that a type is made of, once; None if that cannot be told."""
    described = _described(kind)
    return None if described is None else list(_parts(described))


def bare(kind: mi.Type) -> mi.Type:
    """`kind` without the titles and examples around it."""
    while isinstance(kind, mi.Metadata):
        kind = kind.type
    return kind


def _described(kind: Any) -> Any:
    """What `type_info` would return, made without a decoder; None if that is not possible."""
    translator: Any = getattr(mi, "_Translator", None)
    try:
        return translator((kind,)).translate(kind) if translator else None
    except Exception:  # noqa: BLE001  type_info tells it better
        return None


def _parts(root: Any) -> Iterator[mi.Type]:
    """Every type in a tree, which may be recursive, once."""
    waiting, seen = [root], set[int]()
    while waiting:
        part = waiting.pop()
        if isinstance(part, mi.Type) and id(part) not in seen:
            seen.add(id(part))
            waiting += _children(part)
            yield part


def _children(kind: mi.Type) -> Iterator[Any]:
    """The types right below one, and whatever else it is made of."""
    for name in kind.__struct_fields__:
        value: Any = getattr(kind, name)
        parts = value if _is_tuple(value) else (value,)
        yield from (part.type if isinstance(part, mi.Field) else part for part in parts)


def _is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def _deadly_union(kind: mi.Type) -> str | None:
    members = [bare(member) for member in kind.types] if isinstance(kind, mi.UnionType) else []
    growing = sorted({_name(k) for k in members if isinstance(k, (*_LISTS, mi.DictType))})
    fixed = any(isinstance(k, mi.TupleType) for k in members)
    for member in members:
        beside = ""
        if growing and getattr(member, "pattern", None) is not None:
            beside = f"a {_name(member)} with a pattern beside a {' and a '.join(growing)}"
        elif fixed and isinstance(member, _BOUNDABLE) and _bounded(member):
            beside = f"a bounded {_name(member)} beside a tuple of fixed length"
        if beside:
            return f"msgspec cannot read a union of {beside}; {_WRAP}"
    return None


def _bounded(kind: mi.Type) -> bool:
    return any(getattr(kind, name, None) is not None for name in _BOUNDS)


def _unhashable_element(kind: mi.Type) -> str | None:
    if not isinstance(kind, (mi.SetType, mi.FrozenSetType)):
        return None
    culprit = _unhashable(kind.item_type, ())
    return None if culprit is None else no_hash(culprit)


def no_hash(name: str) -> str:
    """Return why a set of such values is refused."""
    return f"a set cannot hold {name}, which has no hash; make it frozen, or take a list"


def _unhashable(kind: mi.Type, above: tuple[mi.Type, ...]) -> str | None:
    """The name of the part of `kind` that surely keeps it out of a set."""
    kind = bare(kind)
    cls: Any = getattr(kind, "cls", None)
    if any(kind is one or (is_pydantic(cls) and one == kind) for one in above):
        return None
    if isinstance(kind, _NEVER_HASHABLE) or (cls is not None and cls.__hash__ is None):
        return _name(kind)
    if isinstance(cls, StandIn):  # without an adapter, it is any JSON value
        return _name(kind) if cls.adapter is None or cls.adapter.without_hash else None
    inner: list[mi.Type] = []
    if isinstance(kind, mi.StructType):
        origin: Any = getattr(cls, "__origin__", cls)
        by_members = origin.__hash__ is msgspec.Struct.__hash__ and origin.__struct_config__.eq
        if by_members and not origin.__struct_config__.frozen:
            return _name(kind)
        inner = [field.type for field in kind.fields if by_members]
    elif isinstance(kind, mi.DataclassType) and hashes_parts(getattr(cls, "__origin__", cls)):
        inner = [field.type for field in kind.fields]
    elif is_pydantic(cls) and hashes_parts(cls):
        fields: list[Any] = list(getattr(cls, "model_fields").values())  # noqa: B009  for pyright
        inner = list(filter(None, (_described(field.annotation) for field in fields)))
    elif isinstance(kind, (mi.NamedTupleType, mi.UnionType, mi.TupleType, mi.VarTupleType)):
        inner = [part for part in _children(kind) if isinstance(part, mi.Type)]
    found = (_unhashable(part, (*above, kind)) for part in inner)
    return next((name for name in found if name is not None), None)


def hashes_parts(cls: Any) -> bool:
    """Return True if the hash of a class is the one of its fields, and not written by hand."""
    made: Any = getattr(cls.__hash__, "__code__", None)
    if made is None:
        return isinstance(cls, type) and issubclass(cls, tuple)
    file, module = str(made.co_filename), str(cls.__hash__.__module__)
    return file.startswith("<") or module.startswith("pydantic.")


def _name(kind: mi.Type) -> str:
    cls = getattr(kind, "cls", None)
    name: str = getattr(getattr(cls, "__origin__", cls), "__name__", type(kind).__name__)
    return name if cls is not None else name.removesuffix("Type").removeprefix("Var").lower()


_CHECKS: tuple[Callable[[mi.Type], str | None], ...] = (_deadly_union, _unhashable_element)
