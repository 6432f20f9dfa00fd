"""How objects differ."""

from __future__ import annotations

from collections import defaultdict
from math import inf

from typedq.compat.difference import Difference, Incompatibility, Link, Step, quoted
from typedq.compat.normal_form import Alternative, listed_apart
from typedq.compat.rules import Kind
from typedq.compat.structure import ANY_TEXT, Members
from typedq.compat.values import matches
from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import NOTHING, is_object, text_of


def objects(w: Alternative, r: Alternative) -> Difference:
    """Compare objects with objects."""
    found, writer, reader = Difference(), w.members, r.members
    w.side.budget.spend(4 + 2 * len(writer.parts) + len(reader.declared))
    instead = reader.read_instead(writer)
    given = {name for alias, name in instead.items() if alias in writer.always}
    for name in sorted(reader.required - writer.always - given):
        kind: Kind = "omitted" if name in writer.parts else "missing"
        part = reader.declared.get(name, NOTHING)
        found.add(kind, Step("member", name), what=quoted(name), reader_schema=part)
    for name, schema in writer.parts.items():
        if schema is not False:
            _member(found, w, r, name, schema, is_alias=name in instead)
    _undeclared(found, w, r)
    _keys(found, writer, reader)
    fewest = max(len(writer.always), w.facets.get("minProperties", 0))
    most = min(_most(w), w.facets.get("maxProperties", inf))
    least = r.facets.get("minProperties", 0)
    if fewest < least or (least > 1 and _are_rounded(writer.keys, reader.keys)):
        found.add("bound", what=f"at least {least} entries")
    if most > (limit := r.facets.get("maxProperties", inf)):
        found.add("bound", what=f"at most {limit} entries")
    _renames(found, w, r)
    return found


def _are_rounded(ours: Schema, theirs: Schema) -> bool:
    """Whether keys may be rounded when they are read, and become equal."""
    kinds = [keys.get("x-typedq-type") if is_object(keys) else None for keys in (ours, theirs)]
    return kinds == ["integer", "number"]


def _most(w: Alternative) -> float:
    """The most members that a writer can write."""
    writer = w.members
    if writer.written is False and not writer.patterns:
        return len(writer.parts)
    keys = w.facets.get("propertyNames")
    listed = keys.get("enum") if is_object(keys) else None
    return inf if listed is None else len(listed) + len(writer.parts)


def _member(
    found: Difference, w: Alternative, r: Alternative, name: str, schema: Schema, *, is_alias: bool
) -> None:
    step, writer, reader = Step("member", name), w.members, r.members
    governed = _by_patterns(found, r, name, schema)
    if is_alias:
        theirs = reader.declared[name]
        plain = {key: value for key, value in theirs.items() if key != "x-typedq-alias"}
        found.links.append(Link(step, schema, plain))
    elif name in reader.declared:
        _declared(found, w, r, name, schema)
    elif governed:
        return
    elif reader.accepted is False:
        found.add("undeclared", step, what=quoted(name), reaches=step, writer_schema=schema)
    elif reader.drops:
        if name not in writer.required:
            found.add("dropped", step, what=quoted(name), writer_schema=schema)
    else:
        found.links.append(Link(step, schema, reader.accepted))


def _by_patterns(found: Difference, r: Alternative, name: str, schema: Schema) -> bool:
    """Compare a member with the patterns of the reader that match its name, if any does."""
    governed = False
    for pattern, theirs in r.members.patterns.items():
        match matches(pattern, name, r.side.budget):
            case True:
                found.links.append(Link(Step("member", name), schema, theirs))
                governed = True
            case None:
                found.add("keyword", Step("member", name), what=f"the pattern of names {pattern}")
                governed = True
            case False:
                pass
    return governed


def _declared(found: Difference, w: Alternative, r: Alternative, name: str, schema: Schema) -> None:
    writer, reader = w.members, r.members
    step, theirs = Step("member", name), reader.declared[name]
    values = listed_apart(w, r, name) if name in writer.always else None
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


def _undeclared(found: Difference, w: Alternative, r: Alternative) -> None:
    """Compare members of an open writer that it does not declare."""
    writer, reader = w.members, r.members
    sources = dict(writer.patterns)
    if writer.written is not False:
        sources[""] = writer.written
    keeps = not reader.drops and reader.accepted is not False
    for pattern, schema in sources.items():
        r.side.budget.spend(len(reader.declared))
        for name, theirs in reader.declared.items():
            if name not in writer.declared and (
                writer.fixed or keeps or pattern in reader.patterns
            ):
                step = Step("member", name)
                named = Incompatibility("open member", step, quoted(name), reader_schema=theirs)
                found.links.append(Link(step, schema, theirs, named))
        if pattern and pattern in reader.patterns:
            found.links.append(Link(Step("value"), schema, reader.patterns[pattern]))
        elif reader.accepted is False:
            found.add("undeclared", what="members of any name")
        elif not reader.drops:
            found.links.append(Link(Step("value"), schema, reader.accepted))
        elif writer.fixed:
            found.add("dropped", what="undeclared members")
        else:
            found.add("members lost")
    if sources and reader.patterns.keys() - writer.patterns.keys():
        found.add("keyword", what="patternProperties")


def _keys(found: Difference, writer: Members, reader: Members) -> None:
    if reader.keys is not True:
        for name in writer.parts:
            named = Incompatibility("key", None, quoted(name), quoted(name), "keys of its own type")
            found.links.append(Link(Step("key"), {"const": name}, reader.keys, named))
    is_open = writer.written is not False or bool(writer.patterns)
    if is_open and (reader.keys is not True or (writer.keys is not True and not reader.drops)):
        left = ANY_TEXT if writer.keys is True else writer.keys
        right = ANY_TEXT if reader.keys is True else reader.keys
        found.links.append(Link(Step("key"), left, right, Incompatibility("key")))


def _renames(found: Difference, w: Alternative, r: Alternative) -> None:
    writer, reader = w.members, r.members
    gone = [name for name in writer.declared if name not in reader.declared]
    fresh = [name for name in reader.declared if name not in writer.declared]
    if not (gone and fresh and reader.drops):
        return
    alike_by_digest = defaultdict[str, list[str]](list)
    for name in fresh:
        alike_by_digest[r.side.digest(reader.declared[name])].append(name)
    for name in gone:
        digest = w.side.digest(writer.declared[name])
        if len(alike := alike_by_digest[digest]) == 1:
            parts = {
                "writer_schema": writer.declared[name],
                "reader_schema": reader.declared[alike[0]],
            }
            words = {"writer": quoted(name), "reader": quoted(alike[0])}
            found.add("renamed", Step("member", alike[0]), **words, **parts)
