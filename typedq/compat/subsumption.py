"""Whether a reader subsumes a writer: it accepts every value of it with the same meaning.

All pairs of normal forms that matter are collected first, with what differs locally and which
further pairs that rests on. All are then assumed to hold, and each failure is carried to the pairs
that rest on it: the greatest fixpoint. So recursion needs no guess about the order, and a pair that
many definitions share is compared once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from typedq.compat.arrays import arrays, disjoint, untagged
from typedq.compat.difference import Difference, Link
from typedq.compat.normal_form import CHANGING, Alternative, NormalForm, Side
from typedq.compat.numbers import decimals, is_decimal, numbers
from typedq.compat.objects import objects
from typedq.compat.reader_keywords import unmet
from typedq.compat.scalars import constants, listed_constant, no_difference, strings
from typedq.compat.values import NOT_TEXT, text_form
from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import NOTHING, is_object, text_of

_Differ = Callable[[Alternative, Alternative], Difference]
_DIFFER: dict[str, dict[str, _Differ]] = {
    "null": {"null": no_difference},
    "boolean": {"boolean": no_difference},
    "integer": {"integer": numbers, "number": numbers, "string": decimals},
    "number": {"number": numbers, "string": decimals},
    "string": {"string": strings},
    "array": {"array": arrays},
    "object": {"object": objects},
}
_DIFFER_CONSTANT: dict[str, dict[str, _Differ]] = {
    "boolean": {"boolean": no_difference},
    "integer": {"integer": constants, "number": constants, "string": decimals},
    "number": {"number": constants, "string": decimals},
    "string": {"string": constants},
}
_BYTES = 4_000  # of text that are compared in one step
_MAX_REFUSING = 5  # readers that refuse an alternative, to tell of the nearest


@dataclass(slots=True, eq=False)
class Option:
    """One way to read an alternative of the writer. `holds` until something stands against it."""

    reader: Alternative
    difference: Difference
    holds: bool
    forms: list[tuple[NormalForm, NormalForm]] = field(default_factory=list[Any])  # of the links
    pairs: list[Pair] = field(default_factory=list[Any])  # of the links, in their order


@dataclass(slots=True, eq=False)
class Choice:
    """An alternative of the writer, and the reader's options for it."""

    writer: Alternative
    options: list[Option]
    ambiguous: bool = False

    @property
    def holds(self) -> bool:
        """Return True if exactly one meaning is left."""
        return not self.ambiguous and any(option.holds for option in self.options)


@dataclass(slots=True, eq=False)
class Pair:
    """A form of the writer against one of the reader. `rests_on_it`: options of other pairs."""

    writer: NormalForm
    reader: NormalForm
    choices: list[Choice]
    holds: bool = True
    rests_on_it: list[tuple[Pair, Choice, Option]] = field(default_factory=list[Any])


class SubsumptionCheck:
    """The solved comparison of two sides. Raises `TooComplex`, `Unsupported`."""

    def __init__(self, writer: Side, reader: Side) -> None:
        self.writer, self.reader = writer, reader
        self._pairs: dict[tuple[int, int], Pair] = {}
        self.root = self._collect(writer.document.root, reader.document.root)
        self._solve()

    @property
    def holds(self) -> bool:
        """Return True if the reader subsumes the writer."""
        return self.root.holds

    @property
    def pairs(self) -> int:
        """Return how many pairs of forms had to be compared."""
        return len(self._pairs)

    def _collect(self, writer: Schema, reader: Schema) -> Pair:
        first = self.writer.form(writer), self.reader.form(reader)
        waiting = [first]
        while waiting:
            left, right = waiting.pop()
            if (id(left), id(right)) in self._pairs:
                continue
            self.writer.budget.spend(5)
            forms = _mixed_forms(left, right)
            pair = Pair(left, right, [_choice(w, right, forms) for w in left.alternatives])
            self._pairs[id(left), id(right)] = pair
            for choice in pair.choices:
                for option in choice.options:
                    links = [link for link in option.difference.links if not self._is_same(link)]
                    option.difference.links = links
                    option.forms = [
                        (self.writer.form(link.writer), self.reader.form(link.reader))
                        for link in links
                    ]
                    waiting += option.forms
        return self._pairs[id(first[0]), id(first[1])]

    def _is_same(self, link: Link) -> bool:
        """Return True for parts that say the same, with no difference in them nor below them."""
        ours, theirs = link.writer, link.reader
        if not (is_object(ours) and is_object(theirs)):
            return False
        if ours.keys() == theirs.keys() == {"$ref"}:  # of other defaults there is a warning
            alike = self.writer.digest(ours) == self.reader.digest(theirs)
            return alike and not (self.writer.has_defaults or self.reader.has_defaults)
        try:
            text = msgspec.json.encode(ours)
            alike = text == msgspec.json.encode(theirs) and b'"$ref"' not in text
        except (OverflowError, TypeError, ValueError):  # a number that only Python knows
            return False
        self.writer.budget.spend(len(text) // _BYTES)
        return alike

    def _solve(self) -> None:
        for pair in self._pairs.values():
            for choice in pair.choices:
                for option in choice.options:
                    self.writer.budget.spend(len(option.forms))
                    for left, right in option.forms:
                        target = self._pairs[id(left), id(right)]
                        option.pairs.append(target)
                        target.rests_on_it.append((pair, choice, option))
        failing = [pair for pair in self._pairs.values() if self._fails(pair)]
        while failing:
            for pair, choice, option in failing.pop().rests_on_it:
                self.writer.budget.spend()
                option.holds = False
                if pair.holds and not choice.holds and self._fails(pair):
                    failing.append(pair)

    def _fails(self, pair: Pair) -> bool:
        """Decide a pair; what says the same on both sides holds, whatever it means."""
        if all(choice.holds for choice in pair.choices):
            return False
        left, right = pair.writer.schema, pair.reader.schema
        pair.holds = self.writer.digest(left) == self.reader.digest(right)
        return not pair.holds


def _choice(w: Alternative, reader: NormalForm, forms: Collection[str]) -> Choice:
    fixed = w.constant is not NOTHING
    ambiguous = bool(forms) and w.kind == "string" and _mistakable(w, forms)
    readers = reader.open.get(w.kind, [])
    if w.kind in ("object", "array") and len(readers) > 1:
        left = untagged(w, reader)
        ambiguous = _is_ambiguous(w, left)
        readers = left or readers[:_MAX_REFUSING]
        options = [_option(w, r, _DIFFER[w.kind][w.kind](w, r)) for r in readers]
    else:
        options = [
            _option(w, r, differ(w, r))
            for kind, differ in (_DIFFER_CONSTANT if fixed else _DIFFER).get(w.kind, {}).items()
            for r in reader.open.get(kind, ())
            if w.kind == "string" or kind != "string" or is_decimal(r)
        ]
    if len(options) > 2:
        w.side.budget.spend(2 * len(options))
    if fixed and (listed := reader.constants.get(text_of(w.constant))):
        options.insert(0, _option(w, listed, listed_constant(w, listed)))
    if not ambiguous and any(option.holds for option in options):
        ambiguous = _may_be_changed(w, reader)
    return Choice(w, options, ambiguous)


def _may_be_changed(w: Alternative, reader: NormalForm) -> bool:
    """Return True if a reader that changes values may take what another one reads as it is.

    Whole numbers are read as such if they can be, and as other numbers else.
    """
    if not reader.changing or not w.residue.keys().isdisjoint(CHANGING):
        return False
    kinds = {a.kind for a in reader.alternatives}
    kind = "number" if w.kind == "integer" and "integer" not in kinds else w.kind
    rivals = [r for r in reader.changing if r.kind == kind]
    w.side.budget.spend(1 + len(rivals))
    return any(_may_take(r, w) and not CHANGING.isdisjoint(unmet(w, r)) for r in rivals)


def _may_take(r: Alternative, w: Alternative) -> bool:
    if NOTHING not in (r.constant, w.constant):
        return text_of(r.constant) == text_of(w.constant)
    if w.constant is not NOTHING:
        differ = _DIFFER_CONSTANT.get(w.kind, {}).get(r.kind)
        return differ is None or not differ(w, r).refused
    return w.kind not in ("object", "array") or r.constant is not NOTHING or not disjoint(w, r)


def _is_ambiguous(w: Alternative, readers: list[Alternative]) -> bool:
    """Return True if more than one reader, not saying the same, may take the writer's values."""
    fitting = [r for r in readers if not disjoint(w, r)]
    return len(fitting) > 1 and len({r.side.digest(r.facets) for r in fitting}) > 1


def _mixed_forms(writer: NormalForm, reader: NormalForm) -> Collection[str]:
    """Return what text may stand for to a reader that has other choices than the writer."""
    theirs = reader.text_forms
    return theirs if len(theirs) > 1 and writer.text_forms != theirs else ()


def _mistakable(w: Alternative, forms: Collection[str]) -> bool:
    """Return True if text may be taken for another form than it is, as "1" for a decimal."""
    own = text_form(w.facets)
    return any(form != own and (form or not own or own in NOT_TEXT) for form in forms)


def _option(w: Alternative, r: Alternative, difference: Difference) -> Option:
    """Add keywords that are not compared here, unless both sides agree about them."""
    w.side.budget.spend(2 if w.constant is NOTHING else 1)
    if w.residue or r.residue:
        for key in unmet(w, r):
            difference.add("keyword", what=f"the keyword {key}")
    if w.kind == r.kind != "string" and _finer(w) != _finer(r):
        difference.add("keyword", what="the keyword x-typedq-type")
    return Option(r, difference, not difference.refused)


def _finer(a: Alternative) -> object:
    finer = a.facets.get("x-typedq-type")
    return None if finer == "set" and a.facets.get("uniqueItems") else finer
