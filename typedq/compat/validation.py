"""Check a value against a schema: if a writer may write it, or a reader accepts it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, final

from typedq.compat.normal_form import Alternative, Side
from typedq.compat.numbers import is_decimal
from typedq.compat.structure import Elements
from typedq.compat.values import decimal_facets, equality_key, matches, number_fits, text_fits
from typedq.contracts.canonical import CanonicalForms, definition_hashes
from typedq.contracts.dialect import Budget, Document, Schema, Unsupported
from typedq.contracts.json_tree import NOTHING, is_object, text_of

_MAX_STEPS = 100_000

_TYPES: dict[str, Any] = {
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}


class Validator:
    """Validates values against the schemas of one side: True, False, or None if in doubt."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def writes(self, schema: Schema, value: Any) -> bool | None:
        """Return True if a writer may write a value that has only declared members and elements."""
        return self._admits(schema, value, writing=True)

    def reads(self, schema: Schema, value: Any) -> bool | None:
        """Return True if a reader accepts a value."""
        return self._admits(schema, value, writing=False)

    def _admits(self, schema: Schema, value: Any, *, writing: bool) -> bool | None:
        doubt = False
        for alternative in self._side.form(schema).alternatives:
            self._side.budget.spend()
            fits = self.fits(alternative, value, writing=writing)
            if fits:
                return True
            doubt = doubt or fits is None
        return None if doubt else False

    def fits(self, a: Alternative, value: Any, *, writing: bool) -> bool | None:
        """Return True if a value is one of an alternative."""
        if a.constant is not NOTHING:
            fits: bool | None = text_of(a.constant) == text_of(value)
            fits = None if not fits and equality_key(a.constant) == equality_key(value) else fits
        else:
            fits = self._fits_kind(a, value, writing=writing)
        return None if fits and a.residue else fits

    def _fits_kind(self, a: Alternative, value: Any, *, writing: bool) -> bool | None:
        if not isinstance(value, _TYPES[a.kind]) or isinstance(value, bool) != (
            a.kind == "boolean"
        ):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and is_decimal(a) and not writing:
                return self._is_decimal(a, value)
            whole = isinstance(value, float) and value.is_integer()
            return None if a.kind == "integer" and whole else False
        if a.kind in ("integer", "number"):
            return number_fits(a.facets, value, whole=a.kind == "integer")
        if a.kind == "string":
            return text_fits(a.facets, value, self._side.budget)
        if a.kind == "array":
            return self._array(a, value, writing=writing)
        return self._object(a, value, writing=writing) if a.kind == "object" else True

    def _is_decimal(self, a: Alternative, value: Any) -> bool | None:
        bounds = decimal_facets(a.facets)
        if bounds is None or bounds.keys() & {"max_digits", "decimal_places"}:
            return None
        return number_fits(bounds, value, whole=False)

    def _array(self, a: Alternative, value: list[Any], *, writing: bool) -> bool | None:
        elements = Elements(a.facets, writes=writing)
        if not elements.least <= len(value) <= elements.most:
            return False
        if a.facets.get("uniqueItems") and len({*map(equality_key, value)}) < len(value):
            return None if a.facets.get("x-typedq-type") == "set" and not writing else False
        return _all(
            self._admits(elements.at(i), item, writing=writing) for i, item in enumerate(value)
        )

    def _object(self, a: Alternative, value: dict[str, Any], *, writing: bool) -> bool | None:
        members = a.members
        self._side.budget.spend(1 + (len(members.required) + len(value)) // 10)
        if (members.always if writing else members.required) - value.keys():
            return None if members.aliases and not writing else False
        least, most = a.facets.get("minProperties", 0), a.facets.get("maxProperties", math.inf)
        if not least <= len(value) <= most:
            return False
        return _all(
            answer
            for name, part in value.items()
            for answer in self._member(a, name, part, writing=writing)
        )

    def _member(
        self, a: Alternative, name: str, part: Any, *, writing: bool
    ) -> Iterable[bool | None]:
        members = a.members
        if members.keys is not True:
            yield self._admits(members.keys, name, writing=writing)
        results = set[bool | None]()  # of the patterns; None if it is not known
        for pattern, schema in members.patterns.items():
            matched = matches(pattern, name, self._side.budget)
            results.add(matched)
            if matched:
                yield self._admits(schema, part, writing=writing)
        if None in results:
            yield None
        elif name in members.declared:
            yield self._admits(members.declared[name], part, writing=writing)
        elif True not in results:
            closed = writing and name not in members.required
            rest = members.written if closed else members.accepted
            yield self._admits(rest, part, writing=writing)


@final
class SchemaValidator:
    """Validates JSON values against one document. Raises `Unsupported` for one that it cannot."""

    def __init__(self, schema: Schema) -> None:
        self._document = Document(schema)
        (self._hashes,) = definition_hashes([self._document])

    def refused_path(self, value: Any) -> str | None:
        """Return the JSON path of a value that is surely refused, else None.

        It is that of a member of the root, or `$` if no single member is refused.
        """
        root, budget = self._document.root, Budget(_MAX_STEPS)
        side = Side(self._document, CanonicalForms(self._document, self._hashes, budget), budget)
        validator = Validator(side)
        try:
            if validator.reads(root, value) is not False:
                return None
            members: dict[str, Schema] = root.get("properties", {}) if is_object(root) else {}
            for name in members.keys() & value.keys() if is_object(value) else ():
                if validator.reads(members[name], value[name]) is False:
                    return f"$.{name}"
        except Unsupported:
            return None
        return "$"


def _all(answers: Iterable[bool | None]) -> bool | None:
    """Return False if any answer is, else None if any is, else True."""
    doubt = False
    for answer in answers:
        if answer is False:
            return False
        doubt = doubt or answer is None
    return None if doubt else True
