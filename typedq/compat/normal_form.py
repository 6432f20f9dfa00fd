"""From a schema to its form: the alternatives a value can be, each of one JSON kind.

References, unions, `allOf`, enums and lists of types are resolved here, so that a comparison sees
only alternatives. What is not understood is kept as `unknown`; nothing is dropped but annotations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import combinations, product
from math import isfinite
from typing import Any

from typedq.compat.documents import ANNOTATIONS, Document, Json, Schema
from typedq.contracts.json_tree import NOTHING, is_array, is_object, text_of

_TEXT = {"format", "contentEncoding"}
_NUMBER = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_BYTES = {"x-typedq-minBytes", "x-typedq-maxBytes"}
FACETS = {
    "null": set[str](),
    "boolean": set[str](),
    "integer": _NUMBER | _TEXT,
    "number": _NUMBER | _TEXT,
    "string": {"minLength", "maxLength", "pattern"} | _TEXT | _BYTES | _NUMBER,
    "array": {"prefixItems", "items", "minItems", "maxItems", "uniqueItems", "x-typedq-elements"},
    "object": {"properties", "required", "additionalProperties", "patternProperties"}
    | {"propertyNames", "minProperties", "maxProperties", "x-typedq-lone-tag"},
}
_ALL_KINDS = ("null", "boolean", "number", "string", "array", "object")
_EXPECTED: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_NUMBER, (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), (int,)),
    **dict.fromkeys(("minProperties", "maxProperties", *_BYTES), (int,)),
    **dict.fromkeys(("pattern", "format", "contentEncoding", "x-typedq-type"), (str,)),
    **dict.fromkeys(("uniqueItems", "x-typedq-lone-tag"), (bool,)),
    **dict.fromkeys(("prefixItems", "required", "enum", "x-typedq-elements"), (list,)),
    **dict.fromkeys(("properties", "patternProperties"), (dict,)),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), (dict, bool)),
    "type": (str, list),
    "const": (str, int, float, bool, type(None), list, dict),
}
_COMBINATORS = ("$ref", "allOf", "anyOf", "oneOf", "discriminator")
_MOST = 500  # alternatives that a product of unions may grow to
# Of a flat schema: its kinds, its only values, and those of members that are always there.
_Marks = tuple[set[str], set[str] | None, dict[str | int, list[str]]]
_KIND_OF: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


@dataclass(frozen=True, eq=False)
class Alternative:
    """Values of one kind, or one constant. `facets`: keywords that apply to the kind."""

    document: Document
    kind: str
    facets: Json
    unknown: Json
    constant: Any = NOTHING

    @cached_property
    def listed(self) -> dict[str | int, list[str]]:
        """The only values, as JSON, of members and elements that have but some."""
        return listed_values(self.document, self.facets)


@dataclass(frozen=True, slots=True, eq=False)
class NormalForm:
    """What a schema amounts to. `constants`: alternatives that are one value, by its JSON."""

    schema: Schema
    alternatives: tuple[Alternative, ...]
    constants: dict[str, Alternative]
    open: tuple[Alternative, ...]


class Normalizer:
    """The normalizer of one document, each made once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._made: dict[int, NormalForm] = {}

    def __call__(self, schema: Schema) -> NormalForm:
        for _ in range(100):  # all mere references to one definition share its form
            if not is_object(schema) or schema.keys() - ANNOTATIONS != {"$ref"}:
                break
            if (target := self.document.target(schema["$ref"])) is NOTHING:
                break
            schema = target
        if id(schema) not in self._made:
            alternatives = tuple(
                alternative
                for flat in self._flatten(schema, ())
                for alternative in self._split(flat)
            )
            constants = {text_of(a.constant): a for a in alternatives if a.constant is not NOTHING}
            self._made[id(schema)] = NormalForm(
                schema,
                alternatives,
                constants,
                tuple(a for a in alternatives if a.constant is NOTHING),
            )
        return self._made[id(schema)]

    def _flatten(self, schema: Schema, above: tuple[int, ...]) -> list[Json]:
        """The union of flat schemas that `schema` amounts to, or contains."""
        if schema is False:
            return []
        if not is_object(schema):
            return [{} if schema is True else {"?schema": schema}]
        if id(schema) in above or len(above) > 100:
            return [{"?endless": True}]
        above = (*above, id(schema))
        flat = {k: v for k, v in schema.items() if k not in ANNOTATIONS and k not in _COMBINATORS}
        factors = [[flat], *self._referred(schema, flat, above), *self._unions(schema, flat, above)]
        return _product(factors) or ([{"?product": schema}] if all(factors) else [])

    def _referred(self, schema: Json, flat: Json, above: tuple[int, ...]) -> list[list[Json]]:
        if "$ref" not in schema:
            return []
        target = self.document.target(schema["$ref"])
        if target is NOTHING:
            flat["?ref"] = schema["$ref"]
            return []
        return [self._flatten(target, above)]

    def _unions(self, schema: Json, flat: Json, above: tuple[int, ...]) -> list[list[Json]]:
        """What all of must hold beside `flat`, which takes what is not understood."""
        factors = list[list[Json]]()
        for key in ("allOf", "anyOf", "oneOf"):
            if not is_array(branches := schema.get(key, [])):
                flat[f"?{key}"] = branches
                continue
            flats = [self._flatten(branch, above) for branch in branches]
            if key == "oneOf" and not self._exclusive(schema, above):
                flat["?oneOf"] = branches
            if key == "allOf":
                factors += flats
            elif flats:
                factors.append([one for branch in flats for one in branch])
        tag = schema.get("discriminator", {})
        if is_object(tag) and isinstance(tag.get("propertyName"), str):
            factors.append([{"required": [tag["propertyName"]]}])
        return factors

    def _exclusive(self, schema: Json, above: tuple[int, ...]) -> bool:
        """Whether no value can be of two branches of a `oneOf`, which then is an `anyOf`."""
        tag = schema.get("discriminator", {})
        tags = names_in({"": [tag.get("propertyName")]}, "") if is_object(tag) else []
        tags += names_in(schema, "required")
        branches = [
            [self._marks(flat, tags) for flat in self._flatten(branch, above)]
            for branch in schema.get("oneOf", [])
        ]
        return all(
            _exclude(a, b) for left, right in combinations(branches, 2) for a in left for b in right
        )

    def _marks(self, flat: Json, tags: list[str]) -> _Marks:
        kinds = {"number" if k == "integer" else k for k in _kinds(flat)}
        required, values = {*names_in(flat, "required"), *tags}, _values(flat)
        listed = listed_values(self.document, flat)
        return (
            kinds,
            None if values is None else set(map(text_of, values)),
            {name: values for name, values in listed.items() if name in required},
        )

    def _split(self, flat: Json) -> Iterable[Alternative]:
        kinds, values = _kinds(flat), _values(flat)
        known = {k: v for k, v in flat.items() if k in _EXPECTED and _fits(k, v)}
        strange = {k: v for k, v in flat.items() if k not in known}
        finer = {"x-typedq-type": flat["x-typedq-type"]} if "x-typedq-type" in known else {}
        if values is None:
            for kind in kinds:
                facets = {k: v for k, v in known.items() if k in FACETS[kind]}
                yield Alternative(self.document, kind, {**facets, **finer}, strange)
            return
        for value in values:
            kind = _KIND_OF[type(value)]
            if kind in kinds or (kind == "integer" and "number" in kinds):
                text = {k: v for k, v in known.items() if k in _TEXT and kind == "string"}
                rest = {k: v for k, v in known.items() if k in FACETS[kind] and k not in text}
                yield Alternative(
                    self.document, kind, {**text, **finer}, {**strange, **rest}, value
                )


def names_in(facets: Json, key: str) -> list[str]:
    """The names listed under a keyword; what is no name is left out."""
    names = facets.get(key, [])
    return [name for name in names if isinstance(name, str)] if is_array(names) else []


def listed_values(document: Document, facets: Json) -> dict[str | int, list[str]]:
    """The only values, as JSON, of each member, and of element 0, whose schema lists them plainly.

    It looks at the schemas themselves and not at their normalizer, which may be in the making.
    """
    members, elements = facets.get("properties"), facets.get("prefixItems")
    parts: list[tuple[str | int, Schema]] = [*members.items()] if is_object(members) else []
    parts += enumerate(elements[:1]) if is_array(elements) else ()
    found = dict[str | int, list[str]]()
    for name, part in parts:
        here = part
        for _ in range(10):
            if not is_object(here) or "$ref" not in here:
                break
            here = document.target(here["$ref"])
        if is_object(here) and (values := _values(here)):
            found[name] = list(map(text_of, values))
    return found


def disjoint_values(left: Collection[str], right: Collection[str]) -> bool:
    """Whether both list values, but share none."""
    return bool(left and right) and {*left}.isdisjoint(right)


def _exclude(a: _Marks, b: _Marks) -> bool:
    """Whether no value has the marks of both."""
    if a[0].isdisjoint(b[0]):
        return True
    if a[1] is not None and b[1] is not None:
        return a[1].isdisjoint(b[1])
    return any(disjoint_values(values, b[2].get(name, ())) for name, values in a[2].items())


def _fits(key: str, value: Any) -> bool:
    if key in ("required", "x-typedq-elements"):
        return is_array(value) and all(isinstance(name, str) for name in value)
    if key in _NUMBER and isinstance(value, float) and not isfinite(value):
        return False
    of_type = isinstance(value, _EXPECTED[key])
    return of_type and (bool in _EXPECTED[key] or not isinstance(value, bool))


def _kinds(flat: Json) -> tuple[str, ...]:
    given: Any = flat.get("type")
    listed = given if is_array(given) else [given]
    return tuple(k for k in FACETS if k in listed) if isinstance(given, str | list) else _ALL_KINDS


def _values(flat: Json) -> list[Any] | None:
    listed = flat["enum"] if is_array(flat.get("enum")) else None
    if "const" not in flat:
        return listed
    fixed = text_of(flat["const"])
    return [flat["const"]] if listed is None or fixed in map(text_of, listed) else []


def _product(factors: list[list[Json]]) -> list[Json]:
    """Every choice of one flat schema a factor, merged; nothing if there are too many."""
    size = reduce(lambda n, flats: n * len(flats), factors, 1)
    return [reduce(_merge, choice) for choice in product(*factors)] if size <= _MOST else []


def _merge(a: Json, b: Json) -> Json:
    """What satisfies both; what cannot be merged is kept beside it, as an unknown keyword."""
    merged, odd = {**b, **a}, dict[str, Any]()
    for key in a.keys() & b.keys():
        left, right = a[key], b[key]
        if text_of(left) == text_of(right):
            continue
        if key == "required" and is_array(left) and is_array(right):
            merged[key] = list(dict.fromkeys([*left, *right]))
        elif key == "type":
            merged[key] = _common_kinds(a, b)
        elif key == "properties" and is_object(left) and is_object(right):
            clash = [n for n in left.keys() & right.keys() if text_of(left[n]) != text_of(right[n])]
            merged[key] = {**left, **right, **dict.fromkeys(clash, True)}
            odd |= {f"?properties/{name}": [left[name], right[name]] for name in clash}
        else:
            odd[f"?{key}"] = sorted([left, right], key=text_of)
    members = ("properties", "patternProperties")
    if any(
        x.get("additionalProperties", True) is not True and any(y.get(m) for m in members)
        for x, y in ((a, b), (b, a))
    ):
        odd["?additionalProperties"] = [a.get("properties"), b.get("properties")]
    return {**merged, **odd}


def _common_kinds(a: Json, b: Json) -> list[str]:
    left, right = _kinds(a), _kinds(b)
    both = [k for k in left if k in right]
    ints = "integer" in {*left, *right} and "number" in {*left, *right} and "integer" not in both
    return [*(k for k in both if k != "number" or not ints), *(["integer"] if ints else [])]
