"""Whether a reader covers a writer: every value it can write is accepted with the same meaning.

All pairs of shapes that matter are collected first, with what differs locally and which further
pairs that rests on. All are then assumed to hold, and the assumption is taken back wherever it
fails, until nothing changes: the greatest fixpoint. So recursion needs no guess about the order,
and a pair that many definitions share is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from typedq.contracts.compatibility.containers import arrays, disjoint, objects
from typedq.contracts.compatibility.documents import Document, Schema, same
from typedq.contracts.compatibility.gaps import Difference, Link
from typedq.contracts.compatibility.scalars import (
    NOT_TEXT,
    constants,
    decimals,
    listed_constant,
    no_difference,
    numbers,
    strings,
    text_form,
)
from typedq.contracts.compatibility.shapes import Alternative, Shape, Shapes
from typedq.contracts.json_tree import NOTHING, text_of

_DIFFER: dict[tuple[str, str], Callable[[Alternative, Alternative], Difference]] = {
    ("null", "null"): no_difference,
    ("boolean", "boolean"): no_difference,
    ("integer", "integer"): numbers,
    ("integer", "number"): numbers,
    ("number", "number"): numbers,
    ("integer", "string"): decimals,
    ("number", "string"): decimals,
    ("string", "string"): strings,
    ("array", "array"): arrays,
    ("object", "object"): objects,
}
_DIFFER_CONSTANT: dict[tuple[str, str], Callable[[Alternative, Alternative], Difference]] = {
    kinds: differ if differ is decimals else constants
    for kinds, differ in _DIFFER.items()
    if not {*kinds} & {"array", "object"}
}
_RESTRICTING = frozenset(("x-typedq-mask", "x-typedq-decimal"))


@dataclass(slots=True)
class Option:
    """One way to read an alternative of the writer."""

    reader: Alternative
    difference: Difference


@dataclass(slots=True)
class Choice:
    """An alternative of the writer, and the reader's options for it."""

    writer: Alternative
    options: list[Option]
    ambiguous: bool = False


@dataclass(slots=True, eq=False)
class Pair:
    """A shape of the writer against one of the reader. `equal`: it holds as both are the same."""

    writer: Shape
    reader: Shape
    choices: list[Choice]
    holds: bool = True
    equal: bool = False


class Covering:
    """The solved comparison of two documents. `steps` counts evaluations of a pair."""

    def __init__(self, writer: Document, reader: Document) -> None:
        self.steps = 0
        self._documents = writer, reader
        self.writer_shapes = Shapes(writer)
        self._shapes = self.writer_shapes, Shapes(reader)
        self._pairs: dict[tuple[int, int], Pair] = {}
        self.root = self._collect(writer.root, reader.root)
        self._solve()

    @property
    def pairs(self) -> int:
        """How many pairs of shapes had to be looked at."""
        return len(self._pairs)

    def pair(self, link: Link) -> Pair:
        writer, reader = self._shapes[0](link.writer), self._shapes[1](link.reader)
        return self._pairs[id(writer), id(reader)]

    def holds(self, option: Option) -> bool:
        difference = option.difference
        return not difference.refused and all(self.pair(x).holds for x in difference.links)

    def _collect(self, writer: Schema, reader: Schema) -> Pair:
        first = self._shapes[0](writer), self._shapes[1](reader)
        todo = [first]
        while todo:
            left, right = todo.pop()
            if (id(left), id(right)) in self._pairs:
                continue
            pair = Pair(left, right, [_choice(w, left, right) for w in left.alternatives])
            self._pairs[id(left), id(right)] = pair
            todo += [
                (self._shapes[0](link.writer), self._shapes[1](link.reader))
                for choice in pair.choices
                for option in choice.options
                for link in option.difference.links
            ]
        return self._pairs[id(first[0]), id(first[1])]

    def _solve(self) -> None:
        pairs, changed = list(reversed(self._pairs.values())), True
        while changed:
            changed = False
            for pair in pairs:
                if pair.holds and not pair.equal and not self._evaluate(pair):
                    pair.equal = same(
                        self._documents[0],
                        pair.writer.schema,
                        self._documents[1],
                        pair.reader.schema,
                    )
                    pair.holds = pair.equal
                    changed = changed or not pair.holds

    def _evaluate(self, pair: Pair) -> bool:
        self.steps += 1
        return all(
            not choice.ambiguous and any(map(self.holds, choice.options)) for choice in pair.choices
        )


def _choice(w: Alternative, writer: Shape, reader: Shape) -> Choice:
    fixed = w.constant is not NOTHING
    table = _DIFFER_CONSTANT if fixed else _DIFFER
    options = [
        Option(r, _unknown(w, r, differ(w, r)))
        for r in reader.open
        if (differ := table.get((w.kind, r.kind)))
    ]
    if fixed and (listed := reader.constants.get(text_of(w.constant))):
        options.insert(0, Option(listed, _unknown(w, listed, listed_constant(w, listed))))
    rivals = len(options) > 1 and w.kind in ("object", "array")
    if rivals and sum(not disjoint(w, option.reader) for option in options) > 1:
        return Choice(w, options, ambiguous=True)
    return Choice(w, options, _mistakable(w, writer, reader))


def _mistakable(w: Alternative, writer: Shape, reader: Shape) -> bool:
    """Whether text may be taken for another form of text than it is, as "1" for a decimal."""
    if w.kind != "string":
        return False
    forms = [
        dict.fromkeys(text_form(a) for a in shape.alternatives if a.kind == "string")
        for shape in (writer, reader)
    ]
    own = text_form(w)
    others = forms[1].keys() - {own} - ({""} if own and own not in NOT_TEXT else set())
    return len(forms[1]) > 1 and bool(others) and list(forms[0]) != list(forms[1])


def _unknown(w: Alternative, r: Alternative, difference: Difference) -> Difference:
    """Adds keywords that neither side may have alone: nobody here knows what they mean."""
    ours = {key for key in w.unknown if key.startswith("x-typedq-")} - _RESTRICTING
    for key in sorted(ours | r.unknown.keys()):
        left, right = w.unknown.get(key, NOTHING), r.unknown.get(key, NOTHING)
        if (
            left is NOTHING
            or right is NOTHING
            or not same(w.document, {"?": left}, r.document, {"?": right})
        ):
            difference.gap("keyword", what=f"the keyword {key.removeprefix('?')}")
    if w.kind == r.kind != "string" and _finer(w) != _finer(r):
        difference.gap("keyword", what="the keyword x-typedq-type")
    return difference


def _finer(a: Alternative) -> object:
    finer = a.facets.get("x-typedq-type")
    return None if finer == "set" and a.facets.get("uniqueItems") else finer
