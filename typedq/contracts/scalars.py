"""The schemas of types that hold no other types."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import inspect as mi

from typedq.contracts.fragments import Schema, given

_NUMBER_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXT_BOUNDS = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_BASE64_LENGTHS = {"min_length": "minLength", "max_length": "maxLength"}
_BYTE_LENGTHS = {"min_length": "x-typedq-minBytes", "max_length": "x-typedq-maxBytes"}
PYTHON_RE = "python-re"
_CLASS = r"\[\^?(?:[^\]\[\\&~|]|\\[\\./+*?()\[\]{}|^$-])+\]"
_PORTABLE = re.compile(
    rf"(?:{_CLASS}|\\[\\./+*?()\[\]{{}}|^$-]|\(\?:|\((?!\?)|[^\\\[\](){{}}*+?$]|\)|"
    r"\{\d{1,2}(?:,\d{0,2})?\}|[*+?])*", re.ASCII
)  # fmt: skip


def scalar(kind: mi.Type) -> Schema | None:
    """The schema of a scalar type, or None if it is none."""
    write = _SCALARS.get(type(kind))
    return write(kind) if write else None


def _integer(kind: mi.IntType) -> Schema:
    return {"type": "integer", **given(kind, _NUMBER_BOUNDS)}


def _number(kind: mi.FloatType) -> Schema:
    return {"type": "number", **given(kind, _NUMBER_BOUNDS)}


def _string(kind: mi.StrType) -> Schema:
    portable = kind.pattern is None or is_portable(kind.pattern)
    engine = {} if portable else {"x-typedq-text": {"engine": PYTHON_RE}}
    return {"type": "string", **given(kind, _TEXT_BOUNDS), **engine}


def is_portable(pattern: str) -> bool:
    """Return True if Python's `re` and Rust's regex, which pydantic uses, agree about a pattern.

    They differ in `$` before a line break, classes such as that of digits, and sets within sets.
    """
    return "--" not in pattern and _PORTABLE.fullmatch(pattern) is not None


def _bytes(kind: mi.BytesType) -> Schema:
    base64 = {"type": "string", "contentEncoding": "base64", "x-typedq-type": "bytes"}
    lengths = {key: 4 * ((n + 2) // 3) for key, n in given(kind, _BASE64_LENGTHS).items()}
    return {**base64, **lengths, **given(kind, _BYTE_LENGTHS)}


def moment(name: str, standard: str, zone: bool | None) -> Schema:
    """A `datetime` or `time` with a zone (True), without (False), or either (None)."""
    finer = {True: "aware-", False: "naive-", None: ""}[zone] + name
    return {"type": "string", **({"format": standard} if zone else {}), "x-typedq-type": finer}


def _text(standard: str, finer: str) -> Callable[[Any], Schema]:
    return lambda _: {"type": "string", "format": standard, "x-typedq-type": finer}


_SCALARS: dict[type[mi.Type], Callable[[Any], Schema]] = {
    mi.NoneType: lambda _: {"type": "null"},
    mi.BoolType: lambda _: {"type": "boolean"},
    mi.IntType: _integer,
    mi.FloatType: _number,
    mi.StrType: _string,
    mi.BytesType: _bytes,
    mi.ByteArrayType: _bytes,
    mi.MemoryViewType: _bytes,
    mi.DateTimeType: lambda kind: moment("datetime", "date-time", kind.tz),
    mi.TimeType: lambda kind: moment("time", "time", kind.tz),
    mi.DateType: _text("date", "date"),
    mi.TimeDeltaType: _text("duration", "timedelta"),
    mi.UUIDType: _text("uuid", "uuid"),
    mi.DecimalType: _text("decimal", "decimal"),
    mi.LiteralType: lambda kind: {"enum": list(kind.values)},
}
