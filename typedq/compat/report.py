"""What a solved comparison found, each incompatibility with its path and an example."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from typedq.compat.difference import Incompatibility, Step
from typedq.compat.examples import Examples
from typedq.compat.normal_form import Alternative, NormalForm
from typedq.compat.rules import Kind
from typedq.compat.subsumption import Choice, Option, Pair, SubsumptionCheck
from typedq.compat.validation import Validator
from typedq.compat.words import describe
from typedq.contracts.dialect import Budget, TooComplex
from typedq.contracts.json_tree import NOTHING

_STEPS = 20_000  # findings, and parts that are visited to find more
_EXAMPLE_STEPS = 5_000  # values that are made or validated
_TAGS = frozenset[Kind](("tag", "only value"))
# These kinds do not touch every value of the writer, so an arbitrary value is no example.
_PARTIAL = frozenset(
    ("bound", "pattern", "element", "repeated", "ambiguous", "keyword", "collapsing")
) | {"members lost", "open member", "default", "renamed", "dropped", "undeclared", "rounded"}
# The reader accepts such values, but takes them for something else.
_MISREAD = frozenset[Kind](
    ("ambiguous", "collapsing", "element", "encoding", "members lost", "repeated")
)


@dataclass(frozen=True, slots=True)
class Finding:
    """An incompatibility or a warning, located. `example`: NOTHING if none is known to be right."""

    what: Incompatibility
    path: str
    example: Any
    writer_schema: Any
    reader_schema: Any

    @property
    def kind(self) -> Kind:
        """Return what kind of incompatibility it is."""
        return self.what.kind

    @property
    def breaks(self) -> bool:
        """Return True unless it is only a warning."""
        return self.what.breaks


@dataclass(frozen=True, slots=True)
class _Visit:
    pair: Pair
    path: str
    wrap: Callable[[Any], Any]  # from an example of the pair's writer to one of the whole document
    quiet: bool  # warnings only: the pair is no reason for a break
    report_as: Finding | None = None

    @property
    def key(self) -> tuple[int, bool, str]:
        return id(self.pair), self.quiet, self.report_as.path if self.report_as else ""


def findings(check: SubsumptionCheck) -> Iterator[Finding]:
    """Yield breaks and warnings, nearest to the root first; those of shared definitions once."""
    report = _Report(check)
    waiting = deque([_Visit(check.root, "$", lambda value: value, check.root.holds)])
    seen = {waiting[0].key}
    while waiting:
        visit = waiting.popleft()
        context = _Context(visit.pair)
        for choice in visit.pair.choices:
            if report.exhausted:
                return
            quiet, best = visit.quiet or choice.holds, report.best(choice)
            if not quiet and (whole := context.as_a_whole(choice, best)):
                yield from report.located(whole, visit, choice.writer)
                continue
            if best is None:
                continue
            for what in best.difference.incompatibilities:
                if not (what.breaks and quiet):
                    yield from report.located(what, visit, choice.writer)
            here = visit if quiet == visit.quiet else replace(visit, quiet=quiet)
            for follower in report.followers(here, choice.writer, best):
                if follower.key not in seen:
                    seen.add(follower.key)
                    waiting.append(follower)


class _Context:
    """What the alternatives of a pair are, to tell whether one of them fails as a whole."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    @cached_property
    def _constant_kinds(self) -> set[str]:
        return {r.kind for r in self._pair.reader.constants.values()}

    @cached_property
    def _kinds(self) -> set[str]:
        return {r.kind for r in self._pair.reader.alternatives}

    @cached_property
    def _variants(self) -> Counter[str]:
        readers = {kind: len(same) for kind, same in self._pair.reader.open.items()}
        return Counter(x.kind for x in self._pair.writer.alternatives) + Counter(readers)

    @cached_property
    def _has_options(self) -> bool:
        return any(choice.options for choice in self._pair.choices)

    @cached_property
    def _words(self) -> str:
        return _described(self._pair.reader)

    def as_a_whole(self, choice: Choice, best: Option | None) -> Incompatibility | None:
        """Return the incompatibility if it is this alternative itself that finds no reader."""
        w, kind = choice.writer, choice.writer.kind
        if choice.ambiguous:
            return Incompatibility("ambiguous")
        if w.constant is not NOTHING and kind in self._constant_kinds:
            return Incompatibility("value", what=describe(w), example=w.constant)
        if best is None:
            if kind == "null":
                return Incompatibility("null")
            part = self._has_options or kind in self._kinds
            part = part or (kind == "number" and "integer" in self._kinds)
            name: Kind = "narrower" if part else "other type"
            return Incompatibility(name, writer=describe(w), reader=self._words)
        tags = (what for what in best.difference.incompatibilities if what.kind in _TAGS)
        if (tag := next(tags, None)) and self._variants[kind] > 2:  # more than it and its reader
            return Incompatibility("variant", what=tag.writer)
        return None


def _described(form: NormalForm) -> str:
    words = dict[str, None]()
    for alternative in form.alternatives:
        words[describe(alternative)] = None
        if len(words) > 5:  # of perhaps a thousand
            return " or ".join([*list(words)[:5], "more"])
    return " or ".join(words) or "nothing"


class _Report:
    """Places findings, with examples that are checked against both schemas."""

    def __init__(self, check: SubsumptionCheck) -> None:
        self._check, self._steps = check, Budget(_STEPS)
        self._seen = set[tuple[Kind, str]]()
        check.writer.budget = check.reader.budget = Budget(_EXAMPLE_STEPS)
        self._examples = Examples(check.writer)
        self._writes, self._reads = Validator(check.writer), Validator(check.reader)

    @property
    def exhausted(self) -> bool:
        """Return True if so much was found that nobody reads more."""
        return self._steps.left < 0

    def best(self, choice: Choice) -> Option | None:
        """Return the option that holds, or the one that fails least and so explains most."""

        def failures(option: Option) -> tuple[bool, bool, int, int]:
            kinds = [x.kind for x in option.difference.incompatibilities if x.breaks]
            links = sum(not pair.holds for pair in option.pairs)
            warnings = len(option.difference.incompatibilities) if option.holds else 0
            return not option.holds, bool(_TAGS & {*kinds}), len(kinds) + links, warnings

        return min(choice.options, key=failures, default=None)

    def located(self, what: Incompatibility, visit: _Visit, w: Alternative) -> Iterator[Finding]:
        """Yield the finding at its path in the document, the first of its kind there."""
        self._steps.left -= 5
        report_as = visit.report_as if what.breaks else None
        key = what.kind, f"{visit.path}{what.at or ''}"
        if report_as is not None:
            key = report_as.kind, report_as.path
        if key in self._seen:
            return
        self._seen.add(key)
        parts = (what.writer_schema, what.reader_schema)
        if what.at is None:
            parts = visit.pair.writer.schema, visit.pair.reader.schema
        finding = Finding(what, key[1], NOTHING, *parts)
        yield replace(report_as or finding, example=self._example(what, visit, w))

    def _example(self, what: Incompatibility, visit: _Visit, w: Alternative) -> Any:
        try:
            example = what.example
            if what.reaches is not None:
                example = self._examples.reaching(w, what.reaches)
            elif example is NOTHING and what.kind not in _PARTIAL:
                example = self._examples.of_alternative(w)
            example = NOTHING if example is NOTHING else visit.wrap(example)
            return example if self._is_right(example, what.kind) else NOTHING
        except (TooComplex, RecursionError):
            return NOTHING

    def _is_right(self, example: Any, kind: Kind) -> bool:
        if example is NOTHING:
            return False
        roots = self._check.writer.document.root, self._check.reader.document.root
        if self._writes.writes(roots[0], example) is not True:
            return False
        return kind in _MISREAD or self._reads.reads(roots[1], example) is False

    def followers(self, visit: _Visit, w: Alternative, best: Option) -> Iterator[_Visit]:
        """Yield what the parts of an alternative lead to."""
        self._steps.left -= len(best.difference.links)
        for link, pair in zip(best.difference.links, best.pairs, strict=True):
            report_as = visit.report_as
            path = visit.path + str(link.step)
            if report_as is None and (what := link.report_as) is not None:
                if what.kind == "key" and not what.writer:
                    ours, theirs = _described(pair.writer), _described(pair.reader)
                    what = replace(what, writer=ours, reader=theirs)
                report_as = Finding(what, path, NOTHING, link.writer, link.reader)
            wrap = partial(self._wrap, visit.wrap, w, link.step)
            yield _Visit(pair, path, wrap, visit.quiet or pair.holds, report_as)

    def _wrap(self, outer: Callable[[Any], Any], w: Alternative, step: Step, part: Any) -> Any:
        value = self._examples.inside(w, step, part)
        return NOTHING if value is NOTHING else outer(value)
