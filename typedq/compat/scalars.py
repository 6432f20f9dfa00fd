"""How alternatives of plain values differ: numbers, text, constants."""

from __future__ import annotations

from decimal import Decimal
from math import inf
from typing import Any

from typedq.compat.difference import Difference, quoted
from typedq.compat.merging import Json
from typedq.compat.normal_form import Alternative
from typedq.compat.values import (
    LENGTHS,
    NOT_TEXT,
    NUMERIC_KEYS,
    READABLE,
    TEXT_KEYWORDS,
    decimal_facets,
    divides,
    limits,
    matches,
    number_fits,
    text_fits,
    text_form,
)
from typedq.contracts.json_tree import NOTHING, text_of

_EXACT = 2**53  # beyond, not every whole number is a float
_WIDER = frozenset(
    [(f"{zone}-{name}", name) for zone in ("aware", "naive") for name in ("datetime", "time")]
    + [(f"ipv{n}{part}", f"ipvany{part or 'address'}")
       for n in (4, 6) for part in ("", "network", "interface")]
    + [("integer", "number"), ("integer", "decimal"), ("number", "decimal")]
    + [("email", "idn-email"), ("hostname", "idn-hostname"), ("uri", "uri-reference")]
    + [("timedelta", "timedelta-years")]
    + [("file-path", "path"), ("directory-path", "path"), ("uri", "iri")]
)  # fmt: skip
_NARROWER = {
    **{(wide, narrow): NOTHING for narrow, wide in _WIDER},
    ("datetime", "naive-datetime"): "2027-01-31T12:00:00Z",
    ("time", "naive-time"): "12:00:00Z",
    ("timedelta-years", "timedelta"): "P1Y",
}
_NAMES = {
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
        return _NAMES.get(form, f"a {form}")
    return _KIND_NAMES.get(alternative.kind, alternative.kind)


def no_difference(w: Alternative, r: Alternative) -> Difference:  # noqa: ARG001
    """Compare values of a kind that has no keywords."""
    return Difference()


def listed_constant(w: Alternative, r: Alternative) -> Difference:
    """Compare equal constants, whose text may stand for something else, as the keys 1 and "1"."""
    found = Difference()
    if w.kind == "string" and (form := text_form(r.facets)) != text_form(w.facets):
        found.add("narrower", writer=describe(w), reader=_NAMES.get(form, f"a {form}"))
    return found


def constants(w: Alternative, r: Alternative) -> Difference:
    """Compare one value of the writer with a reader of values of its kind."""
    found, value = listed_constant(w, r), w.constant
    if w.kind != "string":
        read = float(value) if r.kind == "number" else value
        if number_fits(r.facets, read, whole=False) is not True:
            w.side.budget.spend(3)
            exactly: Json = dict.fromkeys(("minimum", "maximum", "multipleOf"), read)
            _limits(found, exactly, r.facets, whole=r.kind == "integer")
            _masks(found, exactly, r.facets)
        if (w.kind, r.kind) == ("integer", "number"):
            _rounding(found, value, value)
        return found
    fits = text_fits({**r.facets, **_text_keywords(w)}, value, w.side.budget)
    if fits:
        return found
    if "x-typedq-decimal" in r.facets and fits is None:
        found.add("keyword", what="the keyword x-typedq-decimal")
    facets = {**w.facets, **dict.fromkeys(("minLength", "maxLength"), len(value))}
    _lengths(found, Alternative(w.side, w.kind, facets, {}, value), r)
    pattern = r.facets.get("pattern")
    if pattern is not None and matches(pattern, value, w.side.budget) is not True:
        found.add("pattern", writer=describe(w), reader=pattern)
    if fits is False and not found.refused:
        found.add("bound", what=f"a value other than {quoted(value)}", example=value)
    return found


def _text_keywords(w: Alternative) -> Json:
    return {key: w.facets.get(key) for key in TEXT_KEYWORDS}


def numbers(w: Alternative, r: Alternative) -> Difference:
    """Compare numbers; a reader of whole numbers is never asked about others."""
    found = Difference()
    if [w.facets.get(k) for k in TEXT_KEYWORDS] != [r.facets.get(k) for k in TEXT_KEYWORDS]:
        found.add("format", writer=describe(w), reader=describe(r))
    _numbers(found, w, r, w.kind, r.kind)
    return found


def _numbers(found: Difference, w: Alternative, r: Alternative, left: str, right: str) -> None:
    if (left, right) == ("integer", "number") and not _is_exact(*_whole_limits(w)):
        _limits(found, _as_floats(w), r.facets, whole=False)
        _rounding(found, *_whole_limits(w))
    else:
        _limits(found, w.facets, r.facets, whole=left == "integer")
    _masks(found, w.facets, r.facets)


def _as_floats(w: Alternative) -> Json:
    """Return the bounds and the step that whole numbers keep when they are read as floats."""
    low, high = _whole_limits(w)
    bounds = {"minimum": low, "maximum": high}
    kept: Json = {
        key: bound if bound == float(bound) else float(bound)
        for key, bound in bounds.items()
        if bound is not None
    }
    step = w.facets.get("multipleOf")
    # A float that is large enough to be rounded is a multiple of each small power of two.
    return {**kept, "multipleOf": step & -step if isinstance(step, int) else 1}


def _is_exact(low: Any, high: Any) -> bool:
    return low is not None and high is not None and low >= -_EXACT and high <= _EXACT


def _whole_limits(w: Alternative) -> tuple[Any, Any]:
    low, high = limits(w.facets, whole=True)
    return low and low[0], high and high[0]


def _rounding(found: Difference, low: Any, high: Any) -> None:
    """Warn if a whole number of the writer may have no equal float."""
    if not _is_exact(low, high) and not (low is not None and low == high == float(low)):
        found.add("rounded", what="whole numbers beyond 2**53")


def _masks(found: Difference, w: Json, r: Json) -> None:
    if (mask := r.get("x-typedq-mask")) is None:
        return
    bits = w.get("x-typedq-mask")
    if bits is None or bits & ~mask:
        found.add("bound", what=f"only bits of {mask}")


def decimals(w: Alternative, r: Alternative) -> Difference:
    """Compare a JSON number with a decimal, whose reader takes numbers, too."""
    found = Difference()
    if set(w.facets) & set(TEXT_KEYWORDS):
        found.add("format", writer=describe(w), reader=describe(r))
    elif "pattern" in r.facets or "maxLength" in r.facets or "minLength" in r.facets:
        found.add("bound", what="a certain pattern or length")
    else:
        exactly: Json = dict.fromkeys(("minimum", "maximum", "multipleOf"), w.constant)
        facets = w.facets if w.constant is NOTHING else exactly
        if isinstance(w.constant, int):
            facets = {**exactly, "max_digits": len(str(abs(w.constant)))}
        _decimals(found, facets, decimal_facets(r.facets), whole=w.kind == "integer")
    return found


def is_decimal(r: Alternative) -> bool:
    """Return True if this reader of text takes JSON numbers, too."""
    return r.facets.get("x-typedq-type") == "decimal"


def _decimals(found: Difference, w: Json | None, r: Json | None, *, whole: bool = False) -> None:
    if w is None or r is None:
        found.add("keyword", what="the keyword x-typedq-decimal")
        return
    _limits(found, w, r, whole=whole)
    digits, places = r.get("max_digits"), r.get("decimal_places")
    own_digits: float = w.get("max_digits", inf)
    own_places: float = 0 if whole else w.get("decimal_places", inf)
    if digits is not None and own_digits > digits:
        found.add("bound", what=f"at most {digits} digits")
    elif places is not None and own_places > places:
        found.add("bound", what=f"at most {places} decimal places")
    elif digits and places is not None and own_digits - own_places > digits - places:
        found.add("bound", what=f"at most {digits - places} digits before the point")
    if w.get("allow_inf_nan") and not r.get("allow_inf_nan"):
        found.add("bound", what="a finite number")


def strings(w: Alternative, r: Alternative) -> Difference:
    """Compare text with text: what it stands for, its length and its pattern."""
    found = Difference()
    left, right = text_form(w.facets), text_form(r.facets)
    if left != right:
        _text_forms(found, w, r)
    elif {"x-typedq-type"} <= w.facets.keys() & r.facets and _text_keywords(w) != _text_keywords(r):
        found.add("format", writer=describe(w), reader=describe(r))
    if {left, right} <= NUMERIC_KEYS:
        _numbers(found, w, r, left, right)
        return found
    if right == "decimal":
        texts = [text_of(a.facets.get("x-typedq-decimal")) for a in (w, r)]
        if texts[0] != texts[1]:
            _decimals(found, decimal_facets(w.facets), decimal_facets(r.facets))
    _lengths(found, w, r)
    patterns = w.facets.get("pattern"), r.facets.get("pattern")
    if patterns[1] is not None and patterns[0] is None:
        found.add("bound", what=f"the pattern {patterns[1]}")
    elif patterns[1] is not None and patterns[0] != patterns[1]:
        found.add("pattern", writer=patterns[0], reader=patterns[1])
    return found


def _text_forms(found: Difference, w: Alternative, r: Alternative) -> None:
    left, right = text_form(w.facets), text_form(r.facets)
    if (left, right) in _WIDER or (left in READABLE and not right):
        return
    ours, theirs = describe(w), describe(r)
    if NOT_TEXT & {left, right}:
        found.add("encoding", writer=ours, reader=theirs)
    elif (left, right) in _NARROWER or not left:
        example = _NARROWER.get((left, right), NOTHING)
        found.add("narrower", writer=ours, reader=theirs, example=example)
    else:
        found.add("format", writer=ours, reader=theirs)


_ANY = (0, inf)
_LENGTHS = (
    ("minLength", "maxLength", "characters"),
    ("x-typedq-minBytes", "x-typedq-maxBytes", "bytes"),
)


def _limits(found: Difference, w: Json, r: Json, *, whole: bool) -> None:
    written, wanted = limits(w, whole=whole), limits(r, whole=whole)
    for side, (words, strict) in enumerate((("at least", "more than"), ("at most", "less than"))):
        bound, own, sign = wanted[side], written[side], 1 - 2 * side
        if bound is None or (own and (own[0] * sign, own[1]) >= (bound[0] * sign, bound[1])):
            continue
        example = bound[0] - sign if own is None else own[0]
        if own is not None and own[1] and not isinstance(own[0], Decimal):
            example = (own[0] + bound[0]) / 2
        plain = not isinstance(example, Decimal) and "multipleOf" not in w
        what = f"{strict if bound[1] else words} {bound[0]}"
        found.add("bound", what=what, example=example if plain else NOTHING)
    if "multipleOf" in r:
        own_steps = [w["multipleOf"]] if "multipleOf" in w else []
        if not any(divides(r["multipleOf"], step) for step in own_steps + [1] * whole):
            found.add("bound", what=f"a multiple of {r['multipleOf']}")


def _lengths(found: Difference, w: Alternative, r: Alternative) -> None:
    plain = w.constant is NOTHING and not text_form(w.facets) and "pattern" not in w.facets
    form = w.facets.get("x-typedq-type", "") if w.constant is NOTHING else ""
    for low, high, unit in _LENGTHS:
        shortest, longest = LENGTHS.get(form, _ANY) if low == "minLength" else _ANY
        written, wanted = max(w.facets.get(low, 0), shortest), r.facets.get(low, 0)
        if written < wanted:
            example = "x" * written if plain and written < 100 else NOTHING
            found.add("bound", what=f"at least {wanted} {unit}", example=example)
        most, wanted = min(w.facets.get(high, inf), longest), r.facets.get(high, inf)
        if most > wanted:
            fits = plain and w.facets.get(low, 0) <= wanted < 100
            example = "x" * (wanted + 1) if fits else NOTHING
            found.add("bound", what=f"at most {wanted} {unit}", example=example)
