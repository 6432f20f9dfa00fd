"""Documents that typedq did not write: outside the dialect, damaged, costly."""

from __future__ import annotations

import contextlib
import copy
import enum
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat.foreign_fuzz import JUNK
from tests.compat.foreign_rows import DANGEROUS, INT, SEVEN, STR, defs, obj
from typedq.compat import compare, read_schema
from typedq.contracts import dialect, fingerprint
from typedq.contracts.json_tree import NotJson
from typedq.errors import InvalidSchema

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("old", "new"), [pytest.param(*row[1:], id=row[0]) for row in DANGEROUS])
def test_a_difference_that_is_easily_overlooked_is_no_compatible_change(old: Any, new: Any) -> None:
    assert not compare(old, new).backward
    assert not compare(new, old).forward
    assert fingerprint(old) != fingerprint(new)


@pytest.mark.parametrize("row", DANGEROUS, ids=[row[0] for row in DANGEROUS])
def test_equal_documents_are_compatible_whatever_they_mean(row: tuple[str, Any, Any]) -> None:
    for schema in row[1:]:
        same = json.loads(json.dumps(schema, sort_keys=True))
        found = compare(schema, same)
        assert (found.backward, found.forward, found.changes) == (True, True, ())
        assert fingerprint(schema) == fingerprint(same)


OUTSIDE: list[tuple[Any, str]] = [
    ({"$schema": SEVEN}, 'its $schema is "http://json-schema.org/draft-07/schema#"; expected'),
    ({"$schema": 5}, "its $schema is not text"),
    (obj({"a/b": {"if": INT}}), '#/properties/a~1b: the keyword "if" is not in the list'),
    (obj({"a": {"x-typedq": {}}}), 'the keyword "x-typedq" is not in the list'),
    (obj({"a": {"$id": "a"}}), 'the keyword "$id" is not in the list'),
    (obj({"a": {"x-typedq-payload": "parameters"}}), "x-typedq-payload is only for the top"),
    ({"$ref": "#/$defs/gone"}, '$ref "#/$defs/gone" does not lead to a schema'),
    ({"$ref": "#/enum/0", "enum": [{}]}, '$ref "#/enum/0" does not lead to a schema'),
    ({"$ref": "#/prefixItems/00", "prefixItems": [INT]}, "does not lead to a schema"),
    ({"$ref": "#/prefixItems/\u0660", "prefixItems": [INT]}, "does not lead to a schema"),
    ({"$ref": "#/$defs/%zz", "$defs": {"%zz": INT}}, "does not lead to a schema"),
    ({"$ref": "#/$defs/a~2", "$defs": {"a~2": INT}}, "does not lead to a schema"),
    ({"$ref": "#/$defs/%ff", "$defs": {"\ufffd": INT}}, "does not lead to a schema"),
    ({"$ref": "https://example.org/x"}, "does not lead to a schema"),
    (defs({"$ref": "#/$defs/A"}, A={"$ref": "#/$defs/A"}), "refers to itself without end"),
    ({"anyOf": [INT, {"$ref": "#"}]}, "refers to itself without end"),
    (defs({"$ref": "#/$defs/A"}, A={"allOf": [{"$ref": "#/$defs/B"}]},
          B={"oneOf": [{"$ref": "#/$defs/A"}, INT]}), "refers to itself without end"),
    ({"anyOf": 5}, "at #: anyOf has a value that it cannot have"),
    ({"anyOf": []}, "anyOf has a value that it cannot have"),
    ({"anyOf": {"a": INT}}, "anyOf has a value that it cannot have"),
    ({"type": "float"}, "type has a value that it cannot have"),
    ({"type": []}, "type has a value that it cannot have"),
    ({"type": [["integer"]]}, "type has a value that it cannot have"),
    ({"minimum": True}, "minimum has a value that it cannot have"),
    ({"minLength": -1}, "minLength has a value that it cannot have"),
    ({"multipleOf": 0}, "multipleOf has a value that it cannot have"),
    ({"required": [5]}, "required has a value that it cannot have"),
    ({"properties": {"a": 5}}, "properties has a value that it cannot have"),
    ({"items": [INT]}, "items has a value that it cannot have"),
    ({"minimum": float("nan")}, "a number that is not finite"),
    ({"minimum": float("-inf")}, "a number that is not finite"),
    ({"minimum": 10**400}, "a number that is not finite or is beyond 1e300"),
    ({"enum": [-(10**5000)]}, "a number that is not finite or is beyond 1e300"),
    ({"title": "\ud800"}, "half of a surrogate pair"),
    ({"properties": {"\udfff": INT}}, "half of a surrogate pair"),
    ({1: INT}, "a key that is a int, not text"),
    ({"enum": [{None: 1}]}, "a key that is a NoneType, not text"),
    ({"enum": {"a"}}, "a set, which is not JSON"),
    ({"default": b"x"}, "a bytes, which is not JSON"),
    (5, "neither an object nor a boolean"),
    (None, "neither an object nor a boolean"),
    ([INT], "neither an object nor a boolean"),
    ("x", "neither an object nor a boolean"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "reason"), OUTSIDE, ids=range(len(OUTSIDE)))
def test_what_cannot_be_compared_says_why_on_either_side(schema: Any, reason: str) -> None:
    for old, new, name in ((schema, INT, "old"), (INT, schema, "new")):
        found = compare(old, new)
        (change,) = found.changes
        assert (found.backward, found.forward) == (False, False)
        assert (change.backward, change.forward) == (False, False)
        assert (change.rule, change.path) == ("CANNOT_COMPARE", "$")
        assert change.message.startswith(f"the schemas cannot be compared: the {name} schema")
        assert reason in change.message
        change.message.encode()
        assert "docs/compatibility.md" in change.fix


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize("value", [(1, 2), [(1.0,)], Number.ONE, Word.A, {"a": Word.A}])
def test_values_that_python_writes_as_json_count_as_such(value: Any) -> None:
    plain = json.loads(json.dumps(value))
    for key, old, new in (("const", value, plain), ("enum", [value], [plain])):
        found = compare({key: old}, {key: new})
        assert (found.backward, found.forward) == (True, True)
        assert not compare({key: old}, {"type": "null"}).backward
        assert fingerprint({key: old}) == fingerprint({key: new})


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("place", range(4))
def test_nothing_raises_whatever_a_document_holds(junk: Any, place: int) -> None:
    other = INT
    for schema in (junk, {"items": junk}, obj({"a": junk}), defs(INT, A=junk))[place : place + 1]:
        for pair in ((schema, other), (other, schema), (schema, copy.deepcopy(schema))):
            found = compare(*pair)
            assert found.backward == all(change.backward for change in found.changes)
        with contextlib.suppress(NotJson):  # the documented one
            fingerprint(schema)


DECIMAL: Any = {"type": "string", "x-typedq-type": "decimal"}
KEY: Any = {"type": "string", "x-typedq-type": "number"}
SPAN: Any = {"type": "string", "x-typedq-type": "timedelta"}
LONG = f"1.{'1' * 5_000}"
# They differ in numbers and patterns that cost more than their few bytes.
SMALL: dict[str, tuple[Any, Any]] = {
    "classes that can be read in two ways": (
        {"enum": ["a"]}, {**STR, "pattern": "[^^]" * 49 + "{"}),
    "a huge length": ({**STR, "minLength": 10**10}, {**STR, "minLength": 10**11}),
    "a length beyond memory": ({**STR, "minLength": 10**290}, {**STR, "minLength": 10**299}),
    "a step of many digits": (INT, {**DECIMAL, "x-typedq-decimal": {"multiple_of": LONG}}),
    "steps of many digits": ({**DECIMAL, "x-typedq-decimal": {"multiple_of": "2"}},
                             {**DECIMAL, "x-typedq-decimal": {"multiple_of": LONG}}),
    "no step": (INT, {**DECIMAL, "x-typedq-decimal": {"multiple_of": "0"}}),
    "a bound that is no number": ({**SPAN, "x-typedq-bounds": {"ge": "PT1S"}},
                                  {**SPAN, "x-typedq-bounds": {"ge": "PTNaNS"}}),
    "text of an infinite number": (
        {**KEY, "enum": ["1e999"]}, {**KEY, "pattern": "^1", "multipleOf": 2}),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SMALL.values(), ids=SMALL)
def test_a_small_document_can_neither_raise_nor_stop_a_comparison(old: Any, new: Any) -> None:
    took = time.thread_time()
    for pair in ((old, new), (new, old)):
        found = compare(*pair)
        assert found.backward == all(change.backward for change in found.changes)
        assert not (found.backward and found.forward)
    assert time.thread_time() - took < LIMIT_S


def test_python_objects_that_hold_themselves_are_too_deep() -> None:
    circle: Any = {"type": "array"}
    circle["items"] = circle
    shared: Any = INT
    for _ in range(60):
        shared = {"anyOf": [shared, shared]}
    for schema in (circle, shared):
        assert compare(schema, INT).changes[0].rule == "CANNOT_COMPARE"
        with pytest.raises(NotJson, match=r"nested more than|has more than"):
            fingerprint(schema)


def test_the_list_of_keywords_in_the_docs_is_the_list_in_the_code() -> None:
    text = (ROOT / "docs/compatibility.md").read_text("utf-8")
    table = text.partition("<!-- keywords -->")[2].partition("<!-- end -->")[0]
    listed = {word.strip("`") for word in table.split() if word.startswith("`")}
    known = {*dialect.VALUES, *dialect.ANNOTATIONS, *dialect.ROOT_ANNOTATIONS, *dialect.HOLDS_NAMED}
    known |= {*dialect.HOLDS_SCHEMA, *dialect.HOLDS_LIST}
    assert listed == {word for word in known if not word.startswith("x-typedq")}


@pytest.mark.parametrize(
    ("published", "reason"),
    [
        (b"{", "it is not JSON: "),
        (b"[1]", "it is not a JSON object"),
        (b'{"anyOf": 5}', "anyOf has a value that it cannot have"),
        (b'{"items":' * 200 + b"{}" + b"}" * 200, "nested more than 150 levels deep"),
        (b'{"items":' * 100_000 + b"{}" + b"}" * 100_000, "it is not JSON: "),
        (b'{"enum":[' + b"1," * 7_000 + b"1]}", "more than 6,000 values"),
        (b'{"title":"' + b"x" * 500_000 + b'"}', "more than 400,000 characters"),
        (b" " * (1 << 20) + b"{}", "bytes; 1,048,576 are allowed"),
    ],
)
def test_a_published_schema_is_bounded_when_it_is_read(published: bytes, reason: str) -> None:
    with pytest.raises(InvalidSchema) as told:
        read_schema(published)
    assert reason in told.value.reason


def test_a_published_schema_outside_the_dialect_is_still_one() -> None:
    assert read_schema(b'{"if": {}}') == {"if": {}}


# --- how long it takes ----------------------------------------------------------------------------


def nested(n: int, wrap: Any, leaf: Any = INT) -> Any:
    for i in range(n):
        leaf = wrap(leaf, i)
    return leaf


def chain(n: int, leaf: Any, key: str) -> Any:
    refs = [{"$ref": f"#/$defs/d{i}"} for i in range(n + 1)]
    named = {f"d{i}": {key: [refs[i + 1]] * 2} for i in range(n)}
    return {"$ref": "#/$defs/d0", "$defs": {**named, f"d{n}": leaf}}


def ring(n: int, leaf: Any) -> Any:
    named = {
        f"d{i}": obj({"next": {"$ref": f"#/$defs/d{(i + 1) % n}"}, "v": leaf if not i else INT})
        for i in range(n)
    }
    return {"$ref": "#/$defs/d0", "$defs": named}


def members(n: int, leaf: Any) -> Any:
    return obj({f"p{i}": leaf for i in range(n)})


def branches(n: int, leaf: Any, union: str = "anyOf") -> Any:
    return {union: [obj({f"f{i}": leaf, "g": INT}) for i in range(n)]}


def tagged(n: int, leaf: Any, union: str) -> Any:
    return {union: [obj({"t": {"const": i}, "v": leaf}, required=["t"]) for i in range(n)]}


def product(n: int, leaf: Any) -> Any:
    return {"allOf": [{"anyOf": [obj({f"a{i}{j}": leaf}) for j in range(2)]} for i in range(n)]}


def texts(n: int, start: str) -> Any:
    return {"enum": [f"{start}{i}" for i in range(n)]}


COSTLY: dict[str, Any] = {
    **{f"shared definitions, {key}": lambda leaf, key=key: chain(22, leaf, key)
       for key in ("anyOf", "oneOf", "allOf", "prefixItems")},
    "more shared definitions": lambda leaf: chain(600, leaf, "prefixItems"),
    "a ring of definitions": lambda leaf: ring(400, leaf),
    "nested oneOf": lambda leaf: nested(40, lambda s, i: {"oneOf": [s, {"minLength": i}]}, leaf),
    "nested anyOf of oneOf": lambda leaf: nested(
        10, lambda s, _: {"oneOf": [s, {"anyOf": [s, STR]}]}, leaf),
    "allOf of anyOf": lambda leaf: product(8, leaf),
    "allOf of more anyOf": lambda leaf: product(40, leaf),
    "untagged variants": lambda leaf: branches(300, leaf),
    "untagged variants, oneOf": lambda leaf: branches(300, leaf, "oneOf"),
    "tagged variants": lambda leaf: tagged(300, leaf, "anyOf"),
    "tagged variants, oneOf": lambda leaf: tagged(300, leaf, "oneOf"),
    "members": lambda leaf: members(5_000, leaf),
    "fewer members": lambda leaf: members(1_900, leaf),
    "unions of anything": lambda leaf: {"anyOf": [{} for _ in range(200)] + [leaf]},
    "unions of text": lambda leaf: {"anyOf": [{"minLength": i} for i in range(200)] + [leaf]},
    "deep": lambda leaf: nested(70, lambda s, _: {"items": s}, leaf),
    "deeper": lambda leaf: nested(10_000, lambda s, _: {"items": s}, leaf),
    "an enum": lambda leaf: texts(5_900, str(leaf)),
    "a huge enum": lambda leaf: texts(90_000, str(leaf)),
    "an enum beyond all limits": lambda leaf: texts(300_000, str(leaf)),
    "a long text": lambda leaf: {"const": "x" * 30_000_000, **leaf},
    "a catastrophic pattern": lambda leaf: (
        {"enum": ["a" * 50 + "!", "b"]} if leaf is INT else {"pattern": "^(a+)+$"}),
    "a slow pattern": lambda leaf: (
        texts(3_000, "a" * 80) if leaf is INT else {"pattern": "a*a*b"}),
    "steps of an enum": lambda leaf: {
        "enum": [i + 0.1 for i in range(5_900)], "multipleOf": 1e-300 if leaf is INT else 3e-300},
    "members beside patterns": lambda leaf: (
        obj({f"a{i}": INT for i in range(1_000)}) if leaf is INT
        else obj({}, patternProperties={f"^{i}": INT for i in range(500)})),
    "a definition that is hashed at each level": lambda leaf: defs(
        {"$ref": "#/$defs/A"},
        A=nested(70, lambda s, _: {"allOf": [s, leaf]}, {"enum": [i + 0.1 for i in range(5_500)]})),
    "patterns of names": lambda leaf: (
        obj({"a" * 60 + str(i): INT for i in range(500)}) if leaf is INT
        else {"patternProperties": {f"a*a*{i}c": INT for i in range(500)}}),
    "members of an open writer": lambda leaf: {
        "$ref": "#/$defs/A", "$defs": {"A": {
            **members(500, {"$ref": "#/$defs/A"}), "additionalProperties": leaf}}},
}  # fmt: skip
LIMIT_S = 0.5  # of CPU


@pytest.mark.parametrize("make", COSTLY.values(), ids=COSTLY)
def test_no_document_takes_long(make: Any) -> None:
    old, new = make(INT), make(STR)
    for work in (lambda: compare(old, new), lambda: compare(new, old), lambda: _printed(new)):
        took = list[float]()
        while not took or (min(took) >= LIMIT_S and len(took) < 5):  # other load slows it down
            started = time.thread_time()
            work()
            took.append(time.thread_time() - started)
        assert min(took) < LIMIT_S, took
    found = compare(old, new)
    assert found.backward == all(change.backward for change in found.changes)
    assert found.forward == all(change.forward for change in found.changes)


def _printed(schema: Any) -> None:
    with contextlib.suppress(NotJson):
        fingerprint(schema)


@pytest.mark.parametrize("key", ["anyOf", "allOf", "prefixItems"])
def test_shared_definitions_are_compared_once(key: str) -> None:
    found = compare(chain(22, INT, key), chain(22, {"type": "number"}, key))
    assert (found.backward, found.forward) == (True, False)


def test_a_budget_that_is_spent_is_told() -> None:
    (change,) = compare(branches(300, INT), branches(300, STR)).changes
    assert change.rule == "CANNOT_COMPARE"
    assert "it takes more than 25,000 steps" in change.message


def test_answers_do_not_depend_on_the_seed_of_hashes() -> None:
    code = (
        "from tests.compat.foreign_rows import DANGEROUS\n"
        "from tests.compat.cases import TRAPS\n"
        "from typedq.compat import compare\n"
        "from typedq.contracts import fingerprint\n"
        "for _, old, new, *_ in [*DANGEROUS, *TRAPS]:\n"
        "    print(compare(old, new), fingerprint(old), fingerprint(new))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    }
    assert len(told) == 1


ODD_TEXT = "x\x1b[31m\x9b31m\u202e" * 9_000


@pytest.mark.parametrize(
    "odd",
    [
        {"title": ODD_TEXT, "type": "object", "properties": {"b": {"type": "integer"}}},
        {"type": "object", "properties": {ODD_TEXT: {"type": "string"}}, "required": [ODD_TEXT]},
        {"type": "object", "properties": {"a": {"type": "string", "format": ODD_TEXT}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": ODD_TEXT}}},
        {"type": "object", "properties": {"a": {"enum": [ODD_TEXT]}}},
        {"type": "object", "properties": {"a": {"x-typedq-" + ODD_TEXT: 1}}},
        {"type": "object", "properties": {"a": {ODD_TEXT: 1}}},
        {"$schema": ODD_TEXT},
        {"$ref": ODD_TEXT},
    ],
    ids=range(9),
)
def test_what_is_said_of_a_strangers_schema_is_short_and_has_no_control_characters(
    odd: Any,
) -> None:
    own = {"type": "object", "properties": {"a": {"type": "string", "format": "date"}}}
    own |= {"required": ["a"], "x-typedq-payload": "parameters"}
    for old, new in ((odd, own), (own, odd)):
        changes = compare(old, new).changes
        assert changes
        for text in (text for change in changes for text in (change.message, change.path)):
            assert text.isprintable()
            assert len(text) < 2_000


def test_an_invalid_schema_is_told_in_few_printable_words() -> None:
    published = json.dumps({"properties": {ODD_TEXT: {"type": 5}}}).encode()
    with pytest.raises(InvalidSchema) as caught:
        read_schema(published)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2_000
