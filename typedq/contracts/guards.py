"""What JSON text and Python values must not be: too deep, not finite, changed on the way."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, cast

import msgspec

from typedq.contracts.fragments import is_pydantic
from typedq.contracts.json_tree import is_array, is_object

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_SQUARE = bytes(set(range(256)) - set(b"[]"))


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


def leaves(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, and every key that is no str, with its path."""
    children = _children(value)
    if children is None:
        yield path, value
        return
    for step, child in children:
        yield from leaves(child, path + step)


def not_finite(value: Any) -> str | None:
    """The path of the first NaN or infinity, which JSON cannot say."""
    for path, leaf in leaves(value):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            return path
    return None


def changed(sent: Any, read: Any, path: str = "$") -> str | None:
    """The path of the first piece of `sent` (parsed JSON) that `read` lacks or has differently."""
    if is_object(sent) and is_object(read):
        steps = ((_member(k), v, read.get(k, msgspec.UNSET)) for k, v in sent.items())
    elif is_array(sent) and is_array(read) and len(sent) == len(read):
        steps = ((f"[{i}]", a, b) for i, (a, b) in enumerate(zip(sent, read, strict=True)))
    else:
        return None if sent == read else path
    return next(filter(None, (changed(a, b, path + step) for step, a, b in steps)), None)


def _member(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, (str, bytes, bytearray, int, float)) or value is None:
        return None
    if isinstance(value, msgspec.Struct):
        return _of_struct(value)
    if isinstance(value, Mapping):
        return _of_mapping(cast("dict[Any, Any]", value))
    if isinstance(value, (list, tuple, Set)):
        return ((f"[{i}]", child) for i, child in enumerate(cast("list[Any]", value)))
    if is_pydantic(type(value)):
        extra: dict[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
        return _of_mapping({**vars(value), **extra})
    if dataclasses.is_dataclass(value):
        return _of_names(value, [field.name for field in dataclasses.fields(value)])
    if hasattr(value, "__attrs_attrs__"):
        return _of_names(value, [field.name for field in value.__attrs_attrs__])
    return None


def _of_struct(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    names = value.__struct_fields__
    if value.__struct_config__.array_like:
        return ((f"[{i}]", getattr(value, name)) for i, name in enumerate(names))
    written = zip(value.__struct_encode_fields__, names, strict=True)
    pairs = ((_member(wire), getattr(value, name)) for wire, name in written)
    return (pair for pair in pairs if pair[1] is not msgspec.UNSET)


def _of_mapping(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        if not isinstance(key, str):
            yield f"[{key!r}]", key
        yield _member(key), child


def _of_names(value: Any, names: list[str]) -> Iterator[tuple[str, Any]]:
    return ((_member(name), getattr(value, name)) for name in names if hasattr(value, name))
