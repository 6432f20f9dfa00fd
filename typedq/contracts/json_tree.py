"""Parsed JSON: what a piece of it is, its canonical text, and whether two values are equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeGuard

NOTHING: Any = object()
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_MAX_NUMBER = 10**300  # beyond, arithmetic on floats overflows


class NotJson(ValueError):
    """A value that JSON cannot carry, or one beyond the limits of size and depth."""


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Return True if `value` is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Return True if `value` is a JSON array."""
    return isinstance(value, list)


def text_of(value: Any) -> str:
    """Return canonical JSON, in which 1, 1.0, true and "1" all differ."""
    return _encode(value)


def equality_key(value: Any) -> str:
    """Return a text that is the same for values that JSON Schema calls equal, as 1 and 1.0."""
    return (
        text_of(_whole_floats(value)) if isinstance(value, float | list | dict) else text_of(value)
    )


def _whole_floats(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_array(value):
        return [_whole_floats(item) for item in value]
    if is_object(value):
        return {key: _whole_floats(item) for key, item in value.items()}
    return value


def redirect(value: Any, refs: Mapping[str, str]) -> Any:
    """Return `value` with each `$ref` replaced by its new address."""
    if is_array(value):
        return [redirect(item, refs) for item in value]
    if not is_object(value):
        return value
    return {
        key: refs.get(inner, inner)
        if key == "$ref" and isinstance(inner, str)
        else redirect(inner, refs)
        for key, inner in value.items()
    }


def check_json(value: Any, max_nodes: int, max_depth: int) -> None:
    """Raise `NotJson` unless `value` is a JSON tree of at most so many values and levels.

    A Python object that holds itself, or one part very often, exceeds the limits, too.
    """
    waiting, nodes = [(value, 0)], 0
    while waiting:
        part, depth = waiting.pop()
        nodes += 1
        if nodes > max_nodes:
            raise NotJson(f"it has more than {max_nodes:,} values")
        if depth > max_depth:
            raise NotJson(f"it is nested more than {max_depth} levels deep")
        if isinstance(part, dict):
            _check_texts(part)
            waiting.extend([(item, depth + 1) for item in part.values()])
        elif isinstance(part, list):
            waiting.extend([(item, depth + 1) for item in part])
        elif isinstance(part, str):
            _check_texts((part,))
        elif isinstance(part, int | float):
            if not (
                isfinite(part) if isinstance(part, float) else -_MAX_NUMBER < part < _MAX_NUMBER
            ):
                raise NotJson("it holds a number that is not finite or is beyond 1e300")
        elif part is not None:
            raise NotJson(f"it holds a {type(part).__name__}, which is not JSON")


def _check_texts(texts: Any) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise NotJson(f"it has a key that is a {type(text).__name__}, not text")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise NotJson("it holds half of a surrogate pair, which is not Unicode") from None
