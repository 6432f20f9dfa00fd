"""How numbers differ: bounds, steps, bits, rounding, and decimals, which are text.

`w` is what the writer may write, `r` what the reader accepts.
"""

from __future__ import annotations

from decimal import Decimal
from math import inf
from typing import Any

from typedq.compat.difference import Difference
from typedq.compat.merging import Json
from typedq.compat.normal_form import Alternative
from typedq.compat.values import TEXT_KEYWORDS, decimal_facets, divides, limits
from typedq.compat.words import describe
from typedq.contracts.json_tree import NOTHING

_DIGITS = 28  # of a quotient of decimals, unless a program sets another precision
_QUOTIENT = Decimal(10) ** (_DIGITS - 1)
_EXACT = 2**53  # beyond, not every whole number is a float


def numbers(w: Alternative, r: Alternative) -> Difference:
    """Compare numbers; a reader of whole numbers is never asked about others."""
    found = Difference()
    if [w.facets.get(k) for k in TEXT_KEYWORDS] != [r.facets.get(k) for k in TEXT_KEYWORDS]:
        found.add("format", writer=describe(w), reader=describe(r))
    compare_numbers(found, w, r, w.kind, r.kind)
    return found


def compare_numbers(
    found: Difference, w: Alternative, r: Alternative, left: str, right: str
) -> None:
    """Compare numbers, or the text for them that keys are; `left` and `right` name their kinds."""
    if (left, right) == ("integer", "number") and not _is_exact(*_whole_limits(w)):
        compare_limits(found, _as_floats(w), r.facets, whole=False)
        warn_of_rounding(found, *_whole_limits(w))
    else:
        compare_limits(found, w.facets, r.facets, whole=left == "integer")
    compare_masks(found, w.facets, r.facets)


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


def warn_of_rounding(found: Difference, low: Any, high: Any) -> None:
    """Warn if a whole number of the writer may have no equal float."""
    if not _is_exact(low, high) and not (low is not None and low == high == float(low)):
        found.add("rounded", what="whole numbers beyond 2**53")


def compare_masks(found: Difference, w: Json, r: Json) -> None:
    """Compare bit masks: the writer may set only bits that the reader knows."""
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
        compare_decimals(found, facets, decimal_facets(r.facets), whole=w.kind == "integer")
    return found


def is_decimal(r: Alternative) -> bool:
    """Return True if this reader of text takes JSON numbers, too."""
    return r.facets.get("x-typedq-type") == "decimal"


def compare_decimals(
    found: Difference, w: Json | None, r: Json | None, *, whole: bool = False
) -> None:
    """Compare bounds, steps and digits of decimals; None stands for what is not understood."""
    if w is None or r is None:
        found.add("keyword", what="the keyword x-typedq-decimal")
        return
    compare_limits(found, w, r, whole=whole)
    digits, places = r.get("max_digits"), r.get("decimal_places")
    written_digits: float = w.get("max_digits", inf)
    written_places: float = 0 if whole else w.get("decimal_places", inf)
    if digits is not None and written_digits > digits:
        found.add("bound", what=f"at most {digits} digits")
    elif places is not None and written_places > places:
        found.add("bound", what=f"at most {places} decimal places")
    elif digits and places is not None and written_digits - written_places > digits - places:
        found.add("bound", what=f"at most {digits - places} digits before the point")
    if w.get("allow_inf_nan") and not r.get("allow_inf_nan"):
        found.add("bound", what="a finite number")
    step, own = r.get("multipleOf"), w.get("multipleOf")
    same = isinstance(own, Decimal) and own == step
    if step is not None and not same and _largest(w) >= step * _QUOTIENT:
        found.add("bound", what=f"less than {_QUOTIENT:.0e} times {step}, to tell a multiple of it")


def _largest(w: Json) -> Any:
    """Return what no decimal of the writer exceeds, in either direction."""
    ends = [10 ** w["max_digits"]] if w.get("max_digits", inf) <= _DIGITS else []
    low, high = limits(w, whole=False)
    if low is not None and high is not None:
        ends.append(max(abs(Decimal(end)) for end, _ in (low, high)))
    return min(ends, default=inf)


def compare_limits(found: Difference, w: Json, r: Json, *, whole: bool) -> None:
    """Compare bounds and steps."""
    written, accepted = limits(w, whole=whole), limits(r, whole=whole)
    for side, (words, strict) in enumerate((("at least", "more than"), ("at most", "less than"))):
        bound, own, sign = accepted[side], written[side], 1 - 2 * side
        if bound is None or (own and (own[0] * sign, own[1]) >= (bound[0] * sign, bound[1])):
            continue
        example = bound[0] - sign if own is None else own[0]
        if own is not None and own[1] and not isinstance(own[0], Decimal):
            example = (own[0] + bound[0]) / 2
        plain = not isinstance(example, Decimal) and "multipleOf" not in w
        what = f"{strict if bound[1] else words} {bound[0]}"
        found.add("bound", what=what, example=example if plain else NOTHING)
    if "multipleOf" in r:
        written_steps = [w["multipleOf"]] if "multipleOf" in w else []
        if not any(divides(r["multipleOf"], step) for step in written_steps + [1] * whole):
            found.add("bound", what=f"a multiple of {r['multipleOf']}")
