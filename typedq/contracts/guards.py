"""What makes a body dangerous to read: how deep it nests, and code that its types run."""

from __future__ import annotations

import enum
import re
from typing import Any

import msgspec
from msgspec import inspect as mi

from typedq.contracts.equality import is_handwritten
from typedq.contracts.fragments import CopyOf
from typedq.contracts.type_tree import parts_of

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_SQUARE = bytes(set(range(256)) - set(b"[]"))
_HOOKS = ("__post_init__", "__attrs_post_init__", "__attrs_pre_init__")
_PLAIN_FACTORIES = (list, dict, set, frozenset, tuple, bytearray)


def too_deep(body: bytes, limit: int) -> bool:
    """Whether JSON text nests more than `limit` levels. Cheap for texts with few brackets."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", body).translate(_AS_SQUARE).translate(None, _ALL_BUT_SQUARE)
    for _ in range(limit):  # each round takes the innermost level away
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    # Cut-off text keeps its open brackets: few of them are for the parser to report.
    return brackets.count(b"[") > (0 if brackets.count(b"]") else limit)


def runs_code(kind: Any) -> bool:
    """Whether reading a value of a type may run code that somebody wrote for it."""
    parts = parts_of(kind)
    return parts is None or any(map(_has_code, parts))


def _has_code(part: mi.Type) -> bool:
    cls: Any = getattr(part, "cls", None)
    cls = getattr(cls, "__origin__", cls)
    if cls is None:
        return False
    if isinstance(part, mi.EnumType):
        own: Any = cls._missing_
        return own.__func__ is not enum.Enum.__dict__["_missing_"].__func__
    if isinstance(part, mi.NamedTupleType):
        return tuple not in cls.__bases__  # its `__new__` may be its own
    if isinstance(part, mi.TypedDictType):
        return False
    if not isinstance(part, (mi.StructType, mi.DataclassType)):
        return True
    hooks = [hasattr(cls, hook) for hook in _HOOKS]
    hooks += [a.validator is not None for a in getattr(cls, "__attrs_attrs__", ())]
    hooks += map(is_handwritten, (cls.__hash__, cls.__eq__))  # a set calls them
    return any(hooks) or not all(_is_plain_factory(f.default_factory) for f in part.fields)


def _is_plain_factory(factory: Any) -> bool:
    return factory is msgspec.NODEFAULT or type(factory) is CopyOf or factory in _PLAIN_FACTORIES
