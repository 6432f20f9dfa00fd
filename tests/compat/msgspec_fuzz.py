"""Random types of msgspec, and models, against the real decoders.

The types of a family come of one another by random edits. Values are written with one and read
with another.
"""

from __future__ import annotations

import enum
import itertools
import json
from decimal import Decimal
from functools import cached_property, partial
from random import Random
from typing import Any

import msgspec
import pydantic

from tests.compat.fuzz import Report, searched
from tests.compat.fuzz_types import Builder, Maker, Node, Writer, edited
from typedq.compat import Comparison
from typedq.contracts.schema import document

FAMILY = 4  # types
VALUES = 24


class Side:
    """One type of a pair: its document, its decoder and encoder."""

    def __init__(self, node: Node, random: Random, *, models: bool) -> None:
        self.node, self.models, self._random = node, models, random
        self.builder = Builder(models=models)
        try:
            self.type = self.builder.build(node)
            self.schema = document(self.type)
        finally:
            self.builder.forget()

    def read(self, body: bytes) -> Any:
        if self.models:
            return self.type.model_validate_json(body)
        return msgspec.json.decode(body, type=self.type)

    def write(self, value: Any) -> bytes:
        if self.models:
            text: str = value.model_dump_json()
            return text.encode()
        return msgspec.json.encode(value)

    @cached_property
    def values(self) -> list[tuple[bytes, Any]]:
        return self.drawn()

    def drawn(self) -> list[tuple[bytes, Any]]:
        """What this type writes, with and without its defaults; each beside the value's view."""
        found = list[bytes]()
        for _ in range(VALUES):
            body = msgspec.json.encode(Writer(self._random).value(self.node))
            try:
                value = self.read(body)
            except REFUSED:
                continue
            whole = self.write(value)
            found += [body, whole] if part_of(json.loads(body), json.loads(whole)) else [whole]
        return [(body, self.view(self.read(body))) for body in found]

    def view(self, value: Any) -> tuple[str, Any]:
        return View(self)(self.node, value)


def part_of(body: Any, whole: Any) -> bool:
    """Whether a body lacks nothing but defaults: it may have been read as another variant."""
    if isinstance(body, dict):
        return all(key in whole and part_of(body[key], whole[key]) for key in body)
    if isinstance(body, list):
        return all(map(part_of, body, whole))
    return True


REFUSED = (msgspec.ValidationError, pydantic.ValidationError)


def counterexample(new: Side, values: list[tuple[bytes, Any]]) -> bytes | None:
    """A body that was written, and `new` refuses or reads as something else."""
    for body, meant in values:
        try:
            value = new.read(body)
        except REFUSED:
            return body
        if not kept(meant, new.view(value), json.loads(body)):
            return body
    return None


# --- does a value mean the same -------------------------------------------------------------------


class View:
    """A decoded value as (form, content), so that values of two types can be laid side by side."""

    def __init__(self, side: Side) -> None:
        self.classes = side.builder.classes

    def __call__(self, node: Node, value: Any) -> tuple[str, Any]:
        if node.name == "union":
            fitting = (part for part in node.parts if self.is_of(part, value))
            return self(next(fitting, ANY_SCALAR), value)
        if node.name in ("struct", "dataclass", "typeddict", "namedtuple", "model"):
            return self.record(node, value)
        if node.name == "dict":
            key, inner = node.parts
            return "map", {key_text(k): (self(key, k), self(inner, v)) for k, v in value.items()}
        if node.name == "tuple":
            return "list", [self(p, v) for p, v in zip(node.parts, value, strict=True)]
        if node.name in ("list", "vartuple", "set"):
            return "set" if node.name == "set" else "list", [self(node.parts[0], v) for v in value]
        return scalar(value)

    def record(self, node: Node, value: Any) -> tuple[str, Any]:
        def get(name: str) -> Any:
            return value[name] if isinstance(value, dict) else getattr(value, name)

        present = [f for f in node.fields if not isinstance(value, dict) or f.name in value]
        parts = {f.name: self(f.kind, get(f.name)) for f in present}
        if node.options.get("recursive"):
            parts["next"] = ("null", None) if get("next") is None else self(node, get("next"))
        tag = {"type": ("text", node.options["tag"])} if node.options.get("tag") else {}
        row = node.name == "namedtuple" or node.options.get("array_like")
        return ("row", list({**tag, **parts}.items())) if row else ("record", {**tag, **parts})

    def is_of(self, node: Node, value: Any) -> bool:
        if node.name == "union":
            return any(self.is_of(part, value) for part in node.parts)
        if id(node) in self.classes and node.name not in ("typeddict", "namedtuple"):
            return isinstance(value, self.classes[id(node)])
        if node.name in ("literal", "enum"):
            plain = value.value if isinstance(value, enum.Enum) else value
            values = node.options["values"]
            same_form = isinstance(value, enum.Enum) == (node.name == "enum")
            return same_form and any(type(plain) is type(v) and plain == v for v in values)
        return type(value).__name__ == _PYTHON.get(node.name, node.name) or (
            node.name == "namedtuple" and isinstance(value, tuple)
        )


ANY_SCALAR = Node("any")
_PYTHON = {
    "none": "NoneType", "uuid": "UUID", "decimal": "Decimal", "vartuple": "tuple",
    "typeddict": "dict", "model": "",
}  # fmt: skip


def key_text(key: Any) -> str:
    return str(next(iter(msgspec.json.decode(msgspec.json.encode({key: None})))))


def scalar(value: Any) -> tuple[str, Any]:
    if isinstance(value, enum.Enum):
        return scalar(value.value)
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "bool", value
    if isinstance(value, int | float | Decimal):
        return "decimal" if isinstance(value, Decimal) else "number", value
    if isinstance(value, bytes):
        return "bytes", value
    return "text", msgspec.to_builtins(value)


def kept(old: tuple[str, Any], new: tuple[str, Any], body: Any) -> bool:  # noqa: C901
    (form, was), (other, now) = old, new
    match form, other:
        case "record", "record":
            return all(kept(was[k], now[k], body[k]) for k in body if k in was and k in now)
        case "record", "map":
            written = [k for k in body if k in was]
            return all(k in now and kept(was[k], now[k][1], body[k]) for k in written)
        case "map", "map":
            return len(was) == len(now) and all(
                any(kept(w[0], n[0], None) and kept(w[1], n[1], body.get(k)) for n in now.values())
                for k, w in was.items()
            )
        case "row", "row":
            return all(
                name == other_name and kept(w, n, b)
                for (name, w), (other_name, n), b in zip(was, now, body, strict=False)
            )
        case "row", ("list" | "set"):
            listed = [w for _, w in was][: len(body)]
            return len(body) == len(now) and kept(("list", listed), new, body)
        case "list", "row":
            fits = zip(was, now, body, strict=False)
            return len(was) <= len(now) and all(kept(w, n, b) for w, (_, n), b in fits)
        case "list", "list":
            return len(was) == len(now) and all(
                kept(w, n, b) for w, n, b in zip(was, now, body, strict=True)
            )
        case (("list" | "set"), ("list" | "set")):
            return len(was) == len(now) == len(body) and all(
                any(kept(w, n, b) for n in now) for w, b in zip(was, body, strict=True)
            )
        case (("number" | "decimal"), ("number" | "decimal")):
            return float(was) == float(now)
        case "decimal", "text":
            return bool(str(was) == now)
        case _:
            return form == other and was == now


# --- the run --------------------------------------------------------------------------------------


def one_round(random: Random, report: Report) -> None:
    """Compare all types of a family with each other."""
    models = random.random() < 0.3
    maker = Maker(random, models=models)
    trees = [maker.record(0, "model") if models else maker.node()]
    while len(trees) < FAMILY:
        trees.append(edited(random.choice(trees), maker))
    sides = [side for tree in trees if (side := _built(tree, random, report, models))]
    for old, new in itertools.combinations(sides, 2):
        if (found := report.compared(old.schema, new.schema)) is not None:
            judge(report, old, new, found)


def _built(tree: Node, random: Random, report: Report, models: bool) -> Side | None:
    if models and tree.name != "model":
        return None
    side = None
    try:
        side = Side(tree, random, models=models)
    except (TypeError, ValueError, NameError, StopIteration, pydantic.PydanticUserError):
        report.refused += 1
    return side


def judge(report: Report, old: Side, new: Side, found: Comparison) -> None:
    for way, writer, reader in (("backward", old, new), ("forward", new, old)):
        against: object = judge_examples(report, writer, reader, found, way)
        if against is None:
            against = counterexample(reader, writer.values)
        if not getattr(found, way):
            against = searched(against, partial(_drawn_again, reader, writer))
        report.judge(found, way, against, (old.schema, new.schema))


def _drawn_again(reader: Side, writer: Side) -> bytes | None:
    return counterexample(reader, writer.drawn())


def judge_examples(
    report: Report, writer: Side, reader: Side, found: Comparison, way: str
) -> bytes | None:
    """The examples in the findings are counterexamples themselves, if they are right."""
    against = None
    for change in found.changes:
        sides = (change.backward, change.forward)
        if change.example is None or sides[way == "forward"] or (way == "forward" and not sides[0]):
            continue
        body = msgspec.json.encode(change.example)
        report.examples += 1
        try:
            meant = writer.view(writer.read(body))
            right = counterexample(reader, [(body, meant)]) is not None
        except REFUSED:
            right = False
        if right:
            against = body
        else:
            report.wrong_examples.add(
                f"{report.at}: {change}\n{writer.schema}\n{reader.schema}", change.rule
            )
    return against
