"""The comparison of two schema documents, told as a list of changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from typedq.compat.difference import Incompatibility, Step, quoted
from typedq.compat.documents import Document, Json
from typedq.compat.examples import Examples
from typedq.compat.normal_form import Alternative, NormalForm, Normalizer
from typedq.compat.rules import VERDICTS, Kind, Rule
from typedq.compat.scalars import describe
from typedq.compat.subsumption import Choice, Option, Pair, SubsumptionCheck
from typedq.contracts.json_tree import NOTHING, is_object, text_of

_TAGS = frozenset[Kind](("tag", "only value"))
_BACKWARD = {"when": "before this change", "who": "the new worker"}
_FORWARD = {"when": "after this change", "who": "an old worker"}
# These kinds do not touch every value of the writer, so an arbitrary value is no example.
_PARTIAL = frozenset(
    ("bound", "pattern", "element", "repeated", "ambiguous", "keyword", "collapsing")
) | {"members lost", "open member", "default", "renamed", "dropped", "undeclared"}


@dataclass(frozen=True, slots=True)
class Change:
    """One finding. `backward`: the new code reads what the old one wrote, as far as this change is
    concerned; `forward`: the old code reads what the new one writes. A `warning` breaks neither.

    `path` is a JSON path such as `$.customer.zip`, with `[*]` for any element and `.*` for any key.
    `example` is a JSON value that one side writes and the other refuses or misreads, or None.
    `old` and `new` are the parts of the schemas concerned, or None where there is none.
    """

    rule: Rule
    path: str
    backward: bool
    forward: bool
    warning: bool
    message: str
    example: Any
    fix: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """`backward`: the new schema reads all that the old one writes; `forward`: the reverse."""

    backward: bool
    forward: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Finding:
    incompatibility: Incompatibility
    path: str
    example: Any
    writer_schema: Any
    reader_schema: Any


def compare(old_schema: Json, new_schema: Json) -> Comparison:
    """What changed between two JSON Schema documents, and which way it is safe. Pure.

    A difference that is not understood counts as a break.
    """
    try:
        return _compare(Document(old_schema), Document(new_schema))
    except RecursionError:
        incompatibility = Incompatibility(
            "keyword", what="the schema, too deeply nested to be compared,"
        )
        change = _change(_Finding(incompatibility, "$", NOTHING, old_schema, new_schema), None)
        return Comparison(False, False, (change,))


def _compare(old: Document, new: Document) -> Comparison:
    if _several(old.root) != _several(new.root):
        words = [_payload_words(document) for document in (old, new)]
        incompatibility = Incompatibility("payload", writer=words[0], reader=words[1])
        found = _Finding(incompatibility, "$", NOTHING, old.root, new.root)
        return Comparison(False, False, (_change(found, found),))
    normalizer = Normalizer(old), Normalizer(new)
    backward, forward = SubsumptionCheck(*normalizer), SubsumptionCheck(*reversed(normalizer))
    broken: dict[tuple[Rule, str], list[_Finding | None]] = {}
    for side, solved in enumerate((backward, forward)):
        for finding in _findings(solved):
            if finding.incompatibility.breaks or side == 0:
                verdict = VERDICTS[finding.incompatibility.kind]
                rule = verdict.forward if side else verdict.backward
                slot = broken.setdefault((rule, finding.path), [None, None])
                slot[side] = slot[side] or finding
    changes = tuple(_change(*sides) for sides in broken.values())
    return Comparison(backward.root.holds, forward.root.holds, changes)


def _several(root: object) -> bool:
    return is_object(root) and root.get("x-typedq-payload") == "parameters"


def _payload_words(document: Document) -> str:
    root: Any = document.root
    if is_object(root) and "$ref" in root:
        root = document.target(root["$ref"])
    facts: Json = root if is_object(root) else {}
    if not _several(document.root):
        name = facts.get("title")
        return f"the one parameter itself, {name}" if name else "the one parameter itself"
    names: Any = facts.get("properties", {})
    listed = f" ({', '.join(map(quoted, names))})" if is_object(names) and names else ""
    return f"an object with one entry a parameter{listed}"


def _change(backward: _Finding | None, forward: _Finding | None) -> Change:
    found = backward or forward
    assert found is not None  # noqa: S101 - a change has been found by somebody
    incompatibility, verdict = found.incompatibility, VERDICTS[found.incompatibility.kind]
    words = {**(_BACKWARD if backward else _FORWARD), "what": incompatibility.what}
    words |= {"writer": incompatibility.writer, "reader": incompatibility.reader}
    parts = [None if x is NOTHING else x for x in (found.writer_schema, found.reader_schema)]
    old, new = parts if backward else reversed(parts)
    return Change(
        rule=verdict.backward if backward else verdict.forward,
        path=found.path,
        backward=backward is None or not verdict.breaks,
        forward=forward is None or not verdict.breaks,
        warning=not verdict.breaks,
        message=verdict.sentence.format(**words),
        example=None if found.example is NOTHING else found.example,
        fix=verdict.fix if backward else verdict.forward_fix or verdict.fix,
        old=old,
        new=new,
    )


_Wrap = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Visit:
    pair: Pair
    path: str
    wrap: _Wrap  # from an example of the pair's writer to one of the whole document
    quiet: bool  # warnings only: the pair is no reason for a break
    report_as: _Finding | None = None


def _findings(solved: SubsumptionCheck) -> Iterator[_Finding]:
    """Breaks and warnings, nearest to the root first; of shared definitions only once."""
    examples = Examples(solved.writer)
    todo = deque([_Visit(solved.root, "$", lambda value: value, solved.root.holds)])
    seen = set[tuple[int, bool, str]]()
    while todo:
        visit = todo.popleft()
        key = (id(visit.pair), visit.quiet, visit.report_as.path if visit.report_as else "")
        if key in seen:
            continue
        seen.add(key)
        for choice in visit.pair.choices:
            fine = any(map(solved.holds, choice.options)) and not choice.ambiguous
            best = _best(solved, choice)
            if not fine and not visit.quiet and (whole := _whole(visit.pair, choice, best)):
                yield _located(whole, visit, choice.writer, examples)
                continue
            if best is None:
                continue
            for incompatibility in best.difference.incompatibilities:
                if not (incompatibility.breaks and (visit.quiet or fine)):
                    yield _located(incompatibility, visit, choice.writer, examples)
            quiet = visit.quiet or fine
            todo.extend(_next(solved, replace(visit, quiet=quiet), choice.writer, best, examples))


def _best(solved: SubsumptionCheck, choice: Choice) -> Option | None:
    """The option that holds, or the one that fails least and so explains most."""

    def failures(option: Option) -> tuple[bool, bool, int]:
        incompatibilities = [
            incompatibility.kind
            for incompatibility in option.difference.incompatibilities
            if incompatibility.breaks
        ]
        links = sum(not solved.pair(link).holds for link in option.difference.links)
        return (
            not solved.holds(option),
            bool(_TAGS & {*incompatibilities}),
            len(incompatibilities) + links,
        )

    return min(choice.options, key=failures, default=None)


def _whole(pair: Pair, choice: Choice, best: Option | None) -> Incompatibility | None:
    """The incompatibility, where it is this alternative as a whole that finds no reader."""
    w, kind = choice.writer, choice.writer.kind
    if choice.ambiguous:
        return Incompatibility("ambiguous")
    if w.constant is not NOTHING and any(r.kind == kind for r in pair.reader.constants.values()):
        return Incompatibility(
            "null" if kind == "null" else "value", what=describe(w), example=w.constant
        )
    if best is None:
        if kind == "null":
            return Incompatibility("null")
        kinds = {r.kind for r in pair.reader.alternatives}
        part = any(c.options for c in pair.choices) or kind in kinds
        part = part or (kind == "number" and "integer" in kinds)
        name: Kind = "narrower" if part else "other type"
        return Incompatibility(name, writer=describe(w), reader=_described(pair.reader))
    tag = next(
        (
            incompatibility
            for incompatibility in best.difference.incompatibilities
            if incompatibility.kind in _TAGS
        ),
        None,
    )
    variants = [x for x in (*pair.writer.alternatives, *pair.reader.open) if x.kind == kind]
    if tag is not None and len(variants) > 2:  # more than this one and its reader
        return Incompatibility("variant", what=tag.writer)
    return None


def _described(form: NormalForm) -> str:
    words = dict[str, None]()
    for alternative in form.alternatives:
        words[describe(alternative)] = None
        if len(words) > 5:  # of perhaps a thousand
            return " or ".join([*list(words)[:5], "more"])
    return " or ".join(words) or "nothing"


def _located(
    incompatibility: Incompatibility, visit: _Visit, w: Alternative, examples: Examples
) -> _Finding:
    example = incompatibility.example
    if incompatibility.reaches is not None:
        example = examples.reaching(w, incompatibility.reaches)
    elif example is NOTHING and incompatibility.kind not in _PARTIAL:
        example = examples.of_alternative(w)
    if (
        example is not NOTHING
        and incompatibility.at is None
        and text_of(example) in visit.pair.reader.constants
    ):
        example = NOTHING
    parts = (incompatibility.writer_schema, incompatibility.reader_schema)
    if incompatibility.at is None:
        parts = visit.pair.writer.schema, visit.pair.reader.schema
    example = NOTHING if example is NOTHING else visit.wrap(example)
    if visit.report_as is not None:
        return replace(visit.report_as, example=example)
    return _Finding(incompatibility, visit.path + str(incompatibility.at or ""), example, *parts)


def _next(
    solved: SubsumptionCheck, visit: _Visit, w: Alternative, best: Option, examples: Examples
) -> Iterator[_Visit]:
    for link in best.difference.links:
        pair, report_as = solved.pair(link), visit.report_as
        path = visit.path + str(link.step)
        if report_as is None and link.report_as is not None:
            incompatibility = link.report_as
            if incompatibility.kind == "key" and not incompatibility.writer:
                incompatibility = replace(
                    incompatibility, writer=_described(pair.writer), reader=_described(pair.reader)
                )
            report_as = _Finding(incompatibility, path, NOTHING, link.writer, link.reader)
        wrap = partial(_wrap, visit.wrap, examples, w, link.step)
        yield _Visit(pair, path, wrap, visit.quiet or pair.holds, report_as)


def _wrap(outer: _Wrap, examples: Examples, w: Alternative, step: Step, part: Any) -> Any:
    value = examples.inside(w, step, part)
    return NOTHING if value is NOTHING else outer(value)
