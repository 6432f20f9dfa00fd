"""How alternatives that hold other values differ: objects and arrays.

A writer with declared members or elements writes those only: it is closed. Without, it is open.
A reader with declared members or elements drops what it does not declare, unless it forbids it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import inf

from typedq.compat.difference import Difference, Incompatibility, Link, Step, quoted
from typedq.compat.documents import Schema, same
from typedq.compat.normal_form import Alternative, disjoint_values, names_in
from typedq.compat.rules import Kind
from typedq.contracts.json_tree import NOTHING, is_object, reachable, text_of

_ANY_TEXT = {"type": "string"}


class Members:
    """The members of an object, seen from either side."""

    def __init__(self, source: Alternative) -> None:
        facets = source.facets
        self.source = source
        self.declared: dict[str, Schema] = facets.get("properties", {})
        self.patterns: dict[str, Schema] = facets.get("patternProperties", {})
        self.required = frozenset(names_in(facets, "required"))
        self.fixed = "properties" in facets
        self.drops = self.fixed and "additionalProperties" not in facets  # as a reader
        self.accepted: Schema = facets.get("additionalProperties", True)
        self.written: Schema = False if self.drops else self.accepted  # beside the declared ones
        names = facets.get("propertyNames", True)
        self.keys: Schema = {**names, **_ANY_TEXT} if is_object(names) else names

    @property
    def always(self) -> frozenset[str]:
        """What a writer always writes: required members, and the tag of a lone tagged Struct."""
        if not self.source.facets.get("x-typedq-lone-tag"):
            return self.required
        tags = [
            name
            for name, schema in self.declared.items()
            if name not in self.required and "default" not in schema and self.constant(name)
        ]
        return self.required | set(tags if len(tags) == 1 else ())

    def constant(self, name: str) -> str | None:
        """The one value a member can have, as JSON."""
        values = self.source.listed.get(name, ())
        return values[0] if len(values) == 1 else None

    def tagged(self, name: str) -> bool:
        """Whether a member is the tag of a Struct that is no variant of a union."""
        lone = bool(self.source.facets.get("x-typedq-lone-tag"))
        return lone and name in self.always - self.required


def objects(w: Alternative, r: Alternative) -> Difference:
    """Objects read as objects."""
    found, writer, reader = Difference(), Members(w), Members(r)
    for name in sorted(reader.required - writer.always):
        kind: Kind = "omitted" if name in writer.declared else "missing"
        part = reader.declared.get(name, NOTHING)
        found.add(kind, Step("member", name), what=quoted(name), reader_schema=part)
    for name, schema in writer.declared.items():
        if schema is not False:
            _member(found, writer, reader, name, schema)
    _undeclared(found, writer, reader)
    _keys(found, writer, reader)
    fewest = max(len(writer.always), w.facets.get("minProperties", 0))
    most = len(writer.declared) if writer.written is False else inf
    most = min(most, w.facets.get("maxProperties", inf))
    if fewest < (least := r.facets.get("minProperties", 0)):
        found.add("bound", what=f"at least {least} entries")
    if most > (limit := r.facets.get("maxProperties", inf)):
        found.add("bound", what=f"at most {limit} entries")
    _renames(found, writer, reader)
    return found


def _member(found: Difference, writer: Members, reader: Members, name: str, schema: Schema) -> None:
    step = Step("member", name)
    if name in reader.declared:
        theirs = reader.declared[name]
        values = (
            _disjoint_values(writer.source, reader.source, name) if name in writer.always else None
        )
        if values:
            kind: Kind = "tag" if writer.tagged(name) or reader.tagged(name) else "only value"
            parts = {"writer_schema": schema, "reader_schema": theirs}
            found.add(kind, step, writer=values[0], reader=values[1], **parts)
        else:
            found.links.append(Link(step, schema, theirs))
        both = is_object(schema) and is_object(theirs) and {"default"} <= schema.keys() & theirs
        if both and text_of(schema["default"]) != text_of(theirs["default"]):
            words = {"writer": quoted(schema["default"]), "reader": quoted(theirs["default"])}
            words |= {"what": quoted(name), "writer_schema": schema, "reader_schema": theirs}
            found.add("default", step, **words)
    elif reader.patterns:
        found.add("keyword", step, what="the names that patternProperties covers")
    elif reader.accepted is False:
        found.add("undeclared", step, what=quoted(name), reaches=step, writer_schema=schema)
    elif reader.drops:
        if name not in writer.required:
            found.add("dropped", step, what=quoted(name), writer_schema=schema)
    else:
        found.links.append(Link(step, schema, reader.accepted))


def _undeclared(found: Difference, writer: Members, reader: Members) -> None:
    """Members of an open writer that it does not declare."""
    sources = dict(writer.patterns)
    if writer.written is not False:
        sources[""] = writer.written
    keeps = not reader.drops and reader.accepted is not False
    for pattern, schema in sources.items():
        for name, theirs in reader.declared.items():
            if name not in writer.declared and (writer.fixed or keeps):
                incompatibility = Incompatibility(
                    "open member", Step("member", name), quoted(name), reader_schema=theirs
                )
                found.links.append(Link(Step("member", name), schema, theirs, incompatibility))
        if pattern in reader.patterns:
            found.links.append(Link(Step("value"), schema, reader.patterns[pattern]))
        elif reader.accepted is False:
            found.add("undeclared", what="members of any name")
        elif not reader.drops:
            found.links.append(Link(Step("value"), schema, reader.accepted))
        elif writer.fixed:
            found.add("dropped", what="undeclared members")
        else:
            found.add("members lost")
    if reader.patterns.keys() - writer.patterns.keys():
        found.add("keyword", what="patternProperties")


def _keys(found: Difference, writer: Members, reader: Members) -> None:
    if reader.keys is not True:
        for name in writer.declared:
            incompatibility = Incompatibility(
                "key", what=quoted(name), writer=quoted(name), reader="keys of its own type"
            )
            found.links.append(Link(Step("key"), {"const": name}, reader.keys, incompatibility))
    if (writer.keys is not True or reader.keys is not True) and writer.written is not False:
        left = _ANY_TEXT if writer.keys is True else writer.keys
        right = _ANY_TEXT if reader.keys is True else reader.keys
        if not reader.drops:
            found.links.append(Link(Step("key"), left, right, Incompatibility("key")))


def _renames(found: Difference, writer: Members, reader: Members) -> None:
    gone = [name for name in writer.declared if name not in reader.declared]
    fresh = [name for name in reader.declared if name not in writer.declared]
    if not (gone and fresh and reader.drops):
        return
    left, right = writer.source.document, reader.source.document
    saying = defaultdict[str, list[str]](list)
    for name in fresh:
        saying[right.text(reader.declared[name], left)].append(name)
    for name in gone:
        if len(alike := saying[left.text(writer.declared[name], right)]) == 1:
            parts = {
                "writer_schema": writer.declared[name],
                "reader_schema": reader.declared[alike[0]],
            }
            words = {"writer": quoted(name), "reader": quoted(alike[0])}
            found.add("renamed", Step("member", alike[0]), **words, **parts)


@dataclass(frozen=True, slots=True)
class _Elements:
    prefix: list[Schema]
    rest: Schema
    names: list[str]
    least: int
    most: float
    drops: bool  # as a reader

    @staticmethod
    def of(source: Alternative, *, writes: bool) -> _Elements:
        facets = source.facets
        prefix: list[Schema] = facets.get("prefixItems", [])
        named = "x-typedq-elements" in facets
        drops = (named or bool(prefix)) and "items" not in facets and "maxItems" not in facets
        rest = facets.get("items", not (writes and (prefix or named)))
        most = facets.get("maxItems", inf)
        most = min(most, len(prefix)) if rest is False else most
        names = names_in(facets, "x-typedq-elements")
        return _Elements(prefix, rest, names, facets.get("minItems", 0), most, drops)

    def at(self, index: int) -> Schema:
        return self.prefix[index] if index < len(self.prefix) else self.rest

    def __str__(self) -> str:
        if self.least == self.most:
            return f"exactly {self.least}"
        return f"{self.least} or more" if self.most == inf else f"{self.least} to {self.most:g}"


def arrays(w: Alternative, r: Alternative) -> Difference:
    """Arrays read as arrays: lists, sets, tuples, and records whose elements have names."""
    found = Difference()
    writer, reader = _Elements.of(w, writes=True), _Elements.of(r, writes=False)
    for i, (mine, other) in enumerate(zip(writer.names, reader.names, strict=False)):
        if mine != other:
            found.add("element", Step("index", i), writer=quoted(mine), reader=quoted(other))
    _lengths(found, writer, reader)
    if r.facets.get("uniqueItems") and writer.most > 1:
        _unique(found, w, r, writer.rest, reader.rest)
    known = max(len(writer.prefix), len(reader.prefix))
    for i in range(int(min(known, writer.most, reader.most))):
        if i < len(reader.prefix) or not reader.drops:
            values = _disjoint_values(w, r, 0) if i == 0 and writer.least else None
            if values:
                kind: Kind = "tag" if writer.names and reader.names else "only value"
                found.add(kind, Step("index", 0), writer=values[0], reader=values[1])
            else:
                found.links.append(Link(Step("index", i), writer.at(i), reader.at(i)))
        elif i >= writer.least:
            what = quoted(writer.names[i]) if i < len(writer.names) else f"element {i}"
            found.add("dropped", Step("index", i), what=what)
    if reader.drops and writer.most > (known if writer.names else len(reader.prefix)):
        found.add("members lost")
    elif writer.most > known and reader.most > known:
        found.links.append(Link(Step("item"), writer.rest, reader.rest))
    return found


def _lengths(found: Difference, writer: _Elements, reader: _Elements) -> None:
    records = writer.names and reader.names
    if records:
        for i in range(writer.least, min(reader.least, writer.least + len(reader.names) + 1)):
            kind: Kind = "omitted" if i < len(writer.names) else "missing"
            name = reader.names[i] if i < len(reader.names) else f"element {i}"
            found.add(kind, Step("index", i), what=quoted(name), reader_schema=reader.at(i))
        for i in range(len(reader.names), len(writer.names)):
            if writer.most > reader.most:
                what, step = quoted(writer.names[i]), Step("index", i)
                part = writer.at(i)
                found.add("undeclared", step, what=what, reaches=step, writer_schema=part)
        if found.refused or writer.most <= reader.most:
            return
    fixed = writer.prefix or reader.prefix or writer.least == writer.most
    if reader.least > writer.least or reader.most < writer.most:
        longer = reader.least <= writer.least and reader.most < 100
        reaches = Step("index", int(reader.most)) if longer else None
        if fixed or reader.least == reader.most:
            found.add("length", writer=str(writer), reader=str(reader), reaches=reaches)
        else:
            found.add("bound", what=f"{reader} elements", reaches=reaches)


def _unique(found: Difference, w: Alternative, r: Alternative, mine: Schema, other: Schema) -> None:
    if not w.facets.get("uniqueItems"):
        twice = Step("index", 1) if not w.facets.get("prefixItems") else None
        found.add("repeated", reaches=twice)
    elif _holds_records(w, mine) and not same(w.document, mine, r.document, other):
        found.add("collapsing")


def _holds_records(source: Alternative, schema: Schema) -> bool:
    """Whether its values may lose parts when read, so that two of them become equal."""
    bodies = reachable(schema, source.document.target).values()
    text = text_of([schema, *bodies])
    return '"properties"' in text or '"prefixItems"' in text


def _disjoint_values(w: Alternative, r: Alternative, name: str | int) -> tuple[str, str] | None:
    """The values of a member or element where both sides list some but share none."""
    ours, theirs = w.listed.get(name, ()), r.listed.get(name, ())
    return (" or ".join(ours), " or ".join(theirs)) if disjoint_values(ours, theirs) else None


def untagged(w: Alternative, readers: list[Alternative]) -> list[Alternative]:
    """Those that no tag, nor other constant, of the writer rules out. Objects and arrays."""
    first = (0,) if w.facets.get("minItems", 0) else ()
    names = w.listed.keys() & (Members(w).always if w.kind == "object" else first)
    empty = [r for r in readers if r.facets.get("maxItems") == 0]  # has no first element
    return [
        r for r in readers if r in empty or not any(_disjoint_values(w, r, name) for name in names)
    ]


def disjoint(w: Alternative, r: Alternative) -> bool:
    """Whether what they have or lack, tags aside, tells the writer's values from the reader's."""
    if w.kind == "array":
        writer, reader = _Elements.of(w, writes=True), _Elements.of(r, writes=False)
        return writer.most < reader.least or writer.least > reader.most
    mine, other = Members(w), Members(r)
    if mine.written is False and not mine.patterns and other.required - mine.declared.keys():
        return True
    closed = other.accepted is False and not other.patterns
    return closed and bool(mine.always - other.declared.keys())
