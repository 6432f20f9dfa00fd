"""How alternatives of plain values differ: text, and constants.

`w` is what the writer may write, `r` what the reader accepts.
"""

from __future__ import annotations

from math import inf

from typedq.compat.difference import Difference, quoted
from typedq.compat.merging import Json
from typedq.compat.normal_form import Alternative
from typedq.compat.numbers import (
    compare_decimals,
    compare_limits,
    compare_masks,
    compare_numbers,
    warn_of_rounding,
)
from typedq.compat.values import (
    LENGTHS,
    NOT_TEXT,
    NUMERIC_KEYS,
    READABLE,
    TEXT_KEYWORDS,
    decimal_facets,
    matches,
    number_fits,
    text_fits,
    text_form,
)
from typedq.compat.words import NAMES, describe
from typedq.contracts.json_tree import NOTHING, text_of

# (text form of the writer, text form of the reader): the reader accepts all that is written.
_WIDER = frozenset(
    [(f"{zone}-{name}", name) for zone in ("aware", "naive") for name in ("datetime", "time")]
    + [(f"ipv{n}{part}", f"ipvany{part or 'address'}")
       for n in (4, 6) for part in ("", "network", "interface")]
    + [("integer", "number"), ("integer", "decimal"), ("number", "decimal")]
    + [("email", "idn-email"), ("hostname", "idn-hostname"), ("uri", "uri-reference")]
    + [("timedelta", "timedelta-years")]
    + [("file-path", "path"), ("directory-path", "path"), ("uri", "iri")]
)  # fmt: skip
# The reverse: the reader refuses some of it, such as this example.
_NARROWER = {
    **{(wide, narrow): NOTHING for narrow, wide in _WIDER},
    ("datetime", "naive-datetime"): "2027-01-31T12:00:00Z",
    ("time", "naive-time"): "12:00:00Z",
    ("timedelta-years", "timedelta"): "P1Y",
}


def no_difference(w: Alternative, r: Alternative) -> Difference:  # noqa: ARG001
    """Compare values of a kind that has no keywords."""
    return Difference()


def listed_constant(w: Alternative, r: Alternative) -> Difference:
    """Compare equal constants. Their text forms may differ: the key "1" may be an integer."""
    found = Difference()
    own, form = text_form(w.facets), text_form(r.facets)
    if w.kind == "string" and form != own and (form or own not in READABLE):
        found.add("narrower", writer=describe(w), reader=NAMES.get(form, f"a {form}"))
    return found


def constants(w: Alternative, r: Alternative) -> Difference:
    """Compare one value of the writer with a reader of values of its kind."""
    found, value = listed_constant(w, r), w.constant
    if w.kind != "string":
        if _text_keywords(w) != (claimed := _text_keywords(r)):
            claims = " ".join(f"{key} {quoted(said)}" for key, said in claimed.items() if said)
            told = f"{describe(r)} ({claims or 'without a type of its own'})"
            found.add("format", writer=describe(w), reader=told)
        read = float(value) if r.kind == "number" else value
        if number_fits(r.facets, read, whole=False) is not True:
            w.side.budget.spend(3)
            exactly: Json = dict.fromkeys(("minimum", "maximum", "multipleOf"), read)
            compare_limits(found, exactly, r.facets, whole=r.kind == "integer")
            compare_masks(found, exactly, r.facets)
        if (w.kind, r.kind) == ("integer", "number"):
            warn_of_rounding(found, value, value)
        return found
    fits = text_fits(r.facets, value, w.side.budget)
    if fits:
        return found
    if "x-typedq-decimal" in r.facets and fits is None:
        found.add("keyword", what="the keyword x-typedq-decimal")
    facets = {**w.facets, **dict.fromkeys(("minLength", "maxLength"), len(value))}
    _lengths(found, Alternative(w.side, w.kind, facets, {}, value), r)
    pattern = r.facets.get("pattern")
    if pattern is not None and matches(pattern, value, w.side.budget) is not True:
        found.add("pattern", writer=describe(w), reader=pattern)
    if not found.refused and fits is None:  # whether it is of the form that it claims
        found.add("format", writer=describe(w), reader=f"{describe(r)}, which is not checked here")
    elif not found.refused:
        found.add("bound", what=f"a value other than {quoted(value)}", example=value)
    return found


def _text_keywords(w: Alternative) -> Json:
    return {key: w.facets.get(key) for key in TEXT_KEYWORDS}


def strings(w: Alternative, r: Alternative) -> Difference:
    """Compare text with text: what it stands for, its length and its pattern."""
    found = Difference()
    left, right = text_form(w.facets), text_form(r.facets)
    if left != right:
        _text_forms(found, w, r)
    elif {"x-typedq-type"} <= w.facets.keys() & r.facets and _text_keywords(w) != _text_keywords(r):
        found.add("format", writer=describe(w), reader=describe(r))
    if {left, right} <= NUMERIC_KEYS:
        compare_numbers(found, w, r, left, right)
        return found
    if right == "decimal":
        texts = [text_of(a.facets.get("x-typedq-decimal")) for a in (w, r)]
        if texts[0] != texts[1]:
            compare_decimals(found, decimal_facets(w.facets), decimal_facets(r.facets))
    _lengths(found, w, r)
    patterns = w.facets.get("pattern"), r.facets.get("pattern")
    if patterns[1] is not None and patterns[0] is None:
        found.add("bound", what=f"the pattern {patterns[1]}")
    elif patterns[1] is not None and patterns[0] != patterns[1]:
        found.add("pattern", writer=patterns[0], reader=patterns[1])
    return found


def _text_forms(found: Difference, w: Alternative, r: Alternative) -> None:
    written, accepted = text_form(w.facets), text_form(r.facets)
    if (written, accepted) in _WIDER or (written in READABLE and not accepted):
        return
    if NOT_TEXT & {written, accepted}:
        found.add("encoding", writer=describe(w), reader=describe(r))
    elif (written, accepted) in _NARROWER or not written:
        example = _NARROWER.get((written, accepted), NOTHING)
        found.add("narrower", writer=describe(w), reader=describe(r), example=example)
    else:
        found.add("format", writer=describe(w), reader=describe(r))


_ANY_LENGTH = (0, inf)
_LENGTHS = (
    ("minLength", "maxLength", "characters"),
    ("x-typedq-minBytes", "x-typedq-maxBytes", "bytes"),
)


def _lengths(found: Difference, w: Alternative, r: Alternative) -> None:
    plain = w.constant is NOTHING and not text_form(w.facets) and "pattern" not in w.facets
    form = w.facets.get("x-typedq-type", "") if w.constant is NOTHING else ""
    for low, high, unit in _LENGTHS:
        shortest, longest = LENGTHS.get(form, _ANY_LENGTH) if low == "minLength" else _ANY_LENGTH
        written, accepted = max(w.facets.get(low, 0), shortest), r.facets.get(low, 0)
        if written < accepted:
            example = "x" * written if plain and written < 100 else NOTHING
            found.add("bound", what=f"at least {accepted} {unit}", example=example)
        written, accepted = min(w.facets.get(high, inf), longest), r.facets.get(high, inf)
        if written > accepted:
            fits = plain and w.facets.get(low, 0) <= accepted < 100
            example = "x" * (accepted + 1) if fits else NOTHING
            found.add("bound", what=f"at most {accepted} {unit}", example=example)
