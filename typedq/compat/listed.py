"""The constants of a flat schema, each with what is left to say about it.

A constant is left out only if a keyword that every validator enforces refuses it. To others than
typedq, `format`, `contentEncoding` and the keywords of typedq's own may be mere annotations: what
they refuse is still written, but never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typedq.compat.merging import FACETS, TEXT, Flat, Json, only
from typedq.compat.values import number_fits, text_fits
from typedq.contracts.dialect import Budget, Schema

UNREAD = "constant"  # the name of the residue of a constant that readers refuse
_KIND_OF: tuple[tuple[Any, str], ...] = (
    (str, "string"),
    (type(None), "null"),
    (bool, "boolean"),  # before int, as it is one
    (int, "integer"),
    (float, "number"),
    ((list, tuple), "array"),
    (dict, "object"),
)


def listed(
    flat: Flat, kinds: tuple[str, ...], finer: Json, budget: Budget
) -> Iterator[tuple[str, Json, dict[str, Schema], Any]]:
    """Yield the kind, the keywords, the residue and the value of each constant of these kinds."""
    prepared = dict[str, tuple[Json, Json]]()
    for value in flat.facets["enum"]:
        kind = next(kind for types, kind in _KIND_OF if isinstance(value, types))
        whole = isinstance(value, float) and value.is_integer() and "integer" in kinds
        if not (kind in kinds or whole or (kind == "integer" and "number" in kinds)):
            continue
        if kind not in prepared:  # the same for all values of a kind
            rest = only(flat.facets, FACETS[kind])
            text = only(rest, TEXT)
            prepared[kind] = text, {key: bound for key, bound in rest.items() if key not in text}
        text, bounds = prepared[kind]
        kept = {**text, **finer} if kind == "string" else finer
        fits = _fits(kind, bounds, kept, value, budget)
        if fits is False:
            enforced = {k: bound for k, bound in bounds.items() if not k.startswith("x-typedq-")}
            if _fits(kind, enforced, {}, value, budget) is not False:
                yield kind, kept, {**flat.residue, UNREAD: {"const": value}}, value
        else:
            doubt = {"facets": bounds} if fits is None and bounds else {}
            yield kind, kept, {**flat.residue, **doubt}, value


def _fits(kind: str, bounds: Json, text: Json, value: Any, budget: Budget) -> bool | None:
    if not (bounds or text):
        return True
    budget.spend()
    if kind in ("integer", "number"):
        return number_fits(bounds, value, whole=False)
    return text_fits({**bounds, **text}, value, budget) if kind == "string" else None
