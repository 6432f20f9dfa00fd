"""The comparison of two schema documents, reported as a list of changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from typedq.compat.difference import Incompatibility, quoted, shown
from typedq.compat.normal_form import Side
from typedq.compat.report import Finding, findings
from typedq.compat.rules import VERDICTS, Rule
from typedq.compat.subsumption import SubsumptionCheck
from typedq.contracts.canonical import PLAIN_LIMITS, CanonicalForms, definition_hashes, plain_text
from typedq.contracts.dialect import Budget, Document, Unsupported
from typedq.contracts.json_tree import NOTHING, NotJson, check_json, is_object
from typedq.errors import InvalidSchema

_STEPS = 25_000  # about 0.1 s
_MAX_WORDS = 500  # characters of a schema in one place of a message
MAX_BYTES = 1 << 20  # of a published schema
_BACKWARD = {"when": "before this change", "who": "the new worker"}
_FORWARD = {"when": "after this change", "who": "an old worker"}


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

    @property
    def of_reader(self) -> str:
        """Return `message` for a writer and a reader of which neither need be the newer one."""
        these = self.message.replace(f"messages written {_BACKWARD['when']}", "these messages")
        return these.replace(_BACKWARD["who"], "the worker")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`backward`: the new schema reads all that the old one writes; `forward`: the reverse."""

    backward: bool
    forward: bool
    changes: tuple[Change, ...]


def compare(old_schema: Any, new_schema: Any) -> Comparison:
    """Compare two JSON Schema documents: what changed, and which way the change is safe.

    Raise nothing: a difference that is not understood counts as a break, and so does a document
    that is outside the dialect, too large or no schema at all, unless both are equal (the rule
    CANNOT_COMPARE; its message has the reason). Deterministic; at most about half a second.
    """
    documents: list[Document] = []
    try:
        for name, schema in (("old", old_schema), ("new", new_schema)):
            try:
                documents.append(Document(schema))
            except Unsupported as error:
                return _compare_as_written(old_schema, new_schema, f"the {name} schema: {error}")
        if plain_text(old_schema) == plain_text(new_schema):
            return Comparison(True, True, ())
        return _compare(documents[0], documents[1])
    except Unsupported as error:
        return _cannot_compare(str(error))
    except RecursionError:
        return _cannot_compare("too little of Python's stack is left")


def read_schema(published: bytes) -> dict[str, Any]:
    """Parse a schema that anybody may have published.

    Raises `InvalidSchema` if it is too large or is not a JSON Schema. One that is a schema, but
    outside the dialect, is returned: `compare` says why it cannot be compared.
    """
    if len(published) > MAX_BYTES:
        raise InvalidSchema(f"it has {len(published):,} bytes; {MAX_BYTES:,} are allowed")
    try:
        schema: Any = msgspec.json.decode(published)
    except (ValueError, RecursionError) as error:
        raise InvalidSchema(f"it is not JSON: {error}", is_object=False) from None
    if not is_object(schema):
        raise InvalidSchema("it is not a JSON object", is_object=False)
    try:
        Document(schema)
    except Unsupported as error:
        if error.malformed:
            raise InvalidSchema(shown(str(error), _MAX_WORDS)) from None
    return schema


def _compare_as_written(old: Any, new: Any, reason: str) -> Comparison:
    return Comparison(True, True, ()) if _equal(old, new) else _cannot_compare(reason)


def _equal(old: Any, new: Any) -> bool:
    try:
        for schema in (old, new):
            check_json(schema, PLAIN_LIMITS)
    except NotJson:
        return False
    return plain_text(old) == plain_text(new)


def _cannot_compare(reason: str) -> Comparison:
    found = Finding(Incompatibility("incomparable", what=reason), "$", NOTHING, NOTHING, NOTHING)
    return Comparison(False, False, (_change(found, found),))


def _compare(old: Document, new: Document) -> Comparison:
    budget = Budget(_STEPS)
    hashes = definition_hashes([old, new])
    sides = [
        Side(document, CanonicalForms(document, known, budget), budget, name)
        for document, known, name in zip((old, new), hashes, ("old", "new"), strict=True)
    ]
    backward = SubsumptionCheck(sides[0], sides[1])
    forward = SubsumptionCheck(sides[1], sides[0])
    if _several(old.root) != _several(new.root) and not (backward.holds and forward.holds):
        return _other_payload(old, new, backward.holds, forward.holds)
    broken: dict[tuple[Rule, str], list[Finding | None]] = {}
    for way, check in enumerate((backward, forward)):
        for finding in _with_a_break(check):
            if finding.breaks or way == 0:
                verdict = VERDICTS[finding.kind]
                rule = verdict.forward if way else verdict.backward
                both = broken.setdefault((rule, finding.path), [None, None])
                both[way] = both[way] or finding
    changes = tuple(_change(*both) for both in broken.values())
    return Comparison(backward.holds, forward.holds, changes)


def _with_a_break(check: SubsumptionCheck) -> Iterator[Finding]:
    """Yield the findings, of which at least one breaks if the check fails."""
    breaks = check.holds
    for finding in findings(check):
        breaks = breaks or finding.breaks
        yield finding
    if not breaks:  # so many warnings came first that the rest was left out
        what = Incompatibility("incomparable", what="there are too many differences to list")
        yield Finding(what, "$", NOTHING, NOTHING, NOTHING)


def _other_payload(old: Document, new: Document, backward: bool, forward: bool) -> Comparison:
    """One parameter became several, or the reverse, and their bytes differ."""
    words = [_payload_words(document) for document in (old, new)]
    found: list[Finding | None] = []
    for way, holds in enumerate((backward, forward)):
        what = Incompatibility("payload", writer=words[way], reader=words[1 - way])
        found.append(None if holds else Finding(what, "$", NOTHING, old.root, new.root))
    return Comparison(backward, forward, (_change(found[0], found[1]),))


def _several(root: object) -> bool:
    return is_object(root) and root.get("x-typedq-payload") == "parameters"


def _payload_words(document: Document) -> str:
    root: Any = document.root
    if is_object(root) and "$ref" in root:
        root = document.target(root["$ref"])
    facts: dict[str, Any] = root if is_object(root) else {}
    if not _several(document.root):
        name = facts.get("title")
        return f"the one parameter itself, {name}" if name else "the one parameter itself"
    names: Any = facts.get("properties", {})
    listed = f" ({', '.join(map(quoted, names))})" if is_object(names) and names else ""
    return f"an object with one entry a parameter{listed}"


def _change(backward: Finding | None, forward: Finding | None) -> Change:
    found = backward or forward
    assert found is not None  # noqa: S101 - one side has found it
    what, verdict = found.what, VERDICTS[found.kind]
    told = {"what": what.what, "writer": what.writer, "reader": what.reader}
    words = {key: shown(text, _MAX_WORDS) for key, text in told.items()}
    words |= _BACKWARD if backward else _FORWARD
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
