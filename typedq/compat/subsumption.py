"""Whether a reader covers a writer: every value it can write is accepted with the same meaning.

All pairs of normalizer that matter are collected first, with what differs locally and which further
pairs that rests on. All are then assumed to hold, and the assumption is taken back wherever it
fails, until nothing changes: the greatest fixpoint. So recursion needs no guess about the order,
and a pair that many definitions share is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from typedq.compat.containers import arrays, disjoint, objects, untagged
from typedq.compat.difference import Difference, Link
from typedq.compat.documents import Schema, same
from typedq.compat.normal_form import Alternative, NormalForm, Normalizer
from typedq.compat.scalars import (
    NOT_TEXT,
    constants,
    decimals,
    listed_constant,
    no_difference,
    numbers,
    strings,
    text_form,
)
from typedq.contracts.fragments import READER_KEYWORDS
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
    """A form of the writer against one of the reader. `equal`: it holds as both are the same."""

    writer: NormalForm
    reader: NormalForm
    choices: list[Choice]
    holds: bool = True
    equal: bool = False


class SubsumptionCheck:
    """The solved comparison of two sides. `steps` counts evaluations of a pair."""

    def __init__(self, writer: Normalizer, reader: Normalizer) -> None:
        self.steps = 0
        self.writer, self.reader = writer, reader
        self._pairs: dict[tuple[int, int], Pair] = {}
        self.root = self._collect(writer.document.root, reader.document.root)
        self._solve()

    @property
    def pairs(self) -> int:
        """How many pairs of normalizer had to be looked at."""
        return len(self._pairs)

    def pair(self, link: Link) -> Pair:
        writer, reader = self.writer(link.writer), self.reader(link.reader)
        return self._pairs[id(writer), id(reader)]

    def holds(self, option: Option) -> bool:
        difference = option.difference
        return not difference.refused and all(self.pair(x).holds for x in difference.links)

    def _collect(self, writer: Schema, reader: Schema) -> Pair:
        first = self.writer(writer), self.reader(reader)
        todo = [first]
        while todo:
            left, right = todo.pop()
            if (id(left), id(right)) in self._pairs:
                continue
            forms = _mixed_forms(left, right)
            pair = Pair(left, right, [_choice(w, right, forms) for w in left.alternatives])
            self._pairs[id(left), id(right)] = pair
            todo += [
                (self.writer(link.writer), self.reader(link.reader))
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
                    sides = self.writer.document, self.reader.document
                    pair.equal = same(sides[0], pair.writer.schema, sides[1], pair.reader.schema)
                    pair.holds = pair.equal
                    changed = changed or not pair.holds

    def _evaluate(self, pair: Pair) -> bool:
        self.steps += 1
        return all(
            not choice.ambiguous and any(map(self.holds, choice.options)) for choice in pair.choices
        )


def _choice(w: Alternative, reader: NormalForm, forms: Collection[str]) -> Choice:
    fixed = w.constant is not NOTHING
    table = _DIFFER_CONSTANT if fixed else _DIFFER
    readers = [r for r in reader.open if (w.kind, r.kind) in table]
    ambiguous = w.kind == "string" and _mistakable(w, forms)
    if len(readers) > 1 and w.kind in ("object", "array"):
        left = untagged(w, readers)
        ambiguous = sum(not disjoint(w, r) for r in left) > 1
        readers = left or readers  # all that refuse it, to tell of the nearest
    options = [Option(r, _unknown(w, r, table[w.kind, r.kind](w, r))) for r in readers]
    if fixed and (listed := reader.constants.get(text_of(w.constant))):
        options.insert(0, Option(listed, _unknown(w, listed, listed_constant(w, listed))))
    return Choice(w, options, ambiguous)


def _mixed_forms(writer: NormalForm, reader: NormalForm) -> Collection[str]:
    """What text may stand for to a reader who must guess, as it has not the writer's choices."""
    ours, theirs = (
        list(dict.fromkeys(text_form(a) for a in form.alternatives if a.kind == "string"))
        for form in (writer, reader)
    )
    return theirs if len(theirs) > 1 and ours != theirs else ()


def _mistakable(w: Alternative, forms: Collection[str]) -> bool:
    """Whether text may be taken for another form of text than it is, as "1" for a decimal."""
    own = text_form(w)
    return any(form != own and (form or not own or own in NOT_TEXT) for form in forms)


def _unknown(w: Alternative, r: Alternative, difference: Difference) -> Difference:
    """Adds keywords that neither side may have alone: nobody here knows what they mean."""
    ours = {key for key in w.unknown if key.startswith("x-typedq-")} - READER_KEYWORDS
    for key in sorted(ours | r.unknown.keys()):
        left, right = w.unknown.get(key, NOTHING), r.unknown.get(key, NOTHING)
        if (
            left is NOTHING
            or right is NOTHING
            or not same(w.document, {"?": left}, r.document, {"?": right})
        ):
            difference.add("keyword", what=f"the keyword {key.removeprefix('?')}")
    if w.kind == r.kind != "string" and _finer(w) != _finer(r):
        difference.add("keyword", what="the keyword x-typedq-type")
    return difference


def _finer(a: Alternative) -> object:
    finer = a.facets.get("x-typedq-type")
    return None if finer == "set" and a.facets.get("uniqueItems") else finer
