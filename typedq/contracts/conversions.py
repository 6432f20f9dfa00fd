"""Convert values between what msgspec reads and writes and what a task takes.

That is: the two hooks that msgspec calls for classes it does not know, and conversions of what
collections and unions hold.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from typedq.contracts.foreign import StandIn, is_pydantic

Convert = Callable[[Any], Any]
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


def adapter_for(cls: Any) -> Any:
    """Return the `pydantic_types.adapter.Adapter` of a class of pydantic's; None for any other."""
    if isinstance(cls, StandIn):
        return cls.adapter
    if not is_pydantic(cls):
        return None
    from typedq.contracts.pydantic_types.adapter import adapter_of

    return adapter_of(cls)


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
    if (adapter := adapter_for(kind)) is not None:
        return adapter.from_builtins(value)
    if isinstance(kind, enum.EnumMeta):
        return _member(kind, value)
    raise TypeError(f"{kind!r} cannot be read from JSON")


def _member(kind: Any, value: Any) -> Any:
    """A member of an enum with a metaclass of its own, which msgspec leaves to us."""
    found = next((one for one in kind if one.value == value), None)
    if found is None or isinstance(value, (bool, float)) is not isinstance(found.value, bool):
        raise ValueError(f"Invalid enum value {value!r}")
    return found


def convert_each(concrete: Any, parts: list[Convert | None], *, fixed: bool) -> Convert | None:
    """Return a conversion of what a collection holds, or None if nothing of it is converted.

    It leaves any other value as it is.
    """
    each = [part or _same for part in parts]
    convert_all: Convert = lambda held: concrete(map(each[0], held))  # noqa: E731
    accepted: Any = (set, frozenset) if issubclass(concrete, (set, frozenset)) else (list, tuple)

    def entries(held: Any) -> Any:
        key, value = each
        return {key(k): value(v) for k, v in _pairs(held)} if isinstance(held, dict) else held

    def places(held: Any) -> Any:
        if not isinstance(held, accepted) or len(held) != len(each):
            return held
        return tuple([convert(item) for convert, item in zip(each, held, strict=True)])

    def items(held: Any) -> Any:
        return convert_all(held) if isinstance(held, accepted) else held

    if not any(parts):
        return None
    return entries if concrete is dict else places if fixed else items


def _pairs(held: Any) -> Iterable[tuple[Any, Any]]:
    pairs: Iterable[tuple[Any, Any]] = held.items()
    return pairs


def _same(value: Any) -> Any:
    return value


def first_fitting(loads: Iterable[tuple[Any, Convert]]) -> Convert | None:
    """Return a conversion by the first of `loads` that is for a value's class, or None."""
    known = list(loads)

    def load(value: Any) -> Any:
        for decoded, convert in known:
            if isinstance(value, decoded):
                return convert(value)
        return value

    return load if known else None


def one_after_another(dumps: list[Convert]) -> Convert | None:
    """Return a conversion by all of `dumps`, each of which converts its own values only."""

    def dump(value: Any) -> Any:
        for convert in dumps if value is not None else ():
            value = convert(value)
        return value

    return dump if dumps else None
