"""A small value that a writer may write, to show to a person."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Any

from typedq.compat.difference import Step
from typedq.compat.normal_form import Alternative, NormalForm, Side
from typedq.compat.values import limits, text_form
from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import NOTHING

_TEXTS = {
    "": "x",
    "uuid": "0b0f3f8e-6f6f-4c1e-9a51-2f0d7e6f2a10",
    "date": "2027-01-31",
    "aware-datetime": "2027-01-31T12:00:00Z",
    "naive-datetime": "2027-01-31T12:00:00",
    "datetime": "2027-01-31T12:00:00",
    "aware-time": "12:00:00Z",
    "naive-time": "12:00:00",
    "time": "12:00:00",
    "timedelta": "PT1S",
    "timedelta-years": "PT1S",
    "decimal": "1.5",
    "integer": "1",
    "number": "1.5",
}
_PLAIN = {"null": None, "boolean": True}
_LARGEST = 200  # values in an example; larger ones help nobody


class Examples:
    """Examples of one side's values. NOTHING where none is found easily."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._found: dict[int, tuple[Any, int]] = {}
        self._active = dict[int, None]()
        self._tries = 0

    def of(self, schema: Schema) -> Any:
        self._tries = 0
        return self._of_shape(self._side.form(schema))[0]

    def of_alternative(self, alternative: Alternative) -> Any:
        self._tries = 0
        return self._make(alternative)[0]

    def inside(self, whole: Alternative, step: Step, part: Any) -> Any:
        """A value of `whole` that holds `part` at `step`."""
        value = self.of_alternative(whole)
        if value is NOTHING or part is NOTHING:
            return NOTHING
        if step.to == "member":
            return {**value, step.name: part}
        if step.to == "value":
            name = self._of_shape(self._side.form(whole.members.keys))[0] or "key"
            return {**value, name: part} if isinstance(name, str) else NOTHING
        if step.to == "key":
            members = whole.members
            inner = self.of(members.declared.get(part, members.written))
            return NOTHING if inner is NOTHING else {**value, part: inner}
        if whole.facets.get("uniqueItems") and step != Step("index", 0):
            return NOTHING
        index = (
            step.name if isinstance(step.name, int) else len(whole.facets.get("prefixItems", ()))
        )
        filled = list(value)
        filled += [self._element(whole, i)[0] for i in range(len(filled), index)]
        filled[index : index + 1] = [part]
        return NOTHING if NOTHING in filled else filled

    def reaching(self, whole: Alternative, step: Step) -> Any:
        """A value of `whole` that has a part at `step`."""
        if isinstance(step.name, int):
            return self.inside(whole, step, self._element(whole, step.name)[0])
        return self.inside(whole, step, self.of(whole.members.parts[step.name]))

    def _element(self, whole: Alternative, index: int) -> tuple[Any, int]:
        prefix = whole.facets.get("prefixItems", ())
        return self._of_shape(
            self._side.form(
                prefix[index] if index < len(prefix) else whole.facets.get("items", True)
            )
        )

    def _of_shape(self, form: NormalForm) -> tuple[Any, int]:
        """The value and how many values it holds."""
        key = id(form)
        if key not in self._found:
            if key in self._active or len(self._active) > 100:
                return NOTHING, 0
            self._active[key] = None
            made = (self._make(alternative) for alternative in form.alternatives)
            value = next((found for found in made if found[0] is not NOTHING), (NOTHING, 0))
            del self._active[key]
            if value[0] is NOTHING and self._active:
                return value  # it may be found where less is under way
            self._found[key] = value
        return self._found[key]

    def _make(self, alternative: Alternative) -> tuple[Any, int]:
        if alternative.constant is not NOTHING:
            return alternative.constant, 1
        self._side.budget.spend()
        self._tries += 1  # a type that requires itself has no value, which is costly to find out
        if alternative.residue or self._tries > _LARGEST:
            return NOTHING, 0
        if alternative.kind in _PLAIN:
            return _PLAIN[alternative.kind], 1
        return _MAKERS[alternative.kind](self, alternative)

    def string(self, alternative: Alternative) -> tuple[Any, int]:
        facets = alternative.facets
        text = _TEXTS.get(text_form(alternative.facets), NOTHING)
        if text == "x":
            least = facets.get("minLength", 1 if facets.get("maxLength", 1) else 0)
            text = "x" * least if least < _LARGEST else NOTHING
        plain = "pattern" not in facets or text_form(alternative.facets) in ("integer", "number")
        return (text, 1) if plain else (NOTHING, 0)

    def number(self, alternative: Alternative) -> tuple[Any, int]:
        whole = alternative.kind == "integer"
        low, high = limits(alternative.facets, whole=whole)
        if "multipleOf" in alternative.facets:
            return NOTHING, 0
        value: float = 0 if whole else 0.5
        if low is not None and value <= low[0]:
            value = low[0] + (0 if whole else 0.5)
        if high is not None and value >= high[0]:
            value = high[0] - (0 if whole else 0.5)
        return (floor(value) if whole else value), 1

    def array(self, alternative: Alternative) -> tuple[Any, int]:
        least = alternative.facets.get("minItems", 0)
        if least > _LARGEST or (alternative.facets.get("uniqueItems") and least > 1):
            return NOTHING, 0
        return _gather(list, [(i, self._element(alternative, i)) for i in range(least)])

    def object(self, alternative: Alternative) -> tuple[Any, int]:
        members = alternative.members
        if alternative.facets.get("minProperties", 0) > len(members.always):
            return NOTHING, 0
        names = [n for n in members.declared if n in members.always]
        names += sorted(members.always - set(names))
        found = [(n, self._of_shape(self._side.form(members.declared.get(n, True)))) for n in names]
        return _gather(dict, found)


def _gather(kind: type[list[Any]] | type[dict[Any, Any]], parts: list[Any]) -> tuple[Any, int]:
    size = 1 + sum(part[1] for _, part in parts)
    if size > _LARGEST or any(part[0] is NOTHING for _, part in parts):
        return NOTHING, 0
    whole = {name: part[0] for name, part in parts}
    return (whole if kind is dict else list(whole.values())), size


_MAKERS: dict[str, Callable[[Examples, Alternative], tuple[Any, int]]] = {
    "integer": Examples.number,
    "number": Examples.number,
    "string": Examples.string,
    "array": Examples.array,
    "object": Examples.object,
}
