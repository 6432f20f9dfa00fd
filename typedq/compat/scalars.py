"""How alternatives of plain values differ: numbers, text, constants."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from typedq.compat.difference import Difference, quoted
from typedq.compat.documents import Json
from typedq.compat.normal_form import Alternative
from typedq.contracts.json_tree import NOTHING

_BY_FORMAT = {
    "date-time": "aware-datetime",
    "time": "aware-time",
    "duration": "timedelta",
    "binary": "utf8-bytes",
}
# Text that may be read as a plain string without a change of meaning.
_READABLE = frozenset(
    ("aware-datetime", "naive-datetime", "datetime", "aware-time", "naive-time", "time", "date")
) | {"timedelta", "uuid", "decimal", "email", "uri", "hostname", "ipv4", "ipv6", "regex"}
_WIDER = frozenset(
    (f"{zone}-{name}", name) for zone in ("aware", "naive") for name in ("datetime", "time")
) | {("integer", "number"), ("integer", "decimal"), ("number", "decimal")}
_NARROWER = {
    **{(wide, narrow): NOTHING for narrow, wide in _WIDER},
    ("datetime", "naive-datetime"): "2027-01-31T12:00:00Z",
    ("time", "naive-time"): "12:00:00Z",
}
NOT_TEXT = frozenset(("bytes", "utf8-bytes"))
_NUMERIC = frozenset(("integer", "number"))  # as text, in the keys of objects
_NAMES = {
    "": "text",
    "bytes": "bytes in base64",
    "utf8-bytes": "bytes as text",
    "decimal": "a decimal number as text",
    "timedelta": "a duration",
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


def text_form(alternative: Alternative) -> str:
    """What the text of a string stands for; "" for plain text."""
    facets = alternative.facets
    if form := facets.get("x-typedq-type"):
        return str(form)
    if encoding := facets.get("contentEncoding"):
        return "bytes" if encoding == "base64" else f"{encoding} text"
    form = str(facets.get("format", ""))
    return _BY_FORMAT.get(form, form)


def describe(alternative: Alternative) -> str:
    """A few words for a person."""
    if alternative.constant is not NOTHING:
        return quoted(alternative.constant)
    if alternative.kind == "string":
        form = text_form(alternative)
        return _NAMES.get(form, f"a {form}")
    return _KIND_NAMES.get(alternative.kind, alternative.kind)


def no_difference(w: Alternative, r: Alternative) -> Difference:  # noqa: ARG001
    """Values of a kind that has no keywords."""
    return Difference()


def listed_constant(w: Alternative, r: Alternative) -> Difference:
    """The reader has the same constant, but text can stand for something else: keys 1 and "1"."""
    found = Difference()
    if w.kind == "string" and (form := text_form(r)) != text_form(w):
        found.add("narrower", writer=describe(w), reader=_NAMES.get(form, f"a {form}"))
    return found


def constants(w: Alternative, r: Alternative) -> Difference:
    """The writer writes one value, the reader takes values of that kind."""
    found, value = listed_constant(w, r), w.constant
    if w.kind != "string":
        exactly: Json = dict.fromkeys(("minimum", "maximum", "multipleOf"), value)
        _limits(found, exactly, r.facets, whole=w.kind == "integer")
        return found
    _lengths(found, replace(w, facets=dict.fromkeys(("minLength", "maxLength"), len(value))), r)
    if "pattern" in r.facets:
        found.add("pattern", writer=describe(w), reader=r.facets["pattern"])
    return found


def numbers(w: Alternative, r: Alternative) -> Difference:
    """Numbers read as numbers; a reader of whole numbers is never asked about others."""
    found = Difference()
    if [w.facets.get(k) for k in _FORMS] != [r.facets.get(k) for k in _FORMS]:
        found.add("format", writer=describe(w), reader=describe(r))
    _limits(found, w.facets, r.facets, whole=w.kind == "integer")
    return found


_FORMS = ("format", "contentEncoding", "x-typedq-type")


def decimals(w: Alternative, r: Alternative) -> Difference:
    """A JSON number read as a decimal, which takes numbers too; any other text does not."""
    found = Difference()
    if text_form(r) != "decimal":
        found.add("other type", writer=describe(w), reader=describe(r))
    elif set(w.facets) & set(_FORMS):
        found.add("format", writer=describe(w), reader=describe(r))
    elif "pattern" in r.facets or "maxLength" in r.facets or "minLength" in r.facets:
        found.add("bound", what="a certain pattern or length")
    return found


def strings(w: Alternative, r: Alternative) -> Difference:
    """Text read as text: what it stands for, its length and its pattern."""
    found = Difference()
    left, right = text_form(w), text_form(r)
    ours, theirs = describe(w), describe(r)
    if left != right and (left, right) not in _WIDER and not (left in _READABLE and not right):
        if NOT_TEXT & {left, right}:
            found.add("encoding", writer=ours, reader=theirs)
        elif (left, right) in _NARROWER or not left:
            example = _NARROWER.get((left, right), NOTHING)
            found.add("narrower", writer=ours, reader=theirs, example=example)
        else:
            found.add("format", writer=ours, reader=theirs)
    if {left, right} <= _NUMERIC:
        _limits(found, w.facets, r.facets, whole=left == "integer")
        return found
    _lengths(found, w, r)
    patterns = w.facets.get("pattern"), r.facets.get("pattern")
    if patterns[1] is not None and patterns[0] != patterns[1]:
        if patterns[0] is None:
            found.add("bound", what=f"the pattern {patterns[1]}")
        else:
            found.add("pattern", writer=patterns[0], reader=patterns[1])
    return found


_LENGTHS = (
    ("minLength", "maxLength", "characters"),
    ("x-typedq-minBytes", "x-typedq-maxBytes", "bytes"),
)
Limit = tuple[float, bool]  # the bound, and whether it is itself excluded


def limits(facets: Json, *, whole: bool) -> tuple[Limit | None, Limit | None]:
    """The tightest bounds; of whole numbers, the last ones allowed."""
    lows = [(facets[k], x) for k, x in (("minimum", 0), ("exclusiveMinimum", 1)) if k in facets]
    highs = [(facets[k], -x) for k, x in (("maximum", 0), ("exclusiveMaximum", 1)) if k in facets]
    low, high = max(lows, default=None), min(highs, default=None)
    if whole:
        low = low and ((math.floor(low[0]) + 1 if low[1] else math.ceil(low[0])), 0)
        high = high and ((math.ceil(high[0]) - 1 if high[1] else math.floor(high[0])), 0)
    return low and (low[0], bool(low[1])), high and (high[0], bool(high[1]))


def _limits(found: Difference, w: Json, r: Json, *, whole: bool) -> None:
    written, wanted = limits(w, whole=whole), limits(r, whole=whole)
    for side, (words, strict) in enumerate((("at least", "more than"), ("at most", "less than"))):
        bound, own, sign = wanted[side], written[side], 1 - 2 * side
        if bound is None or (own and (own[0] * sign, own[1]) >= (bound[0] * sign, bound[1])):
            continue
        example: float = bound[0] - sign
        if own is not None:
            example = (own[0] + bound[0]) / 2 if own[1] else own[0]
        end = written[1 - side]
        fits = not w.get("multipleOf") and (end is None or (end[0] - example) * sign >= 0)
        what = f"{strict if bound[1] else words} {bound[0]}"
        found.add("bound", what=what, example=example if fits else NOTHING)
    steps = w.get("multipleOf"), r.get("multipleOf")
    if steps[1] is not None and not _divides(steps[1], steps[0] or (1 if whole else None)):
        found.add("bound", what=f"a multiple of {steps[1]}")


def _divides(step: Any, value: Any) -> bool:
    """Of fractions only the same one counts: 0.3 is no multiple of 0.1 in binary."""
    if step == value:
        return True
    return isinstance(step, int) and isinstance(value, int) and step > 0 and value % step == 0


def _lengths(found: Difference, w: Alternative, r: Alternative) -> None:
    plain = w.constant is NOTHING and not text_form(w) and "pattern" not in w.facets
    for low, high, unit in _LENGTHS:
        written, wanted = w.facets.get(low, 0), r.facets.get(low, 0)
        if written < wanted:
            example = "x" * written if plain else NOTHING
            found.add("bound", what=f"at least {wanted} {unit}", example=example)
        written, wanted = w.facets.get(high), r.facets.get(high)
        if wanted is not None and (written is None or written > wanted):
            fits = plain and w.facets.get(low, 0) <= wanted < 100
            example = "x" * (wanted + 1) if fits else NOTHING
            found.add("bound", what=f"at most {wanted} {unit}", example=example)
