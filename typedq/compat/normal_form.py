"""From a schema to its normal form: the alternatives a value can be, each of one JSON kind.

References, unions, `allOf`, enums and lists of types are resolved here, so that a comparison sees
only alternatives. What cannot be merged into one alternative stays beside it as a `residue`: a
reader then demands the same residue of the writer. For a writer an alternative may allow too much,
never too little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from typedq.compat.listed import UNREAD, listed
from typedq.compat.merging import (
    ANYTHING,
    FACETS,
    IGNORED,
    UNIONS,
    Flat,
    Json,
    kinds_of,
    merge,
    only,
    own_keywords,
)
from typedq.compat.structure import Members, is_only_read, is_plainly_empty
from typedq.compat.values import equality_key, matches, text_form
from typedq.contracts.canonical import CanonicalForms
from typedq.contracts.dialect import Budget, Document, Schema, TooComplex, Unsupported, subschemas
from typedq.contracts.json_tree import NOTHING, is_object, text_of

_MAX_NESTED_REFS = 100
CHANGING = {"x-typedq-written", "x-typedq-text"}  # a reader may change what it reads


# Of a flat schema: its kinds, its only values, and those of members that are always there.
_Marks = tuple[set[str], set[str] | None, dict[str | int, list[str]]]


@dataclass(eq=False)
class Alternative:
    """Values of one kind, or one constant. `facets`: keywords that apply to the kind."""

    side: Side
    kind: str
    facets: Json
    residue: dict[str, Schema]
    constant: Any = NOTHING

    @cached_property
    def listed(self) -> dict[str | int, list[str]]:
        """The only values, as equality keys, of members and elements that have but some."""
        return self.side.listed_values(self.facets)

    @cached_property
    def members(self) -> Members:
        """The members of an object."""
        return Members(self.facets, self.listed, self._may_write)

    def _may_write(self, name: str, keys: Schema) -> bool:
        """Return True if a declared member can be written, as far as that is plain."""
        schema, patterns = self.facets["properties"][name], self.facets.get("patternProperties", ())
        found = self.side.form(schema).alternatives
        if is_only_read(schema) or all(is_plainly_empty(a.kind, a.facets) for a in found):
            return False
        named = self.side.form({"allOf": [keys, {"const": name}]}).alternatives
        return any(not key.residue for key in named) and all(
            matches(pattern, name, self.side.budget) is False for pattern in patterns
        )


class NormalForm:
    """What a schema amounts to. `constants`: alternatives that are one value that can be read."""

    def __init__(self, schema: Schema, alternatives: list[Alternative]) -> None:
        self.schema, self.alternatives = schema, alternatives
        self.changing = [a for a in alternatives if not a.residue.keys().isdisjoint(CHANGING)]
        self.constants = {
            text_of(a.constant): a
            for a in alternatives
            if a.constant is not NOTHING and UNREAD not in a.residue
        }
        self.open: dict[str, list[Alternative]] = {}
        for a in alternatives:
            if a.constant is NOTHING:
                self.open.setdefault(a.kind, []).append(a)
        texts = {id(a.facets): a.facets for a in alternatives if a.kind == "string"}
        self.text_forms = tuple(dict.fromkeys(map(text_form, texts.values())))
        self._by_value: dict[tuple[str, str | int], dict[str, list[Alternative]]] = {}

    def listing(self, kind: str, name: str | int, values: list[str]) -> list[Alternative]:
        """Return those that list one of the values for a member or element, or list none for it."""
        if (kind, name) not in self._by_value:
            found = self._by_value[kind, name] = {}
            for a in self.open.get(kind, ()):
                has_none = a.facets.get("maxItems") == 0  # so there is no first element
                for value in (a.listed.get(name) or [""]) if not has_none else [""]:
                    found.setdefault(value, []).append(a)
        found = self._by_value[kind, name]
        listed = {id(a): a for value in (*values, "") for a in found.get(value, ())}
        return list(listed.values())


class Side:
    """One document of a comparison: the normal forms of its schemas, each made once."""

    def __init__(
        self, document: Document, canonical_forms: CanonicalForms, budget: Budget, name: str = "old"
    ) -> None:
        self.document, self.budget, self._name = document, budget, name
        self._canonical_forms = canonical_forms
        self._forms: dict[int, NormalForm] = {}
        self._flats: dict[int, tuple[Schema, list[Flat]]] = {}
        self._active: dict[int, None] = {}

    @cached_property
    def has_defaults(self) -> bool:
        """Return True if a schema of the document may have a default."""
        return self.mentions(self.document.root, "default")

    def digest(self, schema: Schema) -> str:
        """Return a hash that is the same for schemas of both documents that say the same."""
        return self._canonical_forms.digest(schema)

    def form(self, schema: Schema) -> NormalForm:
        """Return the normal form. Raises `Unsupported`, `TooComplex`."""
        if (known := self._forms.get(id(schema))) is not None:
            return known
        asked = schema
        for _ in range(_MAX_NESTED_REFS):  # all mere references to one definition share its form
            if not is_object(schema) or "$ref" not in schema or schema.keys() - IGNORED:
                break
            if schema.keys() & (UNIONS - {"$ref"}):
                break
            schema = self.document.target(schema["$ref"])
        if id(schema) not in self._forms:
            found = [a for flat in self._flatten(schema) for a in self._alternatives(flat)]
            of_one = 2 if len(found) < 3 else 5  # the many that a schema without a type is
            self.budget.spend(1 + sum(of_one if a.constant is NOTHING else 1 for a in found))
            self._forms[id(schema)] = NormalForm(schema, list(_with_whole_kinds(found)))
        return self._forms.setdefault(id(asked), self._forms[id(schema)])

    def _flatten(self, schema: Schema) -> list[Flat]:
        """Return the union of flat schemas that `schema` amounts to, or contains."""
        if not is_object(schema):
            return [ANYTHING] if schema else []
        if id(schema) not in self._flats:
            if id(schema) in self._active:
                raise Unsupported(f"the {self._name} schema refers to itself without end")
            if len(self._active) > _MAX_NESTED_REFS:
                raise TooComplex(
                    f"the {self._name} schema has more than {_MAX_NESTED_REFS} references in a row"
                )
            self._active[id(schema)] = None
            self._flats[id(schema)] = schema, self._make_flats(schema)
            del self._active[id(schema)]
        return self._flats[id(schema)][1]

    def _make_flats(self, schema: Json) -> list[Flat]:
        own = own_keywords(schema)
        factors = [self._flatten(branch) for branch in schema.get("allOf", ())]
        if "$ref" in schema:
            factors.append(self._flatten(self.document.target(schema["$ref"])))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                flats = [self._flatten(branch) for branch in schema[key]]
                if key == "oneOf" and not self._exclusive(schema, flats):
                    own.residue["oneOf"] = {"oneOf": schema["oneOf"]}
                union = {id(flat): flat for branch in flats for flat in branch}
                factors.append(list(union.values()))
        result = [own]
        for factor in factors:
            self.budget.spend(len(result) * len(factor))
            result = [merge(a, b, self.digest, self.budget) for a in result for b in factor]
        return result

    def _exclusive(self, schema: Json, branches: list[list[Flat]]) -> bool:
        """Return True if no value can be of two branches of a `oneOf`, which then is an `anyOf`."""
        tags = schema.get("required", [])
        marks = [[self._marks(flat, tags) for flat in flats] for flats in branches]
        self.budget.spend(sum(map(len, marks)) ** 2 // 4)
        return all(
            _exclude(a, b) for left, right in combinations(marks, 2) for a in left for b in right
        )

    def _marks(self, flat: Flat, tags: list[str]) -> _Marks:
        facets = flat.facets
        kinds = {"number" if k == "integer" else k for k in kinds_of(facets)}
        required = {*facets.get("required", ()), *tags}
        values = set(map(equality_key, facets["enum"])) if "enum" in facets else None
        listed = self.listed_values(facets)
        return kinds, values, {name: listed[name] for name in listed if name in required}

    def listed_values(self, facets: Json) -> dict[str | int, list[str]]:
        """Return the only values of each member, and of element 0, whose schema lists them plainly.

        It looks at the schemas themselves and not at their forms, which may be in the making.
        """
        parts: list[tuple[str | int, Schema]] = [*facets.get("properties", {}).items()]
        parts += enumerate(facets.get("prefixItems", ())[:1])
        self.budget.spend(len(parts))
        found = dict[str | int, list[str]]()
        for name, part in parts:
            here = part
            for _ in range(10):
                if not is_object(here) or "$ref" not in here:
                    break
                here = self.document.target(here["$ref"])
            if is_object(here) and ("const" in here or here.get("enum")):
                values = [here["const"]] if "const" in here else here["enum"]
                self.budget.spend(len(values))
                found[name] = list(map(equality_key, values))
        return found

    def mentions(self, schema: Schema, *keywords: str) -> bool:
        """Return True if a schema or one that it holds or refers to has one of the keywords."""
        waiting, seen = [schema], dict[int, None]()
        while waiting:
            part = waiting.pop()
            if not is_object(part) or id(part) in seen:
                continue
            if not part.keys().isdisjoint(keywords):
                return True
            seen[id(part)] = None
            self.budget.spend()
            waiting += subschemas(part)
            if "$ref" in part:
                waiting.append(self.document.target(part["$ref"]))
        return False

    def _alternatives(self, flat: Flat) -> Iterator[Alternative]:
        facets, residue = flat
        kinds = kinds_of(facets)
        finer = only(facets, ("x-typedq-type",))
        if finer.get("x-typedq-type") == "byte-size":  # to JSON, a whole number like any other
            finer = {}
        if "enum" not in facets:
            for kind in kinds:
                yield Alternative(self, kind, {**only(facets, FACETS[kind]), **finer}, residue)
            return
        for kind, text, left, value in listed(flat, kinds, finer, self.budget):
            yield Alternative(self, kind, text, left, value)


def _with_whole_kinds(found: list[Alternative]) -> Iterator[Alternative]:
    """Take null for its kind, and true and false together for theirs: they are all its values."""
    plain = [a.constant for a in found if not a.residue and not a.facets]
    booleans = {c for c in plain if isinstance(c, bool)}
    for a in found:
        if a.constant is None:
            yield Alternative(a.side, "null", a.facets, a.residue)
        elif len(booleans) == 2 and isinstance(a.constant, bool) and not (a.residue or a.facets):
            if a.constant is True:
                yield Alternative(a.side, "boolean", {}, {})
        else:
            yield a


def listed_apart(w: Alternative, r: Alternative, name: str | int) -> tuple[str, str] | None:
    """Return the values of a member or element where both sides list some but share none."""
    ours, theirs = w.listed.get(name, ()), r.listed.get(name, ())
    if not (ours and theirs) or not {*ours}.isdisjoint(theirs):
        return None
    return _some_of(ours), _some_of(theirs)


def _some_of(values: list[str]) -> str:
    return " or ".join(values if len(values) <= 5 else [*values[:5], "more"])


def _exclude(a: _Marks, b: _Marks) -> bool:
    """Return True if no value has the marks of both."""
    common = a[0] & b[0]
    if not common:
        return True
    if a[1] is not None and b[1] is not None:
        return a[1].isdisjoint(b[1])
    return common == {"object"} and any(
        b[2].get(name) and {*values}.isdisjoint(b[2][name]) for name, values in a[2].items()
    )
