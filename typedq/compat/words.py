"""What an alternative is called in a sentence."""

from __future__ import annotations

from typedq.compat.difference import quoted
from typedq.compat.normal_form import Alternative
from typedq.compat.values import text_form
from typedq.contracts.json_tree import NOTHING

NAMES = {
    "": "text",
    "bytes": "bytes in base64",
    "utf8-bytes": "bytes as text",
    "decimal": "a decimal number as text",
    "timedelta": "a duration without years",
    "timedelta-years": "a duration, which pydantic writes with years from 365 days on",
    "uuid": "a UUID",
    "aware-datetime": "a datetime with time zone",
    "naive-datetime": "a datetime without time zone",
    "aware-time": "a time of day with time zone",
    "naive-time": "a time of day without time zone",
    "integer": "whole numbers",
}
_KIND_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


def describe(alternative: Alternative) -> str:
    """Return a few words for a person."""
    if alternative.constant is not NOTHING:
        return quoted(alternative.constant)
    if alternative.kind == "string":
        form = text_form(alternative.facets)
        return NAMES.get(form, f"a {form}")
    return _KIND_NAMES.get(alternative.kind, alternative.kind)
