"""Types that hold no other types, as source, with what `msgspec.Meta` says beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from typedq.generate.python.names import literal

Refuse = Callable[[str], NoReturn]
_NUMBERS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_TEXTS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_BYTES = {"x-typedq-minBytes": "min_length", "x-typedq-maxBytes": "max_length"}
_FINER = {
    "bytes": "bytes",
    "date": "_datetime.date",
    "timedelta": "_datetime.timedelta",
    "uuid": "_uuid.UUID",
    "decimal": "_decimal.Decimal",
    "datetime": "_datetime.datetime",
    "time": "_datetime.time",
}
# Texts whose type pydantic reads: format and x-typedq-url -> type.
_FORMATS: list[tuple[str, dict[str, Any], str]] = [
    ("email", {}, "_pydantic.EmailStr"),
    ("uri", {"schemes": ["http", "https"], "maxLength": 2083}, "_pydantic.HttpUrl"),
    ("uri", {"schemes": ["http", "https"]}, "_pydantic.AnyHttpUrl"),
    ("uri", {}, "_pydantic.AnyUrl"),
    ("path", {}, "_pathlib.Path"),
    ("ipv4", {}, "_ipaddress.IPv4Address"),
    ("ipv6", {}, "_ipaddress.IPv6Address"),
    ("ipv4network", {}, "_ipaddress.IPv4Network"),
    ("ipv6network", {}, "_ipaddress.IPv6Network"),
    ("ipvanyaddress", {}, "_pydantic.IPvAnyAddress"),
]
_SCALARS = {"null": "None", "boolean": "bool", "integer": "int", "number": "float"}


def of(plain: Mapping[str, Any], refuse: Refuse) -> tuple[str, list[str]]:
    """Return a type and its notes for a schema without annotations."""
    if plain["type"] == "string":
        return _text(plain, refuse)
    known = _NUMBERS if plain["type"] in ("integer", "number") else {}
    only(plain, set(known), refuse)
    return _SCALARS[plain["type"]], meta(plain, known)


def _text(plain: Mapping[str, Any], refuse: Refuse) -> tuple[str, list[str]]:
    finer: str = plain.get("x-typedq-type", "")
    if not finer and "format" in plain and not plain.keys() - {"type", "format", "x-typedq-url"}:
        asked = plain["format"], plain.get("x-typedq-url", {})
        for standard, url, kind in _FORMATS:
            if (standard, url) == asked:
                return kind, []
    if not finer:
        if plain.get("x-typedq-text", {}) not in ({}, {"engine": "python-re"}):
            refuse("no Python type says x-typedq-text")
        only(plain, {*_TEXTS, "x-typedq-text"}, refuse)
        return "str", meta(plain, _TEXTS)
    zone, _, moment = finer.rpartition("-")
    if moment not in _FINER or zone not in ("", "aware", "naive"):
        refuse(f"no Python type stands for {finer!r}")
    lengths = {"minLength", "maxLength", "contentEncoding"} if finer == "bytes" else set[str]()
    only(plain, {"format", "x-typedq-type", *_BYTES, *lengths}, refuse)
    zones = [f"_msgspec.Meta(tz={zone == 'aware'})"] if zone else []
    return _FINER[moment], [*zones, *meta(plain, _BYTES)]


def only(plain: Mapping[str, Any], known: set[str], refuse: Refuse) -> None:
    """Refuse keywords that are not known."""
    if strange := sorted(plain.keys() - known - {"type"}):
        refuse(f"no Python type says {', '.join(strange)}")


def meta(plain: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Return a `msgspec.Meta` for those keywords that are there, or nothing."""
    facts = [f"{name}={literal(plain[key])}" for key, name in names.items() if key in plain]
    return [f"_msgspec.Meta({', '.join(facts)})"] if facts else []
