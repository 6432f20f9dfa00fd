"""Pairs of documents whose meaning hangs on a keyword that is easy to overlook, by kind.

Each kind is made of random parts, so that no two pairs are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.compat.foreign_schemas import BESIDE, DRAFTS, NAMES, TEXTS, Schema

INT, STR, NULL = {"type": "integer"}, {"type": "string"}, {"type": "null"}
LEAVES: list[Schema] = [INT, STR, NULL, {"type": "boolean"}, {"enum": ["a", "b"]}, {"minimum": 2}]
Pair = tuple[Schema, Schema]
SEVEN = {"$schema": DRAFTS["draft-07"]}


def two(random: Random) -> list[Schema]:
    return random.sample(LEAVES, 2)


def record(**members: Schema) -> Schema:
    return {"type": "object", "properties": members, "required": list(members)}


def items_list(random: Random) -> Pair:
    head = random.choice([{}, SEVEN])
    items = {"type": "array", "items": [{"$ref": "#/$defs/A"}], "minItems": 1}
    old, new = ({**head, **items, "$defs": {"A": leaf}} for leaf in two(random))
    return old, new


def anchors(random: Random) -> Pair:
    ref = random.choice([{"$ref": "#here"}, {"$dynamicRef": "#here"}])
    word = "$dynamicAnchor" if "$dynamicRef" in ref else "$anchor"
    old, new = ({**record(a=ref), "$defs": {"A": {word: "here", **leaf}}} for leaf in two(random))
    return old, new


def dynamic_refs(random: Random) -> Pair:
    ref = {"$dynamicRef": "#/$defs/A"}
    old, new = ({**record(a=ref), "$defs": {"A": leaf}} for leaf in two(random))
    return old, new


def relative_refs(random: Random) -> Pair:
    root = {"$id": "https://example.org/root", **record(a={"$ref": "part"})}
    old, new = (
        {**root, "$defs": {"A": {"$id": "https://example.org/part", **leaf}}}
        for leaf in two(random)
    )
    return old, new


def embedded_documents(random: Random) -> Pair:
    outer = random.choice(LEAVES)

    def made(leaf: Schema) -> Schema:
        inner = {"$id": "https://example.org/in", "$ref": "#/$defs/A", "$defs": {"A": leaf}}
        return {**record(a=inner), "$defs": {"A": outer}}

    old, new = map(made, two(random))
    return old, new


def unevaluated_members(random: Random) -> Pair:
    a, b = random.sample(NAMES[:4], 2)
    extra: Schema = {"unevaluatedProperties": random.choice([False, INT])}
    both = {"type": "object", "properties": {a: STR, b: STR}}
    via = {"type": "object", "properties": {a: STR}, "allOf": [{"properties": {b: STR}}]}
    fewer = {"type": "object", "properties": {a: STR}}
    old: Schema = random.choice([both, via])
    return {**old, **extra}, {**fewer, **extra}


def unevaluated_elements(random: Random) -> Pair:
    extra = {"type": "array", "unevaluatedItems": random.choice([False, INT])}
    left, right = two(random)
    return {**extra, "prefixItems": [left, right]}, {**extra, "prefixItems": [left]}


def contained(random: Random) -> Pair:
    old = {"type": "array", "items": {}, "contains": random.choice(LEAVES)}
    least, most = random.choice([(0, 1), (1, 2), (0, 2)])
    return {**old, "minContains": least}, {**old, "minContains": most} if most > 1 else old


def many_members(random: Random) -> Pair:
    old = {"type": "object", "properties": {"c": {}}, "patternProperties": {"^[abd]": {}}}
    return old, {**old, "maxProperties": random.randint(1, 3)}


def ref_siblings(random: Random) -> Pair:
    leaf, extra = random.choice([STR, INT]), {"minimum": 3, "maxLength": 1}
    ref = {"$ref": "#/definitions/A", **extra}
    old = {**SEVEN, **record(a=ref), "definitions": {"A": leaf}}
    return old, {**SEVEN, **record(a={**leaf, **extra})}


def merged_elements(random: Random) -> Pair:
    left, right = two(random)
    old = {"allOf": [{"prefixItems": [left]}, {"items": right}], "type": "array", "minItems": 1}
    new = {"type": "array", "prefixItems": [left], "items": right, "minItems": 1}
    return random.choice([(old, new), (new, old)])


def merged_conditions(random: Random) -> Pair:
    (a, b), c = two(random), random.choice(LEAVES)
    old = {"allOf": [{"if": a, "then": b}, {"else": c}]}
    new = {"if": a, "then": b, "else": c}
    return random.choice([(old, new), (new, old)])


def merged_contains(random: Random) -> Pair:
    leaf = random.choice([INT, STR])
    parts = {"contains": leaf}, {"minContains": random.choice([0, 2])}
    old: Schema = {"type": "array", "items": {}, "allOf": [*parts]}
    new = {"type": "array", "items": {}, **parts[0], **parts[1]}
    return random.choice([(old, new), (new, old)])


def merged_members(random: Random) -> Pair:
    left, right = two(random)
    a = {"properties": {"a": left}, "additionalProperties": random.choice([False, INT])}
    new = {"type": "object", "allOf": [a, {"properties": {"b": right}}]}
    return {"type": "object", "properties": {"a": left, "b": right}}, new


def undeclared(random: Random) -> Pair:
    old = {"type": "object", "properties": {"a": STR}, "required": ["b"]}
    new = {"type": "object", "properties": {"a": STR, "b": random.choice(LEAVES)}}
    return old, random.choice([new, {**old, "maxProperties": 1}, {**old, "required": []} | new])


def const_and_enum(random: Random) -> Pair:
    listed = random.sample([1, "a", True, None, 2, "b"], 3)
    old = {"enum": listed}
    new = {"enum": listed, "const": random.choice(listed)}
    return random.choice([(old, new), (new, {"const": listed[0]}), (record(a=old), record(a=new))])


def name_types(random: Random) -> Pair:
    names = {"type": random.choice(["integer", "null", "array"])}
    old: Schema = {"type": "object", "additionalProperties": INT}
    return old, {**old, "propertyNames": names}


def repeated_branches(random: Random) -> Pair:
    leaf = random.choice([INT, STR, {"enum": ["a", "b"]}])
    old, new = {"oneOf": [leaf]}, {"oneOf": [leaf, leaf]}
    return random.choice([(old, new), (record(a=old), record(a=new))])


def untyped_branches(random: Random) -> Pair:
    tags = [{"properties": {"k": {"const": tag}}, "required": ["k"]} for tag in "ab"]
    more = random.choice([{}, {"minLength": 1}])
    return {"anyOf": [*tags], **more}, {"oneOf": [*tags], **more}


def pattern_and_declared(random: Random) -> Pair:
    old = {"type": "object", "properties": {"a": INT}}
    new: Schema = {**old, "patternProperties": {random.choice(["^a", "a$", "^[ab]$"]): STR}}
    return old, random.choice([new, {**new, "additionalProperties": False}])


def longer_tuples(random: Random) -> Pair:
    old = {"type": "array", "prefixItems": [INT], "minItems": random.choice([1, 2, 3])}
    return old, random.choice([{**old, "items": STR}, {**old, "maxItems": 1, "minItems": 1}])


def listed_beside_annotations(random: Random) -> Pair:
    """What is listed is written by all that do not enforce what stands beside it."""
    text = {"enum": random.sample(TEXTS, 3), **random.choice(BESIDE)}
    split = {"allOf": [{k: v} for k, v in text.items()], **random.choice([{}, {"maximum": 6}])}
    old: Schema = random.choice([text, split, split | {"maxLength": random.randint(0, 3)}])
    new: Schema = random.choice(
        [*LEAVES, {"enum": random.sample(TEXTS, 5)}, {"pattern": "^[ab]+$"}]
    )
    keys: list[Schema] = [{"type": "object", "propertyNames": names} for names in (old, new)]
    return random.choice([(old, new), (record(a=old), record(a=new)), (keys[0], keys[1])])


def forced_members(random: Random) -> Pair:
    """If declared members are too few, or cannot be written, others must be."""
    none: list[Schema] = [False, {"enum": []}, {"type": "integer", "enum": ["a"]}]
    old: Schema = {"type": "object", "properties": {"a": random.choice([*none, INT])}}
    old["minProperties"] = random.choice([1, 1, 2])
    if random.random() < 0.5:
        old["propertyNames"] = {"pattern": random.choice(["^b", "^[cd]$", "^[ab]"])}
    more = dict(zip("bc", two(random), strict=True))
    return old, {"type": "object", "properties": {**old["properties"], **more}}


def equal_numbers(random: Random) -> Pair:
    one, other = random.sample([1, 1.0], 2)
    old = {"const": one}
    return old, {"oneOf": [{"const": one}, {"const": other}]}


KINDS: list[Callable[[Random], Pair]] = [
    items_list, anchors, dynamic_refs, relative_refs, embedded_documents, unevaluated_members,
    unevaluated_elements, contained, many_members, ref_siblings, merged_elements, merged_conditions,
    merged_contains, merged_members, undeclared, const_and_enum, name_types, repeated_branches,
    untyped_branches, pattern_and_declared, longer_tuples, equal_numbers, forced_members,
    listed_beside_annotations,
]  # fmt: skip


def pair(random: Random) -> tuple[str, Any, Any]:
    """The name of a kind, and two documents."""
    kind = random.choice(KINDS)
    old, new = kind(random)
    return kind.__name__, old, new
