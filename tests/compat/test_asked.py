"""What users of schema registries ask: pairs, and where the usual answer is another one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from typedq.compat import compare
from typedq.contracts import fingerprint

ASKED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("asked.json").read_text("utf-8"))
IDS = [case["ask"] for case in ASKED]


def test_there_are_enough_questions_each_asked_once() -> None:
    assert len(set(IDS)) == len(IDS) >= 400


@pytest.mark.parametrize("case", ASKED, ids=IDS)
def test_the_answer(case: dict[str, Any]) -> None:
    before = copy.deepcopy(case)
    found, back = (compare(case[a], case[b]) for a, b in (("old", "new"), ("new", "old")))
    assert (found.backward, found.forward) == (case["backward"], case["forward"])
    assert (back.backward, back.forward) == (case["forward"], case["backward"])
    assert found.backward == all(change.backward for change in found.changes)
    assert found.forward == all(change.forward for change in found.changes)
    if fingerprint(case["old"]) == fingerprint(case["new"]):
        assert found.backward
        assert found.forward
    assert case == before


@pytest.mark.parametrize("case", ASKED, ids=IDS)
def test_an_example_is_valid_for_its_writer_and_refused_by_its_reader(case: dict[str, Any]) -> None:
    # Validators ignore formats, and cannot tell that a value is read as something else.
    misread = {"FORMAT_CHANGED", "ENCODING_CHANGED", "UNIQUE_ADDED", "TYPE_NARROWED"}
    misread |= {"TYPE_WIDENED"} if "format" in json.dumps(case) else set()
    for change in compare(case["old"], case["new"]).changes:
        if change.example is None:
            continue
        sides = (case["old"], case["new"]) if not change.backward else (case["new"], case["old"])
        writes, reads = map(jsonschema.Draft202012Validator, sides)
        assert writes.is_valid(change.example), change
        if change.rule not in misread and "any number of entries" not in change.message:
            assert not reads.is_valid(change.example), change


def test_each_disagreement_has_a_reason() -> None:
    differing = [case for case in ASKED if "known" in case]
    assert all(case["reason"] for case in differing)
    assert all(case["known"] != [case["backward"], case["forward"]] for case in differing)
