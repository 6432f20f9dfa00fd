"""Whether any value at all fits a schema that typedq wrote."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from typedq.contracts.json_tree import is_object

_RANGES = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("x-typedq-minBytes", "x-typedq-maxBytes"),
)
# Characters of the shortest text; a model's `str_max_length` bounds these, too.
_SHORTEST = {"email": 5, "ipv4": 7, "ipv4interface": 9, "ipv4network": 9, "path": 1}
_LOW, _HIGH = ("ge", "gt"), ("le", "lt")
_NUMBERS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
    "step": "multipleOf",
}  # fmt: skip
_MOST_DIGITS = 400


def dead_end(document: dict[str, Any]) -> str | None:
    """Return the path of what no value fits, and so none fits the whole; None if some does.

    A type that needs itself inside, without an end, has no value either.
    """
    search = _Search(document)
    if search.fits(document):
        return None
    path, schema = "$", document
    while (step := next(search.dead_parts(schema), None)) is not None:
        path, schema = path + step[0], step[1]
        if len(path) > 200:  # it turns in a circle
            return "$"
    return path


class _Search:
    def __init__(self, document: dict[str, Any]) -> None:
        definitions: dict[str, Any] = document.get("$defs", {})
        self._definitions = {f"#/$defs/{name}": body for name, body in definitions.items()}
        self._alive = dict.fromkeys(self._definitions, False)
        while found := [
            ref for ref, alive in self._alive.items() if not alive and self._lives(ref)
        ]:
            self._alive.update(dict.fromkeys(found, True))

    def _lives(self, ref: str) -> bool:
        return self.fits(self._definitions[ref])

    def fits(self, schema: Any) -> bool:
        """Return True if a value fits, as far as is known of what the schema refers to."""
        if not is_object(schema):
            return schema is not False
        ref = schema.get("$ref")
        if ref is not None and not self._alive.get(ref, True):
            return False
        return self._own(schema) and next(self.dead_parts(schema), None) is None

    def dead_parts(self, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the parts that every value must have, and that no value fits."""
        ref = schema.get("$ref")
        if ref is not None and not self._alive.get(ref, True):
            yield from self.dead_parts(self._definitions[ref])
        for key in ("anyOf", "oneOf"):
            if schema.get(key) and not any(map(self.fits, schema[key])):
                yield "", schema[key][0]
        properties: dict[str, Any] = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name in properties and not self.fits(properties[name]):
                yield f".{name}", properties[name]
        least: int = schema.get("minItems", 0)
        prefix: list[Any] = schema.get("prefixItems", [])
        rows = [*prefix, *[schema.get("items", True)] * (least > len(prefix))]
        for i, row in enumerate(rows[:least]):
            if not self.fits(row):
                yield f"[{i}]", row
        others: Any = schema.get("additionalProperties", True)
        if schema.get("minProperties", 0) > len(properties) and not self.fits(others):
            yield "[...]", others

    def _own(self, schema: dict[str, Any]) -> bool:
        """Whether the keywords of the schema itself leave a value."""
        if "enum" in schema and not schema["enum"]:
            return False
        if any(schema.get(low, 0) > schema.get(high, math.inf) for low, high in _RANGES):
            return False
        bounds: dict[str, Any] = schema.get("x-typedq-bounds", {})
        if not (_leaves_moments(bounds) and _leaves_decimals(schema.get("x-typedq-decimal", {}))):
            return False
        keys = self._count(schema.get("propertyNames")) + len(schema.get("properties", ()))
        items = self._count(schema.get("items")) if schema.get("uniqueItems") else math.inf
        if schema.get("minProperties", 0) > keys or schema.get("minItems", 0) > items:
            return False
        if _SHORTEST.get(schema.get("format", ""), 0) > schema.get("maxLength", math.inf):
            return False
        at = {key: Fraction(schema[name]) for key, name in _NUMBERS.items() if name in schema}
        step: Any = at.pop("step", 1 if schema.get("type") == "integer" else None)
        largest = max(map(abs, at.values()), default=0)
        nearly = (step or 0) / 10**6 + largest / 10**9 if schema.get("type") == "number" else 0
        widened = {key: end - nearly if key in _LOW else end + nearly for key, end in at.items()}
        return _leaves_some(at) and _leaves_some(widened, step)

    def _count(self, schema: Any) -> float:
        """How many values a schema lists; without an end, if it lists none."""
        if not is_object(schema):
            return math.inf
        if "$ref" in schema:
            return self._count(self._definitions.get(schema["$ref"]))
        few = {"boolean": 2, "null": 1}.get(str(schema.get("type")), math.inf)
        return len(schema["enum"]) if "enum" in schema else few


def _leaves_some(at: dict[str, Any], step: Any = None) -> bool:
    """Whether bounds leave a value, or a multiple of a step, between them."""
    for x, y in ((x, y) for x in _LOW for y in _HIGH if x in at and y in at):
        first = at[x] if step is None else math.ceil(at[x] / step) * step
        if x == "gt" and step is not None and first == at[x]:
            first += step
        is_open = y == "lt" or (x == "gt" and step is None)
        if first > at[y] or (is_open and first == at[y]):
            return False
    return True


def _leaves_moments(bounds: dict[str, Any]) -> bool:
    at = {key: moment_of(bounds[key]) for key in (*_LOW, *_HIGH) if key in bounds}
    try:
        if all(type(moment) is dt.date for moment in at.values()):
            days = {key: day.toordinal() for key, day in at.items()}
            return _leaves_some({"ge": 1, "le": dt.date.max.toordinal(), **days}, 1)
        return _leaves_some(at)
    except TypeError:  # with and without a time zone
        return True


def _leaves_decimals(bounds: dict[str, Any]) -> bool:
    known = {key: Decimal(bounds[key]) for key in bounds.keys() - {"allow_inf_nan"}}
    if any(abs(number.adjusted()) > _MOST_DIGITS for number in known.values()):
        return True  # it would take long
    at = {key: Fraction(number) for key, number in known.items()}
    digits, places, step = (
        at.pop(k, None) for k in ("max_digits", "decimal_places", "multiple_of")
    )
    steps = [step, None if places is None else Fraction(1, 10 ** int(places))]
    if digits is not None:
        limit = Fraction(10) ** int(digits - (places or 0))
        at |= {"lt": min(at.get("lt", limit), limit), "gt": max(at.get("gt", -limit), -limit)}
    return all(_leaves_some(at, step) for step in (None, *filter(None, steps)))


def moment_of(text: Any) -> Any:
    """Return the date, datetime, time of day or seconds that a bound names; None for any other."""
    try:
        if text.startswith("PT"):
            return Decimal(text[2:-1])
        if len(text) == 10:
            return dt.date.fromisoformat(text)
        return (dt.datetime if "T" in text else dt.time).fromisoformat(text)
    except (AttributeError, ValueError, ArithmeticError):
        return None
