"""What msgspec does with values of classes that it does not know: its two hooks."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from typedq.contracts.foreign import StandIn, is_pydantic

_MOMENT = ("year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo")
# A subclass may redefine `__str__`, `days` and the like: what is written is the base's own value.
_BASE_VALUES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes(memoryview(value))),
    (Decimal, Decimal),
    (dt.datetime, lambda value: dt.datetime(*_parts(dt.datetime, value, _MOMENT))),  # noqa: DTZ001
    (dt.date, lambda value: dt.date(*_parts(dt.date, value, _MOMENT[:3]))),
    (dt.time, lambda value: dt.time(*_parts(dt.time, value, _MOMENT[3:]))),
    (
        dt.timedelta,
        lambda value: dt.timedelta(
            *_parts(dt.timedelta, value, ("days", "seconds", "microseconds"))
        ),
    ),
)


def _parts(base: Any, value: Any, names: tuple[str, ...]) -> list[Any]:
    return [getattr(base, name).__get__(value) for name in names]


def encode_value(value: Any) -> Any:
    """Return what the encoder writes for a value of a class that it does not know.

    Raises TypeError if there is nothing.
    """
    if is_pydantic(type(value)):
        from typedq.contracts.pydantic_types.adapter import plain_model

        return plain_model(value)
    for base, plain in _BASE_VALUES:
        if isinstance(value, base):
            return plain(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def decode_value(kind: Any, value: Any) -> Any:
    """Return the value of the class `kind` for what the decoder read in its place."""
    if isinstance(kind, StandIn):
        return kind.load(value)
    if is_pydantic(kind):
        from typedq.contracts.pydantic_types.adapter import adapter_of

        return adapter_of(kind).from_builtins(value)
    if isinstance(kind, enum.EnumMeta):
        return _member(kind, value)
    raise TypeError(f"{kind!r} cannot be read from JSON")


def _member(kind: Any, value: Any) -> Any:
    """A member of an enum with a metaclass of its own, which msgspec leaves to us."""
    found = next((one for one in kind if one.value == value), None)
    if found is None or isinstance(value, (bool, float)) is not isinstance(found.value, bool):
        raise ValueError(f"Invalid enum value {value!r}")
    return found
