"""How arrays differ: lists, sets, tuples, and records whose elements have names.

Beside it, which readers of objects or arrays a writer's values may be taken for.
"""

from __future__ import annotations

from typedq.compat.difference import Difference, Link, Step, quoted
from typedq.compat.normal_form import Alternative, NormalForm, listed_apart
from typedq.compat.rules import Kind
from typedq.compat.structure import Elements
from typedq.compat.values import text_form
from typedq.contracts.dialect import Schema


def arrays(w: Alternative, r: Alternative) -> Difference:
    """Compare arrays with arrays: lists, sets, tuples, and records whose elements have names."""
    found = Difference()
    writer, reader = Elements(w.facets, writes=True), Elements(r.facets, writes=False)
    w.side.budget.spend(4 + len(writer.prefix) + len(reader.prefix))
    for i, (mine, other) in enumerate(zip(writer.names, reader.names, strict=False)):
        if mine != other:
            found.add("element", Step("index", i), writer=quoted(mine), reader=quoted(other))
    _lengths(found, writer, reader)
    if r.facets.get("uniqueItems") and writer.most > 1:
        _unique(found, w, r, writer.rest, reader.rest)
    known = max(len(writer.prefix), len(reader.prefix))
    for i in range(int(min(known, writer.most, reader.most))):
        if i < len(reader.prefix) or not reader.drops:
            values = listed_apart(w, r, 0) if i == 0 and writer.least else None
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


def _lengths(found: Difference, writer: Elements, reader: Elements) -> None:
    records = writer.names and reader.names
    if records:
        _record_lengths(found, writer, reader)
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


def _record_lengths(found: Difference, writer: Elements, reader: Elements) -> None:
    for i in range(writer.least, min(reader.least, writer.least + len(reader.names) + 1)):
        kind: Kind = "omitted" if i < len(writer.names) else "missing"
        name = reader.names[i] if i < len(reader.names) else f"element {i}"
        found.add(kind, Step("index", i), what=quoted(name), reader_schema=reader.at(i))
    if writer.most > reader.most:
        for i in range(len(reader.names), len(writer.names)):
            step, part = Step("index", i), writer.at(i)
            what = quoted(writer.names[i])
            found.add("undeclared", step, what=what, reaches=step, writer_schema=part)


def _unique(found: Difference, w: Alternative, r: Alternative, mine: Schema, other: Schema) -> None:
    if not w.facets.get("uniqueItems"):
        twice = Step("index", 1) if not w.facets.get("prefixItems") else None
        found.add("repeated", reaches=twice)
    else:
        # Elements may lose parts when they are read, or be rounded, and become equal.
        several = r.facets.get("minItems", 0) > 1
        several = several and (_may_be_equal(w, mine) or _may_be_rounded(w, r, mine, other))
        same = w.side.digest(mine) == r.side.digest(other)
        if several or (not same and w.side.mentions(mine, "properties", "prefixItems")):
            found.add("collapsing")


def _may_be_equal(w: Alternative, mine: Schema) -> bool:
    """Whether elements that differ in JSON, as true and 1, may be equal in a set of Python's."""
    if w.facets.get("x-typedq-type") == "set":  # one of Python's was written
        return False
    found = w.side.form(mine).alternatives
    kinds = {a.kind for a in found}
    is_text = any(a.kind == "string" and text_form(a.facets) for a in found)
    return is_text or bool(kinds & {"number", "array", "object"}) or {"boolean", "integer"} <= kinds


def _may_be_rounded(w: Alternative, r: Alternative, mine: Schema, other: Schema) -> bool:
    kinds = [
        {a.kind for a in x.side.form(part).alternatives} for x, part in ((w, mine), (r, other))
    ]
    return "array" in kinds[0] or ("integer" in kinds[0] and "integer" not in kinds[1])


def untagged(w: Alternative, reader: NormalForm) -> list[Alternative]:
    """Return readers of its kind that no tag, nor other constant, of the writer rules out."""
    first = {0} if w.facets.get("minItems", 0) else set[str | int]()
    names = w.listed.keys() & (w.members.always if w.kind == "object" else first)
    left = reader.open.get(w.kind, [])
    for count, name in enumerate(sorted(names, key=str)):
        fitting = reader.listing(w.kind, name, w.listed[name])
        w.side.budget.spend(1 + len(fitting))
        known = {id(r) for r in left} if count else ()
        left = [r for r in fitting if not count or id(r) in known]
    return left


def disjoint(w: Alternative, r: Alternative) -> bool:
    """Return True if what they have or lack, tags aside, tells the writer's from the reader's."""
    w.side.budget.spend()
    if w.kind == "array":
        writer, reader = Elements(w.facets, writes=True), Elements(r.facets, writes=False)
        return writer.most < reader.least or writer.least > reader.most
    mine, other = w.members, r.members
    if mine.written is False and not mine.patterns and other.required - mine.parts.keys():
        return True
    closed = other.accepted is False and not other.patterns
    return closed and bool(mine.always - other.declared.keys())
