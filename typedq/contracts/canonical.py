"""One text for all schemas that mean the same in a message, and the hashes taken of it.

A message does not depend on titles, defaults, the order of keys, or the names of definitions; so
neither does the fingerprint that it carries. A document outside the dialect is its own canonical
text, unchanged: nobody here knows what may be left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar

from typedq.contracts.dialect import (
    ANNOTATIONS,
    HOLDS_SCHEMA,
    ROOT_ANNOTATIONS,
    Budget,
    Document,
    Schema,
    Unsupported,
)
from typedq.contracts.json_tree import Limits, check_json, is_array, is_object, text_of

_REF = "#/$defs/"
# Of a document that is hashed, or compared, as it is written.
PLAIN_LIMITS = Limits(values=100_000, depth=400, characters=2_000_000)
_HASHING_STEPS = 15_000
_CHARACTERS = 50  # that are written in one step
_DROPPED = ANNOTATIONS | ROOT_ANNOTATIONS
# keyword -> values that allow everything; not `properties`, even when empty: a Struct is no dict
_NEUTRAL: dict[str, list[Any]] = {
    **{key: [[]] for key in ("required", "prefixItems", "allOf")},
    "patternProperties": [{}],
    "propertyNames": [{}, {"type": "string"}],
    **{key: [0] for key in ("minItems", "minLength", "minProperties")},
    "uniqueItems": [False],
}
Hashes = Mapping[str, str]  # of definitions, by JSON pointer


class _Ref(str):
    """The hash of a definition, in the place of a reference to it."""

    __slots__ = ()


def fingerprint(schema: Schema) -> str:
    """Return 16 hex digits that are equal only for equal contracts.

    Raises `NotJson`, a `ValueError`, for a value that is not a JSON document.
    """
    return sha256(canonical(schema)).hexdigest()[:16]


def document_hash(schema: dict[str, Any]) -> str:
    """Return 64 hex digits of the whole document without its `x-typedq` block.

    It proves that a document was not edited. Raises `NotJson`.
    """
    check_json(schema, PLAIN_LIMITS)
    return _hash(plain_text(schema))


def plain_text(schema: Schema) -> str:
    """Return the canonical JSON of a document as it is written, without its `x-typedq` block."""
    if is_object(schema):
        schema = {key: value for key, value in schema.items() if key != "x-typedq"}
    return text_of(schema)


def canonical(schema: Schema) -> bytes:
    """Return canonical JSON without annotations, sorted, `$defs` named in the order of first visit.

    Definitions that say the same become one, whatever they were called. Raises `NotJson`.
    """
    try:
        return _canonical(Document(schema))
    except Unsupported:
        check_json(schema, PLAIN_LIMITS)
        return f"as written: {plain_text(schema)}".encode()


def _canonical(document: Document) -> bytes:
    (hashes,) = definition_hashes([document])
    definitions = document.definitions
    bodies = {digest: definitions[pointer] for pointer, digest in hashes.items()}
    forms, names = CanonicalForms(document, hashes, Budget(_HASHING_STEPS)), dict[str, str]()
    root = _without_refs(forms.of(document.root), bodies, names)
    named: dict[str, Schema] = {}
    for digest in (visited := list(names)):
        body = _without_refs(forms.of(bodies[digest]), bodies, names)
        visited += list(names)[len(visited) :]  # the list grows while it is walked
        named[names[digest]] = body
    whole: Schema = {"not": {}} if root is False else root
    return text_of({**whole, **({"$defs": named} if named else {})}).encode()


def _without_refs(form: Any, bodies: Mapping[str, Schema], names: dict[str, str]) -> Any:
    """Replace hashes by names, in the order of keys."""
    if is_array(form):
        return [_without_refs(item, bodies, names) for item in form]
    if is_object(form):
        return {key: _without_refs(form[key], bodies, names) for key in sorted(form)}
    if isinstance(form, _Ref):
        return _REF + names.setdefault(form, f"d{len(names)}")
    return form


def definition_hashes(documents: Sequence[Document]) -> list[dict[str, str]]:
    """Return a hash for each definition: the same for two of any document if they say the same.

    Definitions that do not refer to themselves are hashed once. The others are hashed in rounds,
    because their names must not count, until a round tells no more of them apart. Raises
    `TooComplex`.
    """
    budget, kinds = Budget(_HASHING_STEPS), 0
    hashes = [_settled(document, budget) for document in documents]
    rest = [
        {p: body for p, body in document.definitions.items() if p not in known}
        for document, known in zip(documents, hashes, strict=True)
    ]
    for known, left in zip(hashes, rest, strict=True):
        known.update(dict.fromkeys(left, ""))
    while (now := len({hashes[i][p] for i, left in enumerate(rest) for p in left})) > kinds:
        kinds = now
        for i, (document, left) in enumerate(zip(documents, rest, strict=True)):
            forms = CanonicalForms(document, dict(hashes[i]), budget)
            hashes[i].update({p: forms.digest(body) for p, body in left.items()})
    return hashes


def _settled(document: Document, budget: Budget) -> dict[str, str]:
    """Return the hashes of the definitions that lead to no circle, each made once."""
    bodies, hashes = document.definitions, dict[str, str]()
    forms = CanonicalForms(document, hashes, budget)
    needs = {pointer: set(document.references(body)) for pointer, body in bodies.items()}
    users: dict[str, list[str]] = {pointer: [] for pointer in bodies}
    for pointer, needed in needs.items():
        for one in needed:
            users[one].append(pointer)
    ready = [pointer for pointer, needed in needs.items() if not needed]
    for pointer in ready:  # the list grows while it is walked
        hashes[pointer] = forms.digest(bodies[pointer])
        for user in users[pointer]:
            needs[user].discard(pointer)
            if not needs[user]:
                ready.append(user)
    return hashes


class CanonicalForms:
    """The schemas of one document without annotations, their refs replaced by hashes."""

    def __init__(self, document: Document, hashes: Hashes, budget: Budget) -> None:
        self._document, self._hashes, self._budget = document, hashes, budget
        self._made: dict[int, tuple[Schema, Any]] = {}  # holds the schema, so that its id stays
        self._digests: dict[int, str] = {}

    def digest(self, schema: Schema) -> str:
        """Return a hash that is the same for schemas that say the same."""
        if not is_object(schema):
            return _hash(text_of({} if schema is True else schema))
        if id(schema) not in self._digests:
            self._digests[id(schema)] = _hash(self._text(self.of(schema)))
        return self._digests[id(schema)]

    def _text(self, value: Any) -> str:
        text = text_of(value)
        self._budget.spend(1 + len(text) // _CHARACTERS)
        return text

    def of(self, schema: Schema) -> Any:
        """Return one schema without annotations, its sets sorted."""
        if not is_object(schema):
            return {} if schema is True else schema
        if id(schema) not in self._made:
            self._made[id(schema)] = schema, self._make(schema)
        return self._made[id(schema)][1]

    def _make(self, schema: dict[str, Any]) -> Any:
        plain: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _DROPPED:
                continue
            name = "enum" if key == "const" and "enum" not in schema else key
            form = self._FORMS.get(name if key == "const" else key)
            plain[name] = value if form is None else form(self, [value] if name != key else value)
        for key in plain.keys() & _NEUTRAL.keys():
            if plain[key] in _NEUTRAL[key]:
                del plain[key]
        # Without `items`, a closed writer writes no more than the elements of `prefixItems`.
        if plain.get("items") == {} and not plain.keys() & {"prefixItems", "x-typedq-elements"}:
            del plain["items"]
        if len(plain) == 1 and len(plain.get("anyOf", ())) == 1:
            return plain["anyOf"][0]
        return plain

    def _ref(self, ref: str) -> Any:
        return _Ref(self._hashes[self._document.pointer(ref)])

    def _named(self, value: dict[str, Schema]) -> Any:
        return {name: self.of(body) for name, body in value.items()}

    def _row(self, value: list[Schema]) -> Any:
        return [self.of(body) for body in value]

    def _set(self, value: list[Schema]) -> Any:
        return self._values(self._row(value))

    def _multiset(self, value: list[Schema]) -> Any:
        return sorted(self._row(value), key=self._text)  # twice the same is another meaning

    def _union(self, value: list[Schema]) -> Any:
        members: list[Any] = []
        for body in self._row(value):
            members += body["anyOf"] if is_object(body) and set(body) == {"anyOf"} else [body]
        return self._values(members)

    def _values(self, value: list[Any]) -> Any:
        """Sort without duplicates by JSON text, which tells 1, "1", 1.0 and true apart."""
        return [item for _, item in sorted({self._text(item): item for item in value}.items())]

    def _types(self, value: Any) -> Any:
        kinds = self._values([value] if isinstance(value, str) else value)
        return kinds[0] if len(kinds) == 1 else kinds

    _FORMS: ClassVar[dict[str, Callable[[CanonicalForms, Any], Any]]] = {
        "$ref": _ref,
        "allOf": _set,
        "anyOf": _union,
        "enum": _values,
        "oneOf": _multiset,
        "prefixItems": _row,
        "required": _values,
        "type": _types,
        **dict.fromkeys(sorted(HOLDS_SCHEMA), of),
        **dict.fromkeys(("properties", "patternProperties"), _named),
    }


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
