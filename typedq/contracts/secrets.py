"""Secret parts of a payload: the marker, and what hides them when a payload is shown.

A part is secret if any schema that may apply to it says `writeOnly`. A part that no schema
describes may be anything, so it is hidden as well. The schemas and bodies may come from strangers:
the work is bounded, and whatever exceeds the bound is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, final

import msgspec

from typedq.contracts.dialect import Budget, Document, Schema, Unsupported
from typedq.contracts.json_tree import is_array, is_object, text_of
from typedq.errors import InvalidBody

MASK: Final = "***"
KEYWORD: Final = "writeOnly"
HIDDEN: Final = "it is not valid; the reason is not shown, because it may quote a secret"
_SHORT = 4  # characters
_STEPS = 1_000_000  # takes about a second
_ANYTHING: dict[str, Any] = {}
_BRANCHES = ("anyOf", "oneOf", "allOf")
_ELSEWHERE = frozenset(("$ref", *_BRANCHES))
_HOLDS = frozenset(
    ("properties", "patternProperties", "additionalProperties", "items", "prefixItems")
)
_KINDS: dict[type, frozenset[str]] = {
    type(None): frozenset(("null",)),
    bool: frozenset(("boolean",)),
    int: frozenset(("integer", "number")),
    float: frozenset(("number", "integer")),
    str: frozenset(("string",)),
    list: frozenset(("array",)),
    dict: frozenset(("object",)),
}
_ELSEWHERE_REF = re.compile(r'\$\w*[rR]ef":"(?!#)')
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[[^\]]*\]")
# Reasons of other libraries that never quote a value; pydantic's is that of a missing field.
_QUOTES_NOTHING = re.compile(
    r"Encoding objects of type \S+ is unsupported|\S+ has no JSON form|Field required"
)


@final
class _Secret:
    """Mark what no tool shows: `Annotated[str, Secret]`, beside any type of the arguments."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema: dict[str, Any] = handler(source)
        metadata: dict[str, Any] = schema.get("metadata") or {}
        updates = {**metadata.get("pydantic_js_updates", {}), KEYWORD: True}
        return {**schema, "metadata": {**metadata, "pydantic_js_updates": updates}}


# `Annotated[str, Secret]`: a part of the arguments that is not shown. It changes no message.
Secret: Final = _Secret()


def is_secret(note: object) -> bool:
    """Return True if a note in `Annotated` is `Secret`."""
    return isinstance(note, _Secret)


def mask(body: bytes, schema: Schema | None, *others: Schema) -> str:
    """Return the text of a body with `"***"` in place of what is secret.

    It is the body itself if no schema marks anything. All of it is hidden if that cannot be told:
    without a schema, or if the body is not JSON or too large.
    schema: that of the body's contract; None if it is unknown
    others: schemas that may describe the body, such as today's; only their marks count
    """
    if schema is None:
        return MASK
    try:
        # What the body's own schema does not describe is hidden if any schema has marks.
        marks = [_Marks(each) for each in (schema, *others) if _has_marks(each)]
        if not marks:
            return body.decode(errors="backslashreplace")
        value = _Marks(schema).masked(msgspec.json.decode(body))
        for each in marks:
            value = each.masked(value, strict=False)
        return msgspec.json.encode(value).decode()
    except (Unsupported, ValueError, RecursionError):  # decoding errors are a ValueError, too
        return MASK


def explain(schema: Schema, error: InvalidBody, encoded: Callable[[], bytes | None]) -> InvalidBody:
    """Return a refusal of a body whose text quotes no secret; the same if none could be there.

    encoded: returns the refused body; None if there is none, because it cannot be encoded
    """
    if not _has_marks(schema):
        return error
    cause = error.__cause__
    ours = cause is None or (isinstance(cause, msgspec.MsgspecError) and not cause.__cause__)
    ours = ours or bool(_QUOTES_NOTHING.fullmatch(error.reason))
    try:
        path, is_secret_there = _Marks(schema).cut(error.path)
    except Unsupported:
        return InvalidBody("$", HIDDEN)
    body = encoded()
    if not ours and (is_secret_there or body is None):
        return InvalidBody(path, HIDDEN)
    return InvalidBody(path, without_secrets(schema, error.reason, body))


def without_secrets(schema: Schema, text: str, body: bytes | None) -> str:
    """Return a text about a body, or another in place of one that quotes a secret in it."""
    if body is None or not _has_marks(schema):
        return text
    try:
        marks = _Marks(schema)
        marks.masked(msgspec.json.decode(body))
        quoted = any(_quotes(text, value) for value in _leaves(marks.hidden))
    except msgspec.DecodeError:
        quoted = False  # it says where the text breaks off
    except (Unsupported, ValueError, RecursionError):
        quoted = True
    return HIDDEN if quoted else text


def _has_marks(schema: Schema) -> bool:
    """Whether a schema marks a secret, or refers to another document, which may."""
    text = text_of(schema)
    return f'"{KEYWORD}":' in text or bool(_ELSEWHERE_REF.search(text))


class _Marks:
    """What one schema says of secrets. Raises `Unsupported` for one outside of the dialect."""

    def __init__(self, schema: Schema) -> None:
        self._document, self._schema = Document(schema), schema
        self._expanded: dict[tuple[int, ...], list[dict[str, Any]]] = {}
        self._strict, self._budget = True, Budget(_STEPS)
        self.hidden: list[Any] = []  # what was masked last

    def masked(self, value: Any, *, strict: bool = True) -> Any:
        """Return a JSON value with its secrets masked. Raises `Unsupported`, RecursionError.

        strict: mask what the schema does not describe
        """
        self._strict, self._budget, self.hidden = strict, Budget(_STEPS), []
        return self._masked(value, [self._schema])

    def _masked(self, value: Any, schemas: Sequence[Schema]) -> Any:
        nodes = self._nodes(schemas)
        if self._is_hidden(value, nodes):
            self.hidden.append(value)
            return MASK
        if is_object(value):
            return {name: self._masked(item, _member(nodes, name)) for name, item in value.items()}
        if is_array(value):
            return [self._masked(item, _element(nodes, i)) for i, item in enumerate(value)]
        return value

    def _is_hidden(self, value: Any, nodes: Sequence[dict[str, Any]]) -> bool:
        if any(map(_is_marked, nodes)):
            return True
        if self._strict and not any(self._describes(node, value) for node in nodes):
            return True
        return is_object(value) and bool(value) and self._has_secret_keys(nodes)

    def _has_secret_keys(self, nodes: Iterable[dict[str, Any]]) -> bool:
        names = [node["propertyNames"] for node in nodes if "propertyNames" in node]
        return any(map(_is_marked, self._nodes(names)))

    def _describes(self, node: dict[str, Any], value: Any) -> bool:
        """Whether a node knows values of this kind, its branches aside."""
        listed = node.get("enum", [node["const"]] if "const" in node else None)
        if listed is not None:
            self._budget.spend(len(listed))
            return value in listed
        if (kind := node.get("type")) is not None:
            return not _KINDS[type(value)].isdisjoint([kind] if isinstance(kind, str) else kind)
        if not node.keys().isdisjoint(_HOLDS):
            return isinstance(value, dict | list)
        return node.keys().isdisjoint(_ELSEWHERE)

    def _nodes(self, schemas: Sequence[Schema]) -> list[dict[str, Any]]:
        """Return schemas and all branches of them that may apply to the same value."""
        self._budget.spend(1 + len(schemas))
        key = tuple(map(id, schemas))
        if (known := self._expanded.get(key)) is not None:
            self._budget.spend(len(known))
            return known
        found: dict[int, dict[str, Any]] = {}
        waiting = list(schemas)
        while waiting:
            schema = waiting.pop()
            self._budget.spend()
            node: Any = _ANYTHING if schema is True else schema
            if not is_object(node) or id(node) in found:
                continue
            found[id(node)] = node
            if "$ref" in node:
                waiting.append(self._document.target(node["$ref"]))
            for branch in _BRANCHES:
                waiting += node.get(branch, ())
            if "x-typedq-written" in node:
                waiting.append(node["x-typedq-written"])
        self._expanded[key] = list(found.values())
        return self._expanded[key]

    def cut(self, path: str) -> tuple[str, bool]:
        """Return a path up to where it becomes secret, and whether it does or leads nowhere."""
        self._budget, end = Budget(_STEPS), 1
        nodes = self._nodes([self._schema])
        while not any(map(_is_marked, nodes)):
            if not (step := _STEP.match(path, end)):
                return path, end < len(path)
            if self._has_secret_keys(nodes):
                return path[:end], True
            name, index = step[1], step[2]
            below = [
                *(_member(nodes, name) if name else ()),
                *(_element(nodes, int(index)) if index else ()),
                *(_any_below(nodes) if not name and not index else ()),
            ]
            if not below:
                return path, True
            nodes, end = self._nodes(below), step.end()
        return path[:end], True


def _is_marked(node: dict[str, Any]) -> bool:
    return node.get(KEYWORD, False) is not False


def _member(nodes: Iterable[dict[str, Any]], name: str) -> list[Schema]:
    """The schemas of a member. The patterns of names are not tried: all of them may apply."""
    found: list[Schema] = []
    for node in nodes:
        if name in (named := node.get("properties", {})):
            found.append(named[name])
        elif "additionalProperties" in node:
            found.append(node["additionalProperties"])
        elif _is_free(node):
            found.append(True)
        found += node.get("patternProperties", {}).values()
    return found


def _element(nodes: Iterable[dict[str, Any]], index: int) -> list[Schema]:
    found: list[Schema] = []
    for node in nodes:
        first = node.get("prefixItems", ())
        if index < len(first):
            found.append(first[index])
        elif "items" in node:
            found.append(node["items"])
        elif _is_free(node):
            found.append(True)
    return found


def _any_below(nodes: Iterable[dict[str, Any]]) -> Iterator[Schema]:
    """The schemas of all elements and of members whose names are not known."""
    for node in nodes:
        yield from node.get("prefixItems", ())
        yield from (node[key] for key in ("items", "additionalProperties") if key in node)


def _is_free(node: dict[str, Any]) -> bool:
    """Whether a node says nothing of its values, so that everything in them is known."""
    return node.keys().isdisjoint(_HOLDS | _ELSEWHERE | {"type", "enum", "const"})


def _leaves(values: Iterable[Any]) -> Iterator[str]:
    """Yield the texts and numbers in JSON values, and the names of members."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if is_object(value):
            waiting += [*value, *value.values()]
        elif is_array(value):
            waiting += value
        elif value is not None and not isinstance(value, bool):
            yield str(value)


def _quotes(text: str, value: str) -> bool:
    if 0 < len(value) < _SHORT:  # as a word, or nearly every text would have it
        return bool(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text))
    return bool(value) and (value in text or repr(value)[1:-1] in text)
