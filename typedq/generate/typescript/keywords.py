"""The keywords of the dialect that are read, and the types of TypeScript for forms of text."""

from __future__ import annotations

from typing import Final

from typedq.contracts.dialect import ANNOTATIONS, DEFINITIONS, ROOT_ANNOTATIONS

IGNORED = (
    ANNOTATIONS | DEFINITIONS | ROOT_ANNOTATIONS | {"x-typedq-payload", "x-typedq-rank", "$ref"}
)
BRANDS: Final = {
    "bytes": "Bytes",
    "base64url-bytes": "UrlBytes",
    "hex-bytes": "HexBytes",
    "uuid": "Uuid",
    "decimal": "Decimal",
    "date": "CalendarDate",
    "datetime": "DateTime",
    "aware-datetime": "AwareDateTime",
    "naive-datetime": "NaiveDateTime",
    "time": "Time",
    "aware-time": "AwareTime",
    "naive-time": "NaiveTime",
    "timedelta": "Duration",
    "timedelta-years": "Duration",
}
PLAIN: Final = ("", "utf8-bytes", "path", "boolean")
ALTERED: Final = {
    "strip_whitespace": "trimmed",
    "to_lower": "lower",
    "to_upper": "upper",
    "ascii_only": "ascii",
}

_NUMBERS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
# By type, those that describe its values.
KNOWN: dict[str, frozenset[str]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": _NUMBERS | {"multipleOf", "x-typedq-mask"},
    "number": _NUMBERS | {"not"},
    "string": frozenset(
        ("minLength", "maxLength", "x-typedq-minBytes", "x-typedq-maxBytes", "pattern", "format")
    )
    | {"contentEncoding", "x-typedq-type", "x-typedq-text", "x-typedq-uuid", "not"},
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems", "uniqueItems"))
    | {"x-typedq-type", "x-typedq-elements"},
    "object": frozenset(("properties", "required", "additionalProperties", "minProperties"))
    | {"maxProperties", "propertyNames", "x-typedq-lone-tag"},
}
