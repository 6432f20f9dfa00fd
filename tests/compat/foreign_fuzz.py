"""Random foreign JSON Schemas against an independent validator, `jsonschema`.

A verdict is dangerous if it says compatible (or the fingerprints are equal), and the other schema
refuses a value that a closed writer writes under the first; see `foreign_schemas` for that writer.
Some documents are damaged or made to be costly: then all that counts is that nothing raises and
nothing takes long.
"""

from __future__ import annotations

import copy
import itertools
import json
from functools import cached_property
from random import Random
from typing import Any

import jsonschema
from jsonschema.validators import validator_for

from tests.compat import foreign_kinds
from tests.compat.foreign_schemas import Maker, Schema, Writer, closed, edited, is_endless
from tests.compat.fuzz import ENDLESS_S, Report, TooSlow, deadline, shown
from typedq.compat import Comparison
from typedq.contracts import fingerprint

FAMILY = 5  # documents: 10 pairs
VALUES = 10
FORMATS = jsonschema.FormatChecker(["date"])


class Side:
    """One document of a family: its fingerprint, a validator by its `$schema`, and values."""

    def __init__(self, schema: Schema, random: Random) -> None:
        self.schema, self._random = schema, random

    @cached_property
    def fingerprint(self) -> str | None:
        try:
            return fingerprint(self.schema)
        except ValueError as error:  # documented, for what is not JSON
            if type(error).__name__ != "NotJson":
                raise
            return None

    @cached_property
    def validator(self) -> Any:
        """What is malformed raises when it is used; None for what no validator survives."""
        if is_endless(self.schema):
            return None
        return validator_for(self.schema, default=jsonschema.Draft202012Validator)(self.schema)

    @cached_property
    def strict(self) -> Any:
        """Like `validator`, but it enforces `format`, as typedq does; others take it for a note."""
        return type(self.validator)(self.schema, format_checker=FORMATS)

    @cached_property
    def values(self) -> list[Any]:
        """Values that the closed writer of the document writes."""
        writer, strict = Writer(self.schema, self._random), type(self.validator)
        written = strict(closed(self.schema))
        found = dict[str, Any]()
        for _ in range(VALUES):
            try:
                value = writer.value()
            except (TypeError, ValueError, KeyError, AttributeError):  # keywords of another draft
                continue
            # Of the closed document too: else another branch let it pass.
            if is_valid(self.validator, value) and is_valid(written, value) is not False:
                found[json.dumps(value, sort_keys=True)] = value
        return list(found.values())


def compared(report: Report, old: Side, new: Side) -> Comparison | None:
    """The comparison; None if it, or taking a fingerprint, raises."""
    if (found := report.compared(old.schema, new.schema)) is None:
        return None
    try:
        with deadline(ENDLESS_S):
            _ = old.fingerprint, new.fingerprint
    except TooSlow:
        report.endless.add(f"{report.at}: fingerprints\n{shown(old.schema, new.schema)}")
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
        report.crash(error, old.schema, new.schema)
        return None
    return found


def is_valid(validator: Any, value: Any) -> bool | None:
    try:
        return bool(validator.is_valid(value))
    except Exception:  # noqa: BLE001 - malformed, or references that lead nowhere
        return None


def refuses(reader: Side, writer: Side, value: Any) -> bool:
    """Whether a reader refuses a value, be `format` a note to both sides or enforced by both."""
    if is_valid(reader.validator, value) is False:
        return True
    return bool(is_valid(writer.strict, value)) and is_valid(reader.strict, value) is False


def family(random: Random, report: Report) -> None:
    """Compare some documents that come of one another, each with each."""
    maker = Maker(random, foreign=random.random() < 0.4)
    documents = [maker.document()]
    while len(documents) < FAMILY:
        come = random.random() < 0.9
        documents.append(edited(random.choice(documents), maker) if come else maker.document())
    sides = [Side(document, random) for document in documents]
    for old, new in itertools.combinations(sides, 2):
        judge(report, old, new, "random")


def kind(random: Random, report: Report) -> None:
    """Compare two documents that differ in a way that is easy to overlook."""
    name, old, new = foreign_kinds.pair(random)
    judge(report, Side(old, random), Side(new, random), name)


def judge(report: Report, old: Side, new: Side, name: str) -> None:
    if (found := compared(report, old, new)) is None or not (old.validator and new.validator):
        return
    for way, writer, reader in (("backward", old, new), ("forward", new, old)):
        against = next(
            ((value,) for value in writer.values if refuses(reader, writer, value)), None
        )
        report.judge(found, way, against, (old.schema, new.schema))
        if against is not None and old.fingerprint == new.fingerprint is not None:
            report.dangerous.add(f"{report.at}: the same fingerprint; {against}", name)
        _judge_examples(report, found, way, (writer.validator, reader.validator))


def _judge_examples(report: Report, found: Comparison, way: str, ends: tuple[Any, Any]) -> None:
    """Every example must be valid for the writer; a misreading aside, the reader refuses it."""
    misread = ("ENCODING_CHANGED", "ELEMENT_MOVED", "UNIQUE_ADDED", "TYPE_WIDENED", "TYPE_CHANGED")
    formats = (*misread, "FORMAT_CHANGED", "TYPE_NARROWED", "KEY_TYPE_CHANGED")  # these ignore them
    for change in found.changes:
        mine = not change.backward if way == "backward" else change.backward and not change.forward
        if change.example is None or not mine:
            continue
        report.examples += 1
        accepted = is_valid(ends[1], change.example) and change.rule not in formats
        if is_valid(ends[0], change.example) is False or accepted:
            text = f"{report.at}: {change.rule} {change.path} {change.example!r}"
            report.wrong_examples.add(f"{text}\n{shown(ends[0].schema, ends[1].schema)}")


# --- damaged and costly documents -----------------------------------------------------------------

JUNK: list[Any] = [
    5, -1, True, False, None, [], {}, "x", [5], {"": 5}, float("nan"), float("inf"), 10**400, 1e308,
    10**5000, -(10**400), "\ud800", {"\udfff": {}}, {1: {}}, {None: 1}, (1, 2), {"x"}, b"x",
    {"$ref": "#"}, {"$ref": "#/$defs/gone"}, {"$ref": "#/%zz"}, {"$ref": "#/~2"}, {"$ref": 5},
    {"$ref": "other.json"}, {"anyOf": 5}, {"anyOf": []}, {"anyOf": {}}, {"type": "float"},
    {"type": []}, {"type": [["a"]]}, {"enum": 5}, {"required": [5]}, {"properties": []},
    {"$schema": 5}, {"$schema": []}, {"x-typedq-type": 5}, {"x-typedq-decimal": 5},
    {"x-typedq-decimal": {"ge": "1e999999999"}}, {"multipleOf": 0}, {"pattern": "("},
    {"x-typedq-elements": "ab"}, {"x-typedq-mask": -1}, {"allOf": [{"$ref": "#"}]},
]  # fmt: skip


def damaged(random: Random, report: Report) -> None:
    """Compare a document with one of its parts replaced by anything."""
    maker = Maker(random, foreign=random.random() < 0.5)
    old = maker.document()
    new = copy.deepcopy(old)
    for _ in range(random.randint(1, 3)):
        holder: Any = new
        for _ in range(random.randint(0, 5)):
            parts = holder.values() if isinstance(holder, dict) else holder
            inner = [part for part in parts if isinstance(part, dict | list) and part]
            if not inner:
                break
            holder = random.choice(inner)
        key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[key] = copy.deepcopy(random.choice(JUNK))
        if isinstance(holder, dict) and random.random() < 0.3:
            holder |= copy.deepcopy(random.choice([j for j in JUNK if isinstance(j, dict)]))
    changed = Side(new, random)
    compared(report, Side(old, random), changed)
    compared(report, changed, Side(copy.deepcopy(new), random))


def costly(random: Random, report: Report) -> None:
    """Compare documents that are small but mean much."""
    size, leaf = random.choice([5, 22, 60, 300, 1000]), {"type": "integer"}
    key = random.choice(["anyOf", "oneOf", "allOf", "items", "properties", "prefixItems"])
    wide = random.choice([1, 2, 3])
    shape = random.choice([_shared, _nested, _product, _variants, _values])
    old = shape(random, size, key, wide, leaf)
    new = shape(random, size + random.randint(0, 1), key, wide, {"type": "string"})
    compared(report, Side(old, random), Side(new, random))


def _held(key: str, parts: list[Schema]) -> Schema:
    if key == "items":
        return {"type": "array", "items": parts[0]}
    if key == "properties":
        return {"type": "object", "properties": {f"p{i}": part for i, part in enumerate(parts)}}
    return {key: parts}


def _shared(random: Random, size: int, key: str, wide: int, leaf: Schema) -> Schema:
    """A chain, or a circle, of definitions each of which refers to the next more than once."""
    last = leaf if random.random() < 0.7 else {"type": "array", "items": {"$ref": "#/$defs/d0"}}
    defs = {
        f"d{i}": _held(key, [{"$ref": f"#/$defs/d{i + 1}"} for _ in range(wide)])
        for i in range(size)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{size}": last}}


def _nested(random: Random, size: int, key: str, wide: int, leaf: Schema) -> Schema:
    made = leaf
    for i in range(min(size, 200)):
        made = _held(key, [made, *({"type": "string", "minLength": i + j} for j in range(wide))])
    return made


def _product(random: Random, size: int, _key: str, wide: int, leaf: Schema) -> Schema:
    kind = random.choice(["properties", "patternProperties"])
    return {
        "allOf": [
            {"anyOf": [{"type": "object", kind: {f"a{i}{j}": leaf}} for j in range(wide + 1)]}
            for i in range(min(size, 20))
        ]
    }


def _variants(random: Random, size: int, key: str, wide: int, leaf: Schema) -> Schema:
    union = key if key in ("anyOf", "oneOf") else "anyOf"
    plain = random.choice([{}, {"type": "object"}, {"type": "array"}, {"type": "string"}])
    made = [
        {**plain, "properties": {f"f{i}": leaf, "g": leaf}, "minLength": i, "minItems": i}
        for i in range(size)
    ]
    return {union: made[: size if plain else 300]}


def _values(random: Random, size: int, _key: str, wide: int, leaf: Schema) -> Schema:
    texts = [f"{'a' * 30}{i}" for i in range(size)]
    pattern = random.choice(["^(a+)+$", "a*a*a*b", "(a|aa)+!", "^a{1,30}a{1,30}$", "a*b"])
    if leaf["type"] == "integer":
        return random.choice([{"enum": texts}, {"properties": dict.fromkeys(texts, leaf)}])
    return random.choice(
        [
            {"type": "string", "pattern": pattern},
            {"patternProperties": {pattern: leaf}},
            {"enum": [*range(size)]},
            {"enum": [[text] for text in texts]},
        ]
    )


def one_round(random: Random, report: Report) -> None:
    """Compare a family, or two documents of another sort; the costly ones seldom."""
    roll = random.random()
    if roll < 0.4:
        family(random, report)
    elif roll < 0.75:
        kind(random, report)
    elif roll < 0.985:
        damaged(random, report)
    else:
        costly(random, report)
