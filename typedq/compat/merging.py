"""Keywords that all apply to one value, made one flat schema.

What cannot be merged stays beside it as a residue, by the name of the keyword. Then the flat schema
may allow too much, never too little.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, NamedTuple

from typedq.compat.values import equality_key
from typedq.contracts.dialect import ANNOTATIONS, ROOT_ANNOTATIONS, Budget, Schema
from typedq.contracts.json_tree import text_of

Json = dict[str, Any]

TEXT = {"format", "contentEncoding"}
_ITEMS = ("prefixItems", "items", "x-typedq-elements")
_MEMBERS = ("properties", "patternProperties", "additionalProperties")
_NUMBER = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
FACETS: dict[str, frozenset[str]] = {
    kind: frozenset(keys)
    for kind, keys in {
        "null": set[str](),
        "boolean": set[str](),
        "integer": _NUMBER | TEXT | {"x-typedq-mask"},
        "number": _NUMBER | TEXT,
        "string": {"minLength", "maxLength", "pattern", "x-typedq-decimal"}
        | {"x-typedq-minBytes", "x-typedq-maxBytes"}
        | (TEXT | _NUMBER | {"x-typedq-mask"}),  # of numbers, as text in the names of members
        "array": {*_ITEMS, "minItems", "maxItems", "uniqueItems"},
        "object": {*_MEMBERS, "required", "propertyNames", "minProperties", "maxProperties"}
        | {"x-typedq-lone-tag"},
    }.items()
}
_KNOWN = frozenset[str]().union(*FACETS.values()) | {"type", "enum", "x-typedq-type"}
UNIONS = frozenset(("$ref", "allOf", "anyOf", "oneOf"))
IGNORED = ANNOTATIONS | ROOT_ANNOTATIONS | {"x-typedq-payload"} | UNIONS
_NO_RESIDUE = _KNOWN | IGNORED | {"const"}
_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}


class Flat(NamedTuple):
    """Keywords that all apply to a value, and by name what could not be merged into them."""

    facets: Json
    residue: dict[str, Schema]


ANYTHING = Flat({}, {})


def only(facets: Json, keys: Container[str]) -> Json:
    """Return some of the keywords."""
    return {key: value for key, value in facets.items() if key in keys}


def own_keywords(schema: Json) -> Flat:
    """Return what a schema says without its references and unions, `const` as an enum of one."""
    facets = {k: v for k, v in schema.items() if k in _KNOWN}
    residue = {k: {k: v} for k, v in schema.items() if k not in _NO_RESIDUE}
    if "const" in schema:
        fixed = [schema["const"]]
        _merge_values((fixed, facets.get("enum", fixed)), facets, residue)
    return Flat(facets, residue)


def _merge_values(both: tuple[Any, Any], merged: Json, residue: dict[str, Schema]) -> None:
    """Merge lists of constants. What both have counts in either spelling, such as 1 and 1.0."""
    left, right = ({equality_key(value) for value in values} for values in both)
    shared = left & right
    found = [value for values in both for value in values if equality_key(value) in shared]
    spelled = {text_of(value): value for value in found}
    merged["enum"] = [*spelled.values()]
    if len(spelled) > len(shared):
        residue["enum"] = {"allOf": [{"enum": values} for values in both]}


def _say_the_same(left: Any, right: Any, budget: Budget) -> bool:
    if left is right:
        return True
    texts = text_of(left), text_of(right)
    budget.spend(sum(map(len, texts)) // 50)
    return texts[0] == texts[1]


def _merge_keyword(
    key: str, both: tuple[Any, Any], merged: Json, residue: dict[str, Schema], budget: Budget
) -> None:
    """Merge two values of one keyword into `merged`."""
    left, right = both
    if key == "required":
        merged[key] = list(dict.fromkeys([*left, *right]))
    elif key == "type":
        merged[key] = _common_kinds(kinds_of({key: left}), kinds_of({key: right}))
    elif key in _LOWER or key in _UPPER:
        merged[key] = max(left, right) if key in _LOWER else min(left, right)
    elif key == "enum":
        _merge_values(both, merged, residue)
    elif key in ("properties", "patternProperties"):
        shared = sorted(left.keys() & right.keys())
        clash = {n: None for n in shared if not _say_the_same(left[n], right[n], budget)}
        merged[key] = {**left, **right, **dict.fromkeys(clash, True)}
        if clash:
            residue[key] = {"allOf": [{key: only(side, clash)} for side in (left, right)]}
    else:
        residue[key] = {"allOf": [{key: left}, {key: right}]}


def kinds_of(facets: Json) -> tuple[str, ...]:
    """Return the JSON kinds that `type` allows."""
    if "type" not in facets:
        return tuple(FACETS)
    given = facets["type"]
    listed = [given] if isinstance(given, str) else given
    return tuple(k for k in FACETS if k in listed)


def _common_kinds(left: tuple[str, ...], right: tuple[str, ...]) -> list[str]:
    both = [k for k in left if k in right]
    numeric = {"integer", "number"}
    if not numeric & {*both} and numeric & {*left} and numeric & {*right}:
        both.append("integer")
    return both


def merge(a: Flat, b: Flat, digest: Callable[[Schema], str], budget: Budget) -> Flat:
    """Return what satisfies both; keep as residue what cannot be merged."""
    if not (b.facets or b.residue):
        return a
    if not (a.facets or a.residue):
        return b
    budget.spend(len(a.facets) + len(b.facets))
    merged, residue = {**b.facets, **a.facets}, {**b.residue, **a.residue}
    for key in a.residue.keys() & b.residue.keys():
        if digest(a.residue[key]) != digest(b.residue[key]):
            residue[key] = {"allOf": [a.residue[key], b.residue[key]]}
    more = dict[str, Schema]()
    for key in (k for k in b.facets if k in a.facets and k not in _ITEMS):
        both = a.facets[key], b.facets[key]
        if not _say_the_same(*both, budget):
            _merge_keyword(key, both, merged, more, budget)
    merged = _without_siblings(a.facets, b.facets, merged, more, budget)
    for key, left in more.items():  # beside what was left before, which still counts
        residue[key] = {"allOf": [residue[key], left]} if key in residue else left
    return Flat(merged, residue)


def _without_siblings(
    a: Json, b: Json, merged: Json, residue: dict[str, Schema], budget: Budget
) -> Json:
    """Take out what reads its own siblings only, unless both say the same or one says nothing."""
    left, right = (only(x, _ITEMS) for x in (a, b))
    if left and right and not _say_the_same(left, right, budget):
        residue["items"] = {"allOf": [left, right]}
        merged = {key: value for key, value in merged.items() if key not in _ITEMS}
    for x, y in ((a, b), (b, a)):
        declared = y.get("properties") or y.get("patternProperties")
        if x.get("additionalProperties", True) is not True and declared:
            residue["additionalProperties"] = {"allOf": [only(side, _MEMBERS) for side in (x, y)]}
    return merged
