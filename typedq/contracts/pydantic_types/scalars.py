"""Core schemas of types that hold no other types."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic_core import SchemaSerializer, SchemaValidator, ValidationError

from typedq.contracts.constraints import plain_number
from typedq.contracts.fragments import NEARLY, Schema, about, enum_values
from typedq.contracts.pydantic_types.walk import Core, Node, Walk, refuse
from typedq.contracts.scalars import PYTHON_RE, moment

_NUMBER = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXT = {"min_length": "minLength", "max_length": "maxLength"}
_BYTES = {"min_length": "x-typedq-minBytes", "max_length": "x-typedq-maxBytes"}
_BYTE_TEXTS = {
    "utf8": {"format": "binary", "x-typedq-type": "utf8-bytes"},
    "base64": {"contentEncoding": "base64url", "x-typedq-type": "base64url-bytes"},
    "hex": {"contentEncoding": "base16", "x-typedq-type": "hex-bytes"},
}
_ORDER = ("ge", "gt", "le", "lt")
_DECIMAL = (*_ORDER, "multiple_of", "max_digits", "decimal_places")
_URL = {
    "max_length": "maxLength",
    "allowed_schemes": "schemes",
    "host_required": "host",
    "default_host": "defaultHost",
    "default_port": "defaultPort",
    "default_path": "defaultPath",
    "preserve_empty_path": "emptyPath",
}
_YEAR = dt.timedelta(days=365)
_ZONES: dict[object, bool] = {"aware": True, "naive": False}


def _bounds(node: Core, names: dict[str, str]) -> Schema:
    return {names[key]: value for key, value in node.items() if key in names}


def _string(walk: Walk, node: Core, _path: str) -> Schema:
    found = {
        name: value
        for key, name in _TEXT.items()
        if (value := walk.option(node, key, f"str_{key}")) is not None
    }
    changes: Schema = {}
    for key in ("strip_whitespace", "to_lower", "to_upper"):
        if walk.option(node, key, f"str_{key}"):
            changes[key] = True
    if node.get("ascii_only"):
        changes["ascii_only"] = True
    pattern: Any = node.get("pattern")
    if pattern is not None:
        found["pattern"] = getattr(pattern, "pattern", pattern)
        engine = walk.option(node, "regex_engine", "regex_engine") or "rust-regex"
        if not isinstance(pattern, str):
            engine = f"{PYTHON_RE}:{pattern.flags & ~re.UNICODE.value}"
        if engine != "rust-regex":
            changes["engine"] = engine
    return {"type": "string", **found, **({"x-typedq-text": changes} if changes else {})}


def _bytes(walk: Walk, node: Core, path: str) -> Schema:
    modes = [walk.config.get(f"{way}_json_bytes", "utf8") for way in ("ser", "val")]
    if modes[0] != modes[1]:
        refuse(path, "ser_json_bytes and val_json_bytes differ, so it cannot be read back")
    return {"type": "string", **_BYTE_TEXTS[modes[0]], **_bounds(node, _BYTES)}


def _decimal(walk: Walk, node: Core, _path: str) -> Schema:
    bounds: Schema = {key: str(node[key]) for key in _DECIMAL if key in node}
    if walk.option(node, "allow_inf_nan", "allow_inf_nan"):
        bounds["allow_inf_nan"] = True
    finer = {"x-typedq-decimal": bounds} if bounds else {}
    return {"type": "string", "format": "decimal", "x-typedq-type": "decimal", **finer}


def _iso(value: Any) -> str:
    if isinstance(value, dt.timedelta):
        return f"PT{value.total_seconds()}S"
    text: str = value.isoformat()
    return text


def _bounded(walk: Walk, node: Core, path: str) -> Schema:
    """What a date, a time or a duration must be, which JSON Schema has no keyword for."""
    for option in ("ser_json_temporal", "ser_json_timedelta"):
        if walk.config.get(option, "iso8601") != "iso8601":
            refuse(path, f"{option} writes numbers, which cannot be read back; leave it out")
    bounds: Schema = {key: _iso(node[key]) for key in (*_ORDER, "multiple_of") if key in node}
    bounds |= {key: node[key] for key in ("now_op", "now_utc_offset") if key in node}
    if node.get("microseconds_precision", "truncate") != "truncate":
        bounds["precision"] = node["microseconds_precision"]
    if isinstance(node.get("tz_constraint"), int):
        bounds["offset"] = node["tz_constraint"]
    return {"x-typedq-bounds": bounds} if bounds else {}


def _moment(name: str, standard: str) -> Callable[[Walk, Core, str], Schema]:
    def write(walk: Walk, node: Core, path: str) -> Schema:
        zone = _ZONES.get(node.get("tz_constraint"))
        walk.times = walk.times or name == "time"
        walk.moments = walk.moments or name == "datetime"
        return {**moment(name, standard, zone), **_bounded(walk, node, path)}

    return write


def _date(walk: Walk, node: Core, path: str) -> Schema:
    return {"type": "string", "format": "date", "x-typedq-type": "date"} | _bounded(
        walk, node, path
    )


def _timedelta(walk: Walk, node: Core, path: str) -> Schema:
    """Of a year or more pydantic writes years, which msgspec does not read."""
    low, high = (
        min((abs(node[key]) for key in keys if key in node), default=_YEAR)
        for keys in (("ge", "gt"), ("le", "lt"))
    )
    finer = "timedelta" if low < _YEAR > high else "timedelta-years"
    plain = {"type": "string", "format": "duration", "x-typedq-type": finer}
    return {**plain, **_bounded(walk, node, path)}


def _uuid(_walk: Walk, node: Core, _path: str) -> Schema:
    version = {"x-typedq-uuid": node["version"]} if "version" in node else {}
    return {"type": "string", "format": "uuid", "x-typedq-type": "uuid", **version}


def _url(format_name: str) -> Callable[[Walk, Core, str], Schema]:
    def write(walk: Walk, node: Core, _path: str) -> Schema:
        facts = _bounds(node, _URL)
        if "schemes" in facts:
            facts["schemes"] = sorted(facts["schemes"])
        if walk.config.get("url_preserve_empty_path"):
            facts["emptyPath"] = True
        return {
            "type": "string",
            "format": format_name,
            **({"x-typedq-url": facts} if facts else {}),
        }

    return write


def _literal(_walk: Walk, node: Core, path: str) -> Schema:
    values = list(node["expected"])
    unreadable = _unreadable({"type": "literal", "expected": values}, values)
    if unreadable is not None:
        hint = "take the enum itself, or let it derive from str" if _is_enum(unreadable) else ""
        refuse(path, f"Literal[{unreadable}] cannot be read back; {hint or 'take str or int'}")
    return {"enum": [value.value if _is_enum(value) else value for value in values]}


def _is_enum(value: object) -> bool:
    return isinstance(value, enum.Enum)


def _unreadable(node: Any, values: list[Any]) -> Any:
    """The first of some values that does not come back through strict JSON, or None."""
    writer, reader = SchemaSerializer(node), SchemaValidator(node)
    for value in values:
        try:
            read = reader.validate_json(writer.to_json(value), strict=True)
        except (ValidationError, ValueError):
            return value
        if read != value or type(read) is not type(value):
            return value
    return None


def _enum(walk: Walk, node: Core, path: str) -> Schema:
    cls, members = node["cls"], list(node["members"])
    plain = {key: value for key, value in node.items() if key not in ("serialization", "ref")}
    if (unreadable := _unreadable(plain, members)) is not None:
        refuse(path, f"{unreadable} cannot be read back; give {cls.__name__} str or int values")
    return walk.named(node, cls.__name__, lambda: {**about(cls), **enum_values(cls, 2**63 - 1)})


def _plain(schema: Schema) -> Callable[[Walk, Core, str], Schema]:
    return lambda _walk, _node, _path: {**schema}


def _number(kind: str) -> Callable[[Walk, Core, str], Schema]:
    def write(_walk: Walk, node: Core, path: str) -> Schema:
        bounds = {key: _finite(node[key], key, path) for key in _NUMBER if key in node}
        nearly = {NEARLY: True} if kind == "number" and "multiple_of" in bounds else {}
        return {"type": kind, **_bounds(bounds, _NUMBER), **nearly}

    return write


def _finite(bound: Any, key: str, path: str) -> float:
    if (number := plain_number(bound)) is None:
        what = f"{key}={bound!r:.60} is no number that JSON can say"
        refuse(path, f"{what}; write another, or leave it out")
    return number


def _refused(reason: str) -> Node:
    def write(_walk: Walk, _node: Core, path: str) -> NoReturn:
        refuse(path, reason)

    return Node(write, _ANYTHING)


def _instance(_walk: Walk, node: Core, path: str) -> NoReturn:
    name = getattr(node["cls"], "__name__", str(node["cls"]))
    refuse(path, f"pydantic does not read {name} from JSON; make it a model or a dataclass")


_ANYTHING = frozenset(
    ("cls", "cls_repr", "schema", "ge", "gt", "le", "lt", "multiple_of", "items_schema")
) | {"min_length", "max_length"}
_TEMPORAL = frozenset((*_ORDER, "now_op", "now_utc_offset"))
_PRECISE = frozenset(("tz_constraint", "microseconds_precision"))
_FREE = "Any says nothing about its values; name the type, or write typedq.Json"
SCALARS: dict[str, Node] = {
    "any": _refused(_FREE),
    "none": Node(_plain({"type": "null"})),
    "bool": Node(_plain({"type": "boolean"})),
    "int": Node(_number("integer"), frozenset(_NUMBER)),
    "float": Node(_number("number"), frozenset((*_NUMBER, "allow_inf_nan"))),
    "str": Node(
        _string,
        frozenset((*_TEXT, "pattern", "strip_whitespace", "to_lower", "to_upper", "ascii_only"))
        | {"regex_engine", "coerce_numbers_to_str"},
    ),
    "bytes": Node(_bytes, frozenset(_BYTES)),
    "decimal": Node(_decimal, frozenset((*_DECIMAL, "allow_inf_nan"))),
    "date": Node(_date, _TEMPORAL),
    "datetime": Node(_moment("datetime", "date-time"), _TEMPORAL | _PRECISE),
    "time": Node(_moment("time", "time"), frozenset(_ORDER) | _PRECISE),
    "timedelta": Node(_timedelta, frozenset((*_ORDER, "multiple_of", "microseconds_precision"))),
    "uuid": Node(_uuid, frozenset(("version",))),
    "url": Node(_url("uri"), frozenset(_URL)),
    "multi-host-url": Node(_url("multi-host-uri"), frozenset(_URL)),
    "literal": Node(_literal, frozenset(("expected",))),
    "enum": Node(_enum, frozenset(("cls", "members", "sub_type", "missing"))),
    "json": _refused(
        "pydantic's Json reads text, but writes the value in it; take the value's own type"
    ),
    "is-instance": Node(_instance, _ANYTHING),
    "is-subclass": _refused("a class has no JSON form; take its name as a str"),
    "callable": _refused("a function has no JSON form; take its name as a str"),
    "generator": _refused("an iterator is used up when it is written; take a list"),
    "complex": _refused("complex has no JSON Schema that others read; take two floats"),
    "fraction": _refused("Fraction has no JSON form that others read; take two ints, or Decimal"),
    "missing-sentinel": _refused("MISSING has no JSON form; use a default, such as None"),
}
