"""Random JSON Schemas that typedq did not write, random edits of them, and what a writer writes.

The closed writer: at each place it collects the schemas that apply there, with one branch of each
union. If one of them has `properties` and none has `additionalProperties`, it writes declared
members only, and required ones that nobody declares with any value. Elements alike: without `items`
it writes no more than the elements of `prefixItems`, unless `minItems` demands more.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import jsonschema

Schema = Any
NAMES = ["a", "b", "c", "d", "ab"]
TEXTS = ["", "a", "b", "ab", "abc", "1", "x y", "aaaa", "d", "2027-01-31"]
NUMBERS: list[Any] = [-2, -1, 0, 1, 2, 3, 4, 5, 6, 10, 0.5, 1.0, 2.5, 7, 12]
PATTERNS = ["^a", "b$", "^[ab]+$", "c", "^.{2}$"]
DRAFTS = {
    "draft-07": "http://json-schema.org/draft-07/schema#",
    "draft-04": "http://json-schema.org/draft-04/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}
# What may stand beside constants: some is enforced, some is an annotation to most validators.
BESIDE: list[dict[str, Any]] = [
    {"minimum": 1}, {"multipleOf": 0.7}, {"format": "date"}, {"format": "date", "maxLength": 9},
    {"format": "email"}, {"contentEncoding": "base64"},
    {"contentEncoding": "base64", "minLength": 1},
]  # fmt: skip
ANYTHING: list[Any] = [None, True, 0, 1, "a", "", [], [1], {}, {"a": 1}, 2.5]


class Maker:
    """Makes schemas. `foreign`: with keywords outside the list that typedq compares, too."""

    def __init__(self, random: Random, *, foreign: bool) -> None:
        self.random, self.foreign = random, foreign

    def chance(self, of_one: float) -> bool:
        return self.random.random() < of_one

    def document(self) -> Schema:
        root = self.schema(0)
        while not isinstance(root, dict):
            root = self.schema(0)
        root["$defs"] = {name: self.schema(1) for name in ("A", "B")}
        if self.foreign:
            if self.chance(0.3):
                root["$schema"] = DRAFTS[self.random.choice(list(DRAFTS))]
            if self.chance(0.2):
                anchor = self.schema(2)
                if isinstance(anchor, dict):
                    root["$defs"]["A"] = {"$anchor": "here", **anchor}
            if self.chance(0.1):
                inner = {"$id": "https://example.org/inner", "$defs": {"A": self.schema(2)}}
                root["$defs"]["B"] = inner | {"$ref": "#/$defs/A"}
        return root

    def schema(self, depth: int) -> Schema:
        makers: list[Callable[[int], Schema]] = [self.scalar, self.scalar, self.values]
        if depth < 3:
            makers += [self.record, self.record, self.array, self.union, self.ref, self.both]
            makers += [self.foreign_schema] * (3 if self.foreign else 0)
        if self.chance(0.04):
            return self.random.choice([True, False, {}])
        return self.random.choice(makers)(depth)

    def scalar(self, _depth: int) -> Schema:
        random = self.random
        kind = random.choice(["integer", "number", "string", "string", "boolean", "null", ""])
        made: Schema = {"type": kind} if kind else {}
        if self.chance(0.1):
            made["type"] = random.sample(["integer", "number", "string", "null", "array"], 2)
        low, high = sorted(random.sample(NUMBERS[:10], 2))
        keywords: list[dict[str, Any]] = [{}]
        if kind in ("integer", "number", ""):
            keywords += [{"minimum": low}, {"maximum": high}, {"exclusiveMinimum": low}]
            keywords += [{"minimum": low, "maximum": high}, {"exclusiveMaximum": high}]
            keywords += [{"multipleOf": random.choice([1, 2, 3, 4, 0.5])}]
        if kind in ("string", ""):
            keywords += [{"minLength": abs(int(low))}, {"maxLength": abs(int(high))}]
            keywords += [{"pattern": random.choice(PATTERNS)}, {"pattern": random.choice(PATTERNS)}]
            keywords += [{"format": random.choice(["date", "email", "int32", "odd"])}]
        return made | random.choice(keywords)

    def values(self, _depth: int) -> Schema:
        random = self.random
        pools = [TEXTS, NUMBERS, [*ANYTHING, [1.0]], [True, False, None, 1, "1"]]
        pool = copy.deepcopy(random.choice(pools))  # an edit may change a value in it
        listed = {"enum": random.sample(pool, random.randint(1, 3))}
        made: Schema = random.choice([listed, {"const": random.choice(pool)}])
        if self.chance(0.15):
            made = {**listed, "const": random.choice([*listed["enum"], 1, 1.0])}
        if self.chance(0.2):
            made["type"] = random.choice(["integer", "string", "number", "boolean"])
        return made | (random.choice(BESIDE) if self.chance(0.2) else {})

    def record(self, depth: int) -> Schema:
        random = self.random
        made: Schema = {"type": "object"} if self.chance(0.9) else {}
        if self.chance(0.85):
            names = random.sample(NAMES, random.randint(0, 3))
            made["properties"] = {name: self.schema(depth + 1) for name in names}
            known = names if self.chance(0.8) else NAMES
            made["required"] = random.sample(known, random.randint(0, min(2, len(known))))
        if self.chance(0.35):
            made["additionalProperties"] = random.choice([False, False, True, self.schema(3)])
        if self.chance(0.15):
            pattern = random.choice(PATTERNS)
            made["patternProperties"] = {pattern: self.schema(depth + 1)}
        if self.chance(0.12):
            made["propertyNames"] = random.choice(
                [
                    {"pattern": random.choice(PATTERNS)},
                    {"maxLength": 1},
                    {"enum": ["a", "b"]},
                    {"type": random.choice(["integer", "string", "null"])},
                    {"minLength": 2},
                ]
            )
        if self.chance(0.12):
            most = {"maxProperties": random.randint(0, 3)}
            made |= random.choice([most, {"minProperties": random.randint(1, 3)}])
        return made

    def array(self, depth: int) -> Schema:
        made: Schema = {"type": "array"} if self.chance(0.9) else {}
        if self.chance(0.4):
            made["prefixItems"] = [self.schema(depth + 1) for _ in range(self.random.randint(1, 2))]
        if self.chance(0.6):
            made["items"] = self.schema(depth + 1)
        least = self.random.randint(0, 3)
        made |= {"minItems": least} if self.chance(0.25) else {}
        made |= {"maxItems": least + self.random.randint(0, 2)} if self.chance(0.25) else {}
        return made | ({"uniqueItems": True} if self.chance(0.1) else {})

    def union(self, depth: int) -> Schema:
        key = self.random.choice(["anyOf", "anyOf", "oneOf"])
        branches = [self.schema(depth + 1) for _ in range(self.random.randint(1, 3))]
        if self.chance(0.15):
            branches.append(copy.deepcopy(branches[0]))
        return {key: branches} | (self.scalar(depth) if self.chance(0.15) else {})

    def both(self, depth: int) -> Schema:
        branches = [self.schema(depth + 1) for _ in range(2)]
        if self.chance(0.6):
            maker = self.random.choice([self.record, self.array])
            branches = [maker(depth + 1) for _ in range(2)]
        return {"allOf": branches} | (self.scalar(depth) if self.chance(0.1) else {})

    def ref(self, depth: int) -> Schema:
        made: Schema = {"$ref": f"#/$defs/{self.random.choice('AB')}"}
        return made | (self.scalar(depth) if self.chance(0.25) else {})

    def foreign_schema(self, depth: int) -> Schema:
        """Keywords whose meaning depends on others, or that belong to other drafts."""
        random, inner = self.random, [self.schema(depth + 1) for _ in range(3)]
        array, record = self.array(depth), self.record(depth)
        return random.choice(
            [
                {"if": inner[0], "then": inner[1], "else": inner[2]},
                {**array, "contains": inner[0], "minContains": random.randint(0, 2)},
                {**array, "contains": inner[0], "maxContains": random.randint(0, 2)},
                {**array, "unevaluatedItems": random.choice([False, inner[0]])},
                {**record, "unevaluatedProperties": random.choice([False, inner[0]])},
                {"allOf": [record, self.record(depth)], "unevaluatedProperties": False},
                {**record, "dependentRequired": {"a": [random.choice(NAMES)]}},
                {**record, "dependentSchemas": {"a": inner[0]}},
                {"type": "array", "items": [{"$ref": "#/$defs/A"}, inner[0]]},
                {"type": "array", "items": [inner[0]], "additionalItems": inner[1]},
                {**record, "dependencies": {"a": random.choice([["b"], inner[0]])}},
                {"not": inner[0]},
                {"$ref": "#here"},
                {"$dynamicRef": "#/$defs/A"},
                {"type": "integer", "x-other": random.randint(0, 2)},
                {"type": "string", "nullable": random.choice([True, False])},
                {"type": "integer", "divisibleBy": random.randint(1, 3)},
            ]
        )


def edited(document: Schema, maker: Maker) -> Schema:
    """A document after one or two random edits."""
    random, changed = maker.random, copy.deepcopy(document)
    for _ in range(random.choice([1, 1, 1, 2])):
        places = list(_places(changed))
        holder, key = random.choice(places)
        old, roll = holder[key], random.random()
        if roll < 0.3 or not isinstance(old, dict) or not old:
            holder[key] = maker.schema(2)
        elif roll < 0.55:
            old |= {k: v for k, v in _as_dict(maker.schema(2)).items() if k != "$defs"}
        elif roll < 0.75:
            del old[random.choice(list(old))]
        elif roll < 0.85:
            holder[key] = {random.choice(["anyOf", "oneOf", "allOf"]): [old]}
        else:
            _tweak(old, random)
    if "$defs" not in changed:
        changed["$defs"] = document["$defs"]
    return changed


def _as_dict(schema: Schema) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _tweak(schema: Schema, random: Random) -> None:
    key = random.choice(list(schema))
    value = schema[key]
    if isinstance(value, bool):
        schema[key] = not value
    elif isinstance(value, int | float):
        schema[key] = abs(value + random.choice([-1, 1, 2])) or 1
    elif isinstance(value, list) and value:
        schema[key] = [*value, copy.deepcopy(random.choice(value))]
        if random.random() < 0.5:
            schema[key] = random.sample(value, max(1, len(value) - 1))
    elif isinstance(value, dict) and len(value) > 1:
        names = list(value)
        value[names[0]], value[names[1]] = value[names[1]], value[names[0]]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Where a schema stands: (holder, key)."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict) and key in ("properties", "patternProperties", "$defs"):
            yield from ((value, name) for name in value)
            for part in value.values():
                yield from _places(part)
        elif isinstance(value, dict):
            yield node, key
            yield from _places(value)
        elif isinstance(value, list) and key not in ("enum", "required", "type"):
            for i, part in enumerate(value):
                if isinstance(part, dict):
                    yield value, i
                    yield from _places(part)


def is_endless(document: Schema) -> bool:
    """Whether a reference may lead back to itself at one place, which no validator survives."""
    definitions = _as_dict(document).get("$defs", {})

    def leads(schema: Schema) -> Iterator[str]:
        """The definitions that apply at the same place; "#" for the document."""
        for key, value in _as_dict(schema).items():
            if key in ("$ref", "$dynamicRef"):
                yield "A" if value == "#here" else str(value).removeprefix("#/$defs/")
            elif key in ("allOf", "anyOf", "oneOf"):
                parts = value if isinstance(value, list) else []
                yield from (to for part in parts for to in leads(part))
            elif key in ("not", "if", "then", "else"):
                yield from leads(value)
            elif key in ("dependentSchemas", "dependencies"):
                yield from (to for part in _as_dict(value).values() for to in leads(part))

    graph = {name: {*leads(body)} for name, body in definitions.items()}
    graph["#"] = {*leads({k: v for k, v in _as_dict(document).items() if k != "$defs"})}
    while ends := [name for name, to in graph.items() if not to & graph.keys()]:
        for name in ends:
            del graph[name]
    return bool(graph)


_BESIDE = {"$ref", "$dynamicRef", "allOf", "if", "dependentSchemas"}  # more applies to the value
_WHOLE = ("items", "prefixItems", "additionalProperties")  # their schemas are for whole values


def closed(schema: Schema, *, alone: bool = True) -> Schema:
    """The same document, which refuses undeclared members where it is plain that none is written.

    `alone`: no other schema applies at the same place. Of the definitions, those are closed that
    are the whole of a value wherever they are used. A schema of a pattern is closed even if others
    apply to the same member: then some values are not asked for.
    """
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    alone = alone and not schema.keys() & _BESIDE
    if alone and _closes_union(schema):
        made |= {key: closed(schema[key]) for key in ("anyOf", "oneOf") if key in schema}
    for key in ("properties", "patternProperties"):
        if key in schema:
            made[key] = {name: closed(part) for name, part in _as_dict(schema[key]).items()}
    if isinstance(schema.get("properties"), dict):
        loose = dict.fromkeys(schema.get("required", ()), True)
        must = _must_write_others([schema])
        if alone and not must and not schema.keys() & {"anyOf", "oneOf", "additionalProperties"}:
            made |= {"properties": loose | made["properties"], "additionalProperties": False}
    made |= {key: closed(schema[key]) for key in _WHOLE if key in schema}
    return made | _closed_definitions(schema)


def _closed_definitions(schema: Schema) -> dict[str, Any]:
    if not isinstance(definitions := schema.get("$defs"), dict):
        return {}
    shared = _shared(schema)
    found = {
        name: body if shared is None or name in shared else closed(body)
        for name, body in definitions.items()
    }
    return {"$defs": found}


def _shared(document: Schema) -> set[str] | None:
    """The definitions that some reference applies beside other schemas; None if it is not plain."""
    found = set[str]()
    while (more := _beside(document, found)) is not None and not more <= found:
        found |= more
    return None if more is None else found


def _beside(document: Schema, shared: set[str]) -> set[str] | None:
    found, waiting = set[str](), [(document, True)]
    while waiting:
        node, is_value = waiting.pop()
        if isinstance(node, list):
            waiting += [(part, is_value) for part in node]
        for key, part in _as_dict(node).items():
            if key in ("$ref", "$dynamicRef"):
                name = str(part).removeprefix("#/$defs/")
                if "#" in name or "/" in name:
                    return None
                found |= set() if is_value and len(node) == 1 else {name}
            elif key in ("properties", "patternProperties", "$defs"):
                named = _as_dict(part).items()
                waiting += [(inner, key != "$defs" or name not in shared) for name, inner in named]
            else:
                union = key in ("anyOf", "oneOf") and is_value and _closes_union(_as_dict(node))
                waiting.append((part, union or key in _WHOLE))
    return found


def _closes_union(schema: dict[str, Any]) -> bool:
    """Whether the branches of a union here are the whole of a value, if this schema is."""
    return not (schema.keys() & {*_BESIDE, "properties"} or {"anyOf", "oneOf"} <= schema.keys())


# --- what a closed writer writes ------------------------------------------------------------------


def _must_write_others(parts: list[dict[str, Any]]) -> bool:
    """Whether `minProperties` demands more members than those that can be declared or required."""
    named = {n for p in parts for n in p.get("required", ())}
    for part in parts:
        for name, schema in _as_dict(part.get("properties")).items():
            refused = any(_refuses(p.get("propertyNames", True), name) for p in parts)
            if schema is not False and _as_dict(schema).get("enum") != [] and not refused:
                named.add(name)
    return any(p.get("minProperties", 0) > len(named) for p in parts)


def _refuses(names: Schema, name: str) -> bool:
    try:
        return not jsonschema.Draft202012Validator(names).is_valid(name)
    except Exception:  # noqa: BLE001 - malformed, or a reference out of it
        return False


def _names(parts: list[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """The members that a closed writer must write at a place, and those that it may write."""
    declared = {n for p in parts for n in _as_dict(p.get("properties"))}
    required = {n for p in parts for n in p.get("required", ()) if isinstance(n, str)}
    patterns = [x for p in parts for x in _as_dict(p.get("patternProperties"))]
    extra = [p["additionalProperties"] for p in parts if "additionalProperties" in p]
    is_open = not any("properties" in p for p in parts) or any(x is not False for x in extra)
    matching = {n for n in NAMES for pattern in patterns if re.search(pattern, n)}
    is_open = is_open or _must_write_others(parts)
    return required, {*declared, *matching, *(NAMES if is_open else ())}


class Writer:
    """Makes candidates; the caller keeps those that the schema accepts."""

    def __init__(self, root: Schema, random: Random) -> None:
        self.root, self.random = root, random

    def value(self) -> Any:
        return self._write([self.root], 0)

    def _applying(self, schemas: list[Schema], depth: int) -> Iterator[dict[str, Any]]:
        """Every schema that applies at one place, with one branch of each union."""
        for schema in schemas:
            if not isinstance(schema, dict) or depth > 8:
                continue
            yield schema
            inner = [*schema.get("allOf", ())]
            for key in ("anyOf", "oneOf"):
                inner += [self.random.choice(schema[key])] if schema.get(key) else []
            target = str(schema.get("$ref", schema.get("$dynamicRef", "")))
            if target.startswith("#/$defs/"):
                inner.append(self.root.get("$defs", {}).get(target.removeprefix("#/$defs/"), {}))
            elif target == "#here":
                inner.append(self.root["$defs"]["A"])
            elif target.startswith("#/definitions/"):
                inner.append(self.root["definitions"][target.removeprefix("#/definitions/")])
            elif target:
                inner += self.root["$defs"].values()
            inner += [schema[key] for key in ("then", "else") if key in schema][:1]
            yield from self._applying(inner, depth + 1)

    def _write(self, schemas: list[Schema], depth: int) -> Any:
        parts, random = list(self._applying(schemas, 0)), self.random
        listed = [v for p in parts for v in p.get("enum", ())]
        listed += [p["const"] for p in parts if "const" in p]
        if listed:
            return copy.deepcopy(random.choice(listed))
        kinds: list[Any] = [p["type"] for p in parts if "type" in p]
        kind: Any = random.choice(kinds) if kinds else ""
        kind = random.choice(kind) if isinstance(kind, list) and kind else kind
        if not kind and random.random() < 0.7:
            kind = "object" if any("properties" in p for p in parts) else ""
            kind = "array" if not kind and any("items" in p for p in parts) else kind
        if not kind or random.random() < 0.05 or depth > 5:
            return self._of_anything(parts)
        if kind == "object":
            return self._object(parts, depth)
        if kind == "array":
            return self._array(parts, depth)
        if kind in ("integer", "number"):
            return self._number(parts, kind)
        if kind == "string":
            return random.choice(TEXTS)
        return random.choice([True, False]) if kind == "boolean" else None

    def _number(self, parts: list[dict[str, Any]], kind: str) -> Any:
        keys = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
        ends = [p[key] for p in parts for key in keys if isinstance(p.get(key), int | float)]
        pool = NUMBERS + [end + step for end in ends for step in (-1, -0.5, 0, 0.5, 1)]
        if kind == "integer":
            pool = [int(n) if isinstance(n, float) and n.is_integer() else n for n in pool]
        return self.random.choice(pool)

    def _of_anything(self, parts: list[dict[str, Any]]) -> Any:
        value = copy.deepcopy(self.random.choice(ANYTHING))
        if isinstance(value, dict):
            required, may = _names(parts)
            return {name: part for name, part in value.items() if name in required | may}
        return value

    def _object(self, parts: list[dict[str, Any]], depth: int) -> Any:
        required, may = _names(parts)
        chosen = [name for name in sorted(may - required) if self.random.random() < 0.6]
        names = [*sorted(required), *chosen]
        return {name: self._write(self._of_member(parts, name), depth + 1) for name in names}

    def _of_member(self, parts: list[dict[str, Any]], name: str) -> list[Schema]:
        found: list[Schema] = []
        for part in parts:
            here = [_as_dict(part.get("properties")).get(name)]
            patterns = _as_dict(part.get("patternProperties"))
            here += [schema for x, schema in patterns.items() if re.search(x, name)]
            here = [schema for schema in here if schema is not None]
            found += here or [part.get("additionalProperties", True)]
        return found

    def _array(self, parts: list[dict[str, Any]], depth: int) -> Any:
        def prefix(part: dict[str, Any]) -> list[Schema]:
            items = part.get("items")
            given = part.get("prefixItems", items if isinstance(items, list) else [])
            return given if isinstance(given, list) else []

        known = max((len(prefix(p)) for p in parts), default=0)
        is_open = not known or any(not isinstance(p.get("items", []), list) for p in parts)
        least = max((p.get("minItems", 0) for p in parts), default=0)
        longest = max(known + 3 if is_open else known, least)
        length = self.random.randint(min(least, longest), longest)
        return [
            self._write(
                [
                    prefix(p)[i] if i < len(prefix(p)) else p.get("items", True)
                    for p in parts
                    if i < len(prefix(p)) or not isinstance(p.get("items", True), list)
                ],
                depth + 1,
            )
            for i in range(min(length, 6))
        ]
