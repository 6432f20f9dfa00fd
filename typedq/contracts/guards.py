"""What JSON text and Python values must not be: too deep, not finite, changed on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
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


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, and every key that is no str, with its path."""
    return _leaves(msgspec.to_builtins(value, enc_hook=_plain), "$")


def _plain(value: Any) -> Any:
    """The members of a pydantic model; of what has no JSON form, text that has none either."""
    if is_pydantic(type(value)):
        return value.model_dump(by_alias=True, warnings=False)
    return "\ud800"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, child in cast("dict[Any, Any]", value).items():
            if not isinstance(key, str):
                yield f"{path}[{key!r}]", key
            yield from _leaves(child, path + _member(key))
    elif isinstance(value, (list, tuple)):
        for i, child in enumerate(cast("list[Any]", value)):
            yield from _leaves(child, f"{path}[{i}]")
    else:
        yield path, value


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
