"""Texts and numbers whose type only pydantic reads, as source."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from typedq.contracts import ByPydantic, document
from typedq.contracts.dialect import ANNOTATIONS, ROOT_ANNOTATIONS
from typedq.contracts.fragments import NEARLY
from typedq.contracts.inhabited import moment_of
from typedq.contracts.type_tree import NoSchema
from typedq.generate.python.names import Refuse, literal

_TYPES = {
    "ipaddress": "IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network",
    "pathlib": "Path",
    "re": "Pattern[str]",
    "zoneinfo": "ZoneInfo",
    "pydantic": "EmailStr NameEmail HttpUrl AnyHttpUrl AnyUrl FtpUrl FileUrl WebsocketUrl"
    " AnyWebsocketUrl PostgresDsn CockroachDsn AmqpDsn RedisDsn MongoDsn KafkaDsn NatsDsn MySQLDsn"
    " MariaDBDsn ClickHouseDsn SnowflakeDsn IPvAnyAddress IPvAnyInterface IPvAnyNetwork ByteSize"
    " Base64Bytes Base64Str Base64UrlBytes Base64UrlStr FilePath DirectoryPath NewPath SocketPath"
    " PastDate FutureDate PastDatetime FutureDatetime UUID1 UUID3 UUID4 UUID5 UUID6 UUID7 UUID8",
}
_MARK = "_typedq.ByPydantic"
_Found = tuple[str, list[str]] | None
_SAY_NOTHING = ANNOTATIONS | ROOT_ANNOTATIONS
_ORDER = ("ge", "gt", "le", "lt")
_MOMENTS = {
    "date": "_datetime.date",
    "datetime": "_datetime.datetime",
    "aware-datetime": "_pydantic.AwareDatetime",
    "naive-datetime": "_pydantic.NaiveDatetime",
    "time": "_datetime.time",
    "timedelta": "_datetime.timedelta",
    "timedelta-years": "_datetime.timedelta",
}
_ANY_DURATION = {"type": "string", "format": "duration", "x-typedq-type": "timedelta-years"}
_CHANGES = ("strip_whitespace", "to_lower", "to_upper", "ascii_only")
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
NUMBERS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
BYTES = {"x-typedq-minBytes": "min_length", "x-typedq-maxBytes": "max_length"}
_URL = {
    "maxLength": "max_length",
    "schemes": "allowed_schemes",
    "host": "host_required",
    "defaultHost": "default_host",
    "defaultPort": "default_port",
    "defaultPath": "default_path",
}
_BASES = {"uri": "_pydantic.AnyUrl", "multi-host-uri": "_pydantic.AnyUrl"}


def of(plain: Mapping[str, Any], refuse: Refuse) -> tuple[str, list[str]]:
    """Return a type and its notes for a schema without annotations."""
    found = next((kind for schema, kind in _named() if schema == plain), None) or _made(plain)
    if found is None:
        strange = sorted(plain.keys() - {"type"})
        values = ", ".join(f"{key}: {literal(plain[key])}" for key in strange)
        is_missing = "email" in values and importlib.util.find_spec("email_validator") is None
        hint = "; install email-validator, which pydantic needs for it" if is_missing else ""
        refuse(f"no Python type says {values:.200}{hint}")
    return found


def _made(plain: Mapping[str, Any]) -> _Found:
    with suppress(TypeError, ValueError, AttributeError, ArithmeticError):  # a stranger's values
        kinds = (read(plain) for read in (_number, _decimal, _moment, _text, _bytes, _url))
        return next((kind for kind in kinds if kind is not None), None)
    return None


def instead(kind: str, notes: Sequence[str]) -> tuple[str, list[str]]:
    """Return what pydantic reads in place of a type with notes of msgspec's."""
    zones = {f"_msgspec.Meta(tz={zone == 'aware'})": zone for zone in ("aware", "naive")}
    for note in notes:
        if note in zones and kind == "_datetime.datetime":
            kind = _MOMENTS[f"{zones[note]}-datetime"]
    rest = [note for note in notes if note not in zones and note != _MARK]
    return kind, [note.replace("_msgspec.Meta(", "_pydantic.Field(", 1) for note in rest]


@cache
def _named() -> list[tuple[dict[str, Any], tuple[str, list[str]]]]:
    """Return types by their schemas, which the contracts themselves say."""
    found = list[tuple[dict[str, Any], tuple[str, list[str]]]]()
    for module, names in _TYPES.items():
        for name in names.split():
            plain, _, parameter = name.partition("[")
            kind: Any = getattr(importlib.import_module(module), plain, None)
            kind = kind[str] if parameter else kind
            for notes in ([], [_MARK]):
                try:
                    schema = document(Annotated[kind, ByPydantic] if notes else kind)
                except (NoSchema, ImportError):  # an older pydantic, or a package of its is missing
                    continue
                known = {key: schema[key] for key in schema.keys() - _SAY_NOTHING}
                found.append((known, (f"_{module}.{name}", list[str](notes))))
                break
    return found


def _checked(kind: str, call: str, facts: Mapping[str, str]) -> _Found:
    arguments = ", ".join(f"{name}={source}" for name, source in facts.items())
    return kind, [f"{call}({arguments})", _MARK]


def _number(plain: Mapping[str, Any]) -> _Found:
    if plain["type"] != "number" or plain.keys() - NUMBERS.keys() != {"type", NEARLY}:
        return None
    facts = {name: literal(plain[key]) for key, name in NUMBERS.items() if key in plain}
    return _checked("float", "_pydantic.Field", facts)


def _decimal(plain: Mapping[str, Any]) -> _Found:
    bounds = plain.get("x-typedq-decimal", {})
    if set(plain) != {"type", "format", "x-typedq-type", "x-typedq-decimal"}:
        return None
    facts = dict[str, str]()
    for key, value in bounds.items():
        if key in ("max_digits", "decimal_places"):
            facts[key] = str(int(value))
        elif key in (*_ORDER, "multiple_of"):
            facts[key] = f'_decimal.Decimal("{Decimal(value)}")'
        elif key == "allow_inf_nan" and value is True:
            facts[key] = "True"
        else:
            return None
    return _checked("_decimal.Decimal", "_pydantic.Field", facts)


def _moment(plain: Mapping[str, Any]) -> _Found:
    bounds, kind = plain.get("x-typedq-bounds", {}), _MOMENTS.get(plain.get("x-typedq-type", ""))
    if plain == _ANY_DURATION:
        return "_datetime.timedelta", [_MARK]
    if kind is None or set(plain) - {"format"} != {"type", "x-typedq-type", "x-typedq-bounds"}:
        return None
    facts = {key: _moment_source(value) for key, value in bounds.items() if key in _ORDER}
    if len(facts) < len(bounds) or None in facts.values():
        return None
    return _checked(kind, "_pydantic.Field", {k: v for k, v in facts.items() if v is not None})


def _moment_source(text: object) -> str | None:
    value = moment_of(text)
    if isinstance(value, Decimal):
        return f"_datetime.timedelta(microseconds={int(value * 1_000_000)})"
    zoned = getattr(value, "tzinfo", None)
    source = None if value is None else repr(value).replace("datetime.", "_datetime.")
    return source if zoned is None or "timezone.utc" in str(source) else None


def _text(plain: Mapping[str, Any]) -> _Found:
    changes = plain.get("x-typedq-text", {})
    if plain.keys() - {"type", "x-typedq-text", *_LENGTHS} or changes.keys() - {*_CHANGES}:
        return None
    facts = {name: "True" for name, value in changes.items() if value is True}
    facts |= {name: literal(plain[key]) for key, name in _LENGTHS.items() if key in plain}
    return _checked("str", "_pydantic.StringConstraints", facts)


def _bytes(plain: Mapping[str, Any]) -> _Found:
    """Bytes as pydantic writes them: as text."""
    known = {"type": "string", "format": "binary", "x-typedq-type": "utf8-bytes"}
    if not plain.items() >= known.items() or plain.keys() - {*known, *BYTES}:
        return None
    lengths = {name: str(plain[key]) for key, name in BYTES.items() if key in plain}
    return _checked("bytes", "_pydantic.Field", lengths) if lengths else ("bytes", [_MARK])


def _url(plain: Mapping[str, Any]) -> _Found:
    facts, kind = plain.get("x-typedq-url", {}), _BASES.get(plain.get("format", ""))
    if kind is None or plain.keys() - {"type", "format", "x-typedq-url"} or facts.keys() - {*_URL}:
        return None
    said = {_URL[key]: literal(value) for key, value in facts.items()}
    return _checked(kind, "_pydantic.UrlConstraints", said)
