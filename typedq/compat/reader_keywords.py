"""Keywords of typedq's that restrict a reader: whether a writer keeps within them.

A keyword that is not known here, or a value of one that is not understood, must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from typedq.compat.normal_form import Alternative
from typedq.contracts.fragments import NEARLY, READER_KEYWORDS
from typedq.contracts.inhabited import moment_of
from typedq.contracts.json_tree import is_array, is_object

_TEXT, _URL = "x-typedq-text", "x-typedq-url"
_LOW, _HIGH = ("ge", "gt"), ("le", "lt")


def unmet(w: Alternative, r: Alternative) -> Iterator[str]:
    """Yield the keywords that neither side may have alone, or that ask too much of the writer."""
    ours = {key for key in w.residue if key.startswith("x-typedq-")} - READER_KEYWORDS
    if "pattern" in r.facets:
        ours |= {_TEXT} & w.residue.keys()  # the engine that reads the pattern
    if r.facets.get("format") == "uri":
        ours |= {_URL} & w.residue.keys()  # whether an empty path stays empty
    for key in sorted(ours | r.residue.keys()):
        left, right = w.residue.get(key), r.residue.get(key)
        equal = left is not None and right is not None
        if not (equal and w.side.digest(left) == r.side.digest(right)) and not _keeps(key, w, r):
            yield key


def _keeps(key: str, w: Alternative, r: Alternative) -> bool:
    decide = _DECIDE.get(key)
    # What comes of several schemas that all apply is no longer the keyword alone.
    ours, theirs = (side.residue.get(key, {key: {}}).get(key) for side in (w, r))
    if decide is None or not all(isinstance(one, dict | list | bool) for one in (ours, theirs)):
        return False
    return decide(ours, theirs, w, r)


def _text(ours: Any, theirs: Any, w: Alternative, r: Alternative) -> bool:
    if not (is_object(ours) and is_object(theirs)):
        return False
    ours, theirs = _applied(ours), _applied(theirs)
    demands = {key: value for key, value in theirs.items() if key != "engine"}
    if isinstance(w.constant, str):  # that it fits the pattern is decided elsewhere
        return all(value is True and _stays(key, w.constant) for key, value in demands.items())
    same_engine = "pattern" not in r.facets or ours.get("engine") == theirs.get("engine")
    return same_engine and all(ours.get(key) == value for key, value in demands.items())


def _applied(changes: dict[str, Any]) -> dict[str, Any]:
    """Without `to_upper` where there is `to_lower`, too: then pydantic makes text lower case."""
    both = changes.get("to_lower") is True and "to_upper" in changes
    return {key: value for key, value in changes.items() if not (both and key == "to_upper")}


def _stays(change: str, text: str) -> bool:
    """Whether a change that a reader makes leaves a text as it is."""
    made = {"strip_whitespace": text.strip(), "to_lower": text.lower(), "to_upper": text.upper()}
    return text.isascii() and made.get(change) == text


def _bounds(ours: Any, theirs: Any, w: Alternative, r: Alternative) -> bool:  # noqa: ARG001
    if not (is_object(ours) and is_object(theirs)):
        return False
    order = {*_LOW, *_HIGH}
    rest = all(ours.get(key) == value for key, value in theirs.items() if key not in order)
    return rest and all(
        _is_tighter(side, sign, ours, theirs) for side, sign in ((_LOW, 1), (_HIGH, -1))
    )


def _is_tighter(side: tuple[str, str], sign: int, ours: Any, theirs: Any) -> bool:
    """Whether one of our bounds on a side is at least as tight as each of theirs."""
    for strict, key in enumerate(side):
        if key not in theirs:
            continue
        wanted = moment_of(theirs[key])
        pairs = [(moment_of(ours[k]), exclusive) for exclusive, k in enumerate(side) if k in ours]
        if not any(_beyond(own, wanted, sign, exclusive >= strict) for own, exclusive in pairs):
            return False
    return True


def _beyond(own: Any, wanted: Any, sign: int, is_enough: bool) -> bool:
    try:
        return bool((own > wanted) if sign > 0 else (own < wanted)) or (is_enough and own == wanted)
    except (TypeError, ArithmeticError):  # of two kinds, with and without a time zone, or NaN
        return False


def _url(ours: Any, theirs: Any, w: Alternative, r: Alternative) -> bool:  # noqa: ARG001
    if not (is_object(ours) and is_object(theirs)):
        return False
    longest = ours.get("maxLength"), theirs.get("maxLength")
    if longest[1] is not None and not (_is_whole(*longest) and longest[0] <= longest[1]):
        return False
    if "schemes" in theirs and not _are_among(ours.get("schemes"), theirs["schemes"]):
        return False
    rest = theirs.keys() - {"maxLength", "schemes"} | {"emptyPath"}
    return all(ours.get(key) == theirs.get(key) for key in rest)


def _are_among(some: Any, known: Any) -> bool:
    return is_array(some) and is_array(known) and all(one in known for one in some)


def _is_whole(*values: Any) -> bool:
    return all(type(value) is int for value in values)


def _checks(ours: Any, theirs: Any, w: Alternative, r: Alternative) -> bool:  # noqa: ARG001
    return _are_among(theirs, ours or [])


def _nearly(ours: Any, theirs: Any, w: Alternative, r: Alternative) -> bool:  # noqa: ARG001
    exact = "multipleOf" in r.facets or "multiple_of" in str(r.facets.get("x-typedq-decimal"))
    return theirs is True or not exact


def _excluded(ours: Any, theirs: Any, w: Alternative, r: Alternative) -> bool:  # noqa: ARG001
    return True  # it says what is written


_DECIDE: dict[str, Callable[[Any, Any, Alternative, Alternative], bool]] = {
    _TEXT: _text,
    _URL: _url,
    "x-typedq-bounds": _bounds,
    "x-typedq-check": _checks,
    "x-typedq-excluded": _excluded,
    NEARLY: _nearly,
}
