from __future__ import annotations

import copy
import datetime as dt
import json
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat.cases import CASES, TRAPS, node, obj, struct
from typedq.compat import compare
from typedq.compat.rules import VERDICTS
from typedq.contracts.schema import document

INT: Any = {"type": "integer"}


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward", "rules"),
    [pytest.param(*case[1:], id=case[0]) for case in CASES],
)
def test_table(old: Any, new: Any, backward: bool, forward: bool, rules: set[str]) -> None:
    there = compare(document(old), document(new))
    back = compare(document(new), document(old))
    assert (there.backward, there.forward) == (backward, forward)
    assert (back.backward, back.forward) == (forward, backward)
    assert {change.rule for change in there.changes} == rules
    for found in (there, back):
        assert found.backward == all(change.backward for change in found.changes)
        assert found.forward == all(change.forward for change in found.changes)


@pytest.mark.parametrize(
    ("old", "new", "backward", "forward"), [pytest.param(*t[1:], id=t[0]) for t in TRAPS]
)
def test_traps(old: Any, new: Any, backward: bool, forward: bool) -> None:
    before = copy.deepcopy((old, new))
    there, back = compare(old, new), compare(new, old)
    assert (there.backward, there.forward) == (backward, forward)
    assert (back.backward, back.forward) == (forward, backward)
    assert (old, new) == before
    for found in (there, back):
        assert found.backward == all(change.backward for change in found.changes)
        assert found.forward == all(change.forward for change in found.changes)


@pytest.mark.parametrize("schema", [t[i] for t in TRAPS for i in (1, 2)])
def test_what_is_equal_is_compatible_whatever_it_means(schema: Any) -> None:
    found = compare(schema, copy.deepcopy(schema))
    assert (found.backward, found.forward, found.changes) == (True, True, ())


def test_a_finding_tells_a_stranger_what_breaks_and_how_to_mend_it() -> None:
    def email(**zip_code: Any) -> Any:
        address = {"street": {"type": "string"}, **zip_code}
        return obj(obj({"type": "object", "properties": address, "required": list(address)}))

    (change,) = compare(email(), email(zip={"type": "string"})).changes
    assert (change.rule, change.path) == ("FIELD_ADDED_REQUIRED", "$.a.a.zip")
    assert (change.backward, change.forward, change.warning) == (False, True, False)
    assert change.message == (
        'messages written before this change have no "zip"; the new worker refuses them'
    )
    assert change.example == {"a": {"a": {"street": "x"}}}
    assert change.fix == "give it a default, or add an upcaster from the old version"
    assert (change.old, change.new) == (None, {"type": "string"})


def test_a_break_of_the_old_code_is_told_from_its_side() -> None:
    (change,) = compare(INT, {"anyOf": [INT, {"type": "null"}]}).changes
    assert change.message == (
        "messages written after this change may hold null here; an old worker refuses null"
    )
    assert (change.rule, change.backward, change.forward) == ("NULL_ADDED", True, False)
    assert change.fix == "deploy the workers before the producers"


def test_names_that_are_no_identifiers_are_quoted_in_paths() -> None:
    old = {"type": "object", "properties": {'a "b"': INT}, "required": []}
    new = {"type": "object", "properties": {'a "b"': {"type": "string"}}, "required": []}
    assert compare(old, new).changes[0].path == '$["a \\"b\\""]'


def test_payload_shape_is_one_finding() -> None:
    several = {**obj(INT), "x-typedq-payload": "parameters"}
    (change,) = compare(several, node(INT)).changes
    assert (change.rule, change.path) == ("PAYLOAD_SHAPE_CHANGED", "$")
    assert "one entry a parameter" in change.message


def test_findings_in_shared_definitions_are_told_once() -> None:
    def shared(kind: str) -> Any:
        ref = {"$ref": "#/$defs/A"}
        return {
            "type": "object", "properties": dict.fromkeys("abc", ref), "required": [],
            "$defs": {"A": {"type": kind}},
        }  # fmt: skip

    assert len(compare(shared("integer"), shared("string")).changes) == 1


def test_every_verdict_has_words_for_everything_it_may_name() -> None:
    words = dict.fromkeys(("what", "writer", "reader", "when", "who"), "x")
    for verdict in VERDICTS.values():
        assert "{" not in verdict.sentence.format(**words)
        assert verdict.fix


def test_examples_are_json() -> None:
    for _, old, new, *_ in TRAPS:
        for change in compare(old, new).changes:
            json.dumps(change.example)


# --- how findings read ----------------------------------------------------------------------------

NEW_FIELD = "add a new field of the new type beside the old one, or add an upcaster"
Short = Annotated[list[int], Meta(max_length=1)]


@pytest.mark.parametrize(
    ("old", "new", "rule", "words", "example"),
    [
        (uuid.UUID, dt.date, "FORMAT_CHANGED",
         ("hold a UUID here; the new worker expects a date",
          NEW_FIELD), "0b0f3f8e-6f6f-4c1e-9a51-2f0d7e6f2a10"),
        (list[int], tuple[int, int], "LENGTH_CHANGED",
         ("may hold 0 or more elements here; the new worker expects exactly 2",
          NEW_FIELD), []),
        (tuple[int, int], tuple[int], "LENGTH_CHANGED",
         ("may hold exactly 2 elements here; the new worker expects exactly 1",
          NEW_FIELD), [0, 0]),
        (list[int], Short, "CONSTRAINT_TIGHTENED",
         ("the new worker demands 0 to 1 elements",
          "keep the looser constraint"), [0, 0]),
        (list[int], set[int], "UNIQUE_ADDED",
         ("the same element twice",
          "keep the list"), [0, 0]),
        (dict[int, str], dict[uuid.UUID, str], "KEY_TYPE_CHANGED",
         ("keys that are whole numbers; the new worker expects a UUID",
          "keep accepting the old"), {"1": "x"}),
        (int, Annotated[int, Meta(ge=5)], "CONSTRAINT_TIGHTENED",
         ("may hold other values here; the new worker demands at least 5",
          "in the task's code"), 4),
        (int, Annotated[int, Meta(multiple_of=3)], "CONSTRAINT_TIGHTENED",
         ("the new worker demands a multiple of 3",
          "in the task's code"), None),
        (int, str, "TYPE_CHANGED",
         ("hold a whole number here; the new worker expects text",
          "accept both types for a while (a union)"), 0),
        (struct(a=Literal["x"]), struct(a=Literal["y"]), "ENUM_VALUE_REMOVED",
         ('always hold "x" here; the new worker accepts only "y"',
          "accept both values"), {"a": "x"}),
        (struct("S", {"tag": "x"}), struct("S", {"tag": "y"}), "TAG_CHANGED",
         ('carry the tag "x"; the new worker expects "y"',
          "keep the tag"), {"type": "x"}),
    ],
)  # fmt: skip
def test_how_a_finding_reads(old: Any, new: Any, rule: str, words: Any, example: Any) -> None:
    change = next(c for c in compare(document(old), document(new)).changes if not c.backward)
    assert change.rule == rule
    assert words[0] in change.message
    assert words[1] in change.fix
    assert change.example == example


def test_another_shape_of_the_payload_names_both() -> None:
    several = {**obj(INT), "x-typedq-payload": "parameters"}
    lone = document(struct("Email", to=str))
    (change,) = compare(several, lone).changes
    assert change.message == (
        'messages written before this change hold an object with one entry a parameter ("a"); the'
        " new worker expects the one parameter itself, Email"
    )
    assert "add an upcaster from the old version" in change.fix
