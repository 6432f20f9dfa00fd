"""How much work a comparison is: it grows with the documents, and no faster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from typedq.compat import compare
from typedq.compat.normal_form import Side
from typedq.compat.subsumption import SubsumptionCheck
from typedq.contracts.canonical import CanonicalForms, definition_hashes
from typedq.contracts.dialect import Budget, Document

INT: Any = {"type": "integer"}


def levels(leaf: Any, n: int = 24) -> Any:
    """A tree of 2 ** n leaves, written down in n shared definitions."""
    defs: Any = {"L0": leaf}
    for i in range(n):
        ref = {"$ref": f"#/$defs/L{i}"}
        defs[f"L{i + 1}"] = {
            "type": "object", "properties": {"a": ref, "b": ref}, "required": ["a", "b"]
        }  # fmt: skip
    return {"$ref": f"#/$defs/L{n}", "$defs": defs}


def variants(leaf: Any, n: int = 8) -> Any:
    """Tagged variants, each of which may hold any of them, under two names."""
    any_of = {"anyOf": [{"$ref": f"#/$defs/V{i}"} for i in range(n)]}
    defs = {
        f"V{i}": {
            "type": "object", "required": ["type", "left"],
            "properties": {"type": {"enum": [f"v{i}"]}, "left": {"$ref": "#/$defs/Any"},
                           "right": {"$ref": "#/$defs/Any"}, "leaf": leaf},
        }
        for i in range(n)
    }  # fmt: skip
    return {"$ref": "#/$defs/Any", "$defs": {**defs, "Any": any_of}}


@pytest.mark.parametrize(("make", "limit"), [(levels, 60), (variants, 140)])
@pytest.mark.parametrize(
    ("leaf", "verdict"), [({"type": "number"}, True), ({"type": "string"}, False)]
)
def test_work_grows_with_the_document_and_not_with_its_values(
    make: Any, limit: int, leaf: Any, verdict: bool
) -> None:
    budget, documents = Budget(10_000), [Document(make(INT)), Document(make(leaf))]
    hashes = definition_hashes(documents)
    writer, reader = (
        Side(document, CanonicalForms(document, known, budget), budget)
        for document, known in zip(documents, hashes, strict=True)
    )
    check = SubsumptionCheck(writer, reader)
    assert check.holds is verdict
    assert check.pairs <= limit
    assert budget.steps - budget.left <= 40 * limit
    assert compare(make(INT), make(leaf)).backward is verdict


def test_a_schema_nested_beyond_reason_is_no_crash() -> None:
    deep: Any = INT
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}
    found = compare(deep, INT)
    assert (found.backward, found.forward) == (False, False)


def test_large_enums_are_compared_by_look_up() -> None:
    old, new = {"enum": list(range(3_000))}, {"enum": list(range(1, 3_000))}
    (change,) = compare(old, new).changes
    assert (change.rule, change.example) == ("ENUM_VALUE_REMOVED", 0)


def fields(n: int, name: str) -> Any:
    return {"type": "object", "properties": {f"{name}{i}": INT for i in range(n)}}


def tagged(n: int, name: str, union: str = "anyOf") -> Any:
    return {
        union: [
            {
                "type": "object", "required": ["type"],
                "properties": {"type": {"enum": [f"{name}{i}"]}, f"field{i}": INT},
            }
            for i in range(n)
        ]
    }  # fmt: skip


def nested(n: int, leaf: Any) -> Any:
    for _ in range(n):
        leaf = {"type": "object", "properties": {"inner": leaf}, "required": ["inner"]}
    return leaf


def calls(old: Any, new: Any) -> int:
    """How many functions a comparison calls: a measure that no other load disturbs."""
    made = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        compare(old, new)
    finally:
        sys.setprofile(before)
    return made


PAIRS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "names in an enum": lambda n: (
        {"enum": [f"name{i}" for i in range(n)]}, {"enum": [f"name{i}" for i in range(n + 1)]}
    ),
    "names that became numbers": lambda n: (
        {"enum": [f"name{i}" for i in range(n)]}, {"enum": list(range(n))}
    ),
    "variants": lambda n: (tagged(n, "tag"), tagged(n + 1, "tag")),
    "variants, as oneOf": lambda n: (tagged(n, "tag", "oneOf"), tagged(n + 1, "tag", "oneOf")),
    "fields with other names": lambda n: (fields(n, "old"), fields(n, "new")),
    "levels": lambda n: (nested(n, INT), nested(n, {"type": "string"})),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_work_grows_no_faster_than_the_documents(pair: Callable[[int], tuple[Any, Any]]) -> None:
    assert calls(*pair(40)) < 2.7 * calls(*pair(20))  # 4 times, if all were laid beside all
