"""Parsed JSON: what a piece of it is, its canonical text, and whether two values are equal."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, TypeGuard, cast

NOTHING: Any = object()
_encode_text = json.encoder.encode_basestring
# What `json.dumps` makes anew for each value: no indent, keys sorted. A comparison needs many.
_encoder: Any = json.encoder
_chunks = _encoder.c_make_encoder(None, None, _encode_text, None, ":", ",", True, False, True)
MAX_NUMBER = 10**300  # beyond, arithmetic on floats overflows


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
    if type(value) is str:
        return _encode_text(value)
    return repr(value) if type(value) is int else "".join(_chunks(value, 0))


class Limits(NamedTuple):
    """Bounds of a document: JSON values, levels, and characters of its texts together."""

    values: int
    depth: int
    characters: int


def check_json(value: Any, limits: Limits) -> None:
    """Raise `NotJson` unless `value` is a JSON tree within the limits.

    A Python object that holds itself, or one part very often, exceeds the limits, too.
    """
    waiting: list[tuple[Collection[Any], int]] = [([value], 0)]
    values = characters = 0
    while waiting:
        parts, depth = waiting.pop()
        values += len(parts)
        if values > limits.values:
            raise NotJson(f"it has more than {limits.values:,} values")
        if depth > limits.depth and parts:
            raise NotJson(f"it is nested more than {limits.depth} levels deep")
        for part in parts:
            if isinstance(part, str):
                characters += len(part) if part.isascii() else _length(part)
            elif isinstance(part, dict):
                characters += _length(cast("Any", part))
                waiting.append((cast("Any", part).values(), depth + 1))
            elif isinstance(part, list | tuple):  # msgspec writes tuples as lists
                waiting.append((cast("list[Any]", part), depth + 1))
            else:
                _check_scalar(part)
        if characters > limits.characters:
            raise NotJson(f"its texts have more than {limits.characters:,} characters")


def _check_scalar(value: Any) -> None:
    if isinstance(value, int | float):
        if not -MAX_NUMBER < value < MAX_NUMBER:  # NaN is not, either
            raise NotJson("it holds a number that is not finite or is beyond 1e300")
    elif value is not None:
        raise NotJson(f"it holds a {type(value).__name__}, which is not JSON")


def _length(texts: Iterable[Any]) -> int:
    """Return how many characters there are, in a text or in the keys of an object."""
    try:
        text = "".join(texts)
        text.encode()
    except TypeError:
        odd = next(one for one in texts if not isinstance(one, str))
        raise NotJson(f"it has a key that is a {type(odd).__name__}, not text") from None
    except UnicodeEncodeError:
        raise NotJson("it holds half of a surrogate pair, which is not Unicode") from None
    return len(text)
