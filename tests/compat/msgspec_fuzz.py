"""Random types of msgspec, and models, against the real decoders.

The types of a family come of one another by random edits. Values are written with one and read
with another.
"""

from __future__ import annotations

import enum
import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property, partial
from random import Random
from typing import Any, TypeAlias

import msgspec
import pydantic

from tests.compat.fuzz import Report, Writing, searched
from tests.compat.fuzz_types import RECORDS, Builder, Maker, Node, Writer, edited
from typedq.compat import Comparison
from typedq.contracts.schema import document

FAMILY = 8  # types: 28 pairs
VALUES = 16
Written: TypeAlias = tuple[bytes, tuple[str, Any], Any]  # a body, what it means, and its JSON
View: TypeAlias = Callable[[Any], tuple[str, Any]]


class Side(Writing[Written]):
    """One type of a pair: its document, its decoder and encoder."""

    def __init__(self, node: Node, random: Random, *, models: bool) -> None:
        super().__init__()
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

    def drawn(self) -> list[Written]:
        """What this type writes, with and without its defaults; each beside the value's view."""
        found = dict[bytes, Any]()
        for _ in range(VALUES):
            body = msgspec.json.encode(Writer(self._random).value(self.node))
            try:
                whole = self.write(self.read(body))
            except REFUSED:
                continue
            plain = json.loads(body)
            if body in found or part_of(plain, full := json.loads(whole)):
                found[body] = plain
                if whole in found:
                    continue
                full = json.loads(whole)
            found[whole] = full
        return [(body, self.view(self.read(body)), plain) for body, plain in found.items()]

    @cached_property
    def view(self) -> View:
        """What is made of a value of the type, to be laid beside a value of another one."""
        return viewer(self.node, self.builder.classes)


def part_of(body: Any, whole: Any) -> bool:
    """Whether a body lacks nothing but defaults: it may have been read as another variant."""
    if isinstance(body, dict):
        return all(key in whole and part_of(body[key], whole[key]) for key in body)
    if isinstance(body, list):
        return all(map(part_of, body, whole))
    return True


REFUSED = (msgspec.ValidationError, pydantic.ValidationError)


def counterexample(new: Side, values: list[Written]) -> bytes | None:
    """A body that was written, and `new` refuses or reads as something else."""
    for body, meant, plain in values:
        try:
            view = new.view(new.read(body))
        except REFUSED:
            return body
        if view != meant and not kept(meant, view, plain):
            return body
    return None


# --- does a value mean the same -------------------------------------------------------------------


def viewer(node: Node, classes: dict[int, Any]) -> View:
    """What makes (form, content) of a decoded value, so that those of two types compare."""
    parts = [viewer(part, classes) for part in node.parts]
    if node.name == "union":
        tests = [*zip((member_test(p, classes) for p in node.parts), parts, strict=True)]
        return lambda value: next((see for fits, see in tests if fits(value)), scalar)(value)
    if node.name in RECORDS:
        return _record_viewer(node, classes)
    if node.name == "dict":
        key, item = parts
        return lambda value: (
            "map", {key_text(k): (key(k), item(v)) for k, v in value.items()}
        )  # fmt: skip
    if node.name == "tuple":
        return lambda value: ("list", [see(v) for see, v in zip(parts, value, strict=True)])
    if node.name in ("list", "vartuple", "set"):
        form, (one,) = "set" if node.name == "set" else "list", parts
        return lambda value: (form, [*map(one, value)])
    return scalar


def _record_viewer(node: Node, classes: dict[int, Any]) -> View:
    fields = [(field.name, viewer(field.kind, classes)) for field in node.fields]
    tag = {"type": ("text", node.options["tag"])} if node.options.get("tag") else {}
    is_dict, is_row = node.name == "typeddict", node.name == "namedtuple"
    is_row = is_row or bool(node.options.get("array_like"))

    def view(value: Any) -> tuple[str, Any]:
        if is_dict:
            found = {name: see(value[name]) for name, see in fields if name in value}
        else:
            found = {name: see(getattr(value, name)) for name, see in fields}
        if node.options.get("recursive"):
            found["next"] = ("null", None) if value.next is None else view(value.next)
        found = {**tag, **found}
        return ("row", [*found.items()]) if is_row else ("record", found)

    return view


def member_test(node: Node, classes: dict[int, Any]) -> Callable[[Any], bool]:
    """What tells whether a value is of this member of a union."""
    if node.name == "union":
        tests = [member_test(part, classes) for part in node.parts]
        return lambda value: any(fits(value) for fits in tests)
    if id(node) in classes and node.name not in ("typeddict", "namedtuple"):
        return lambda value: isinstance(value, classes[id(node)])
    if node.name in ("literal", "enum"):
        listed = {(type(value), value) for value in node.options["values"]}
        if node.name == "enum":
            return lambda value: (
                isinstance(value, enum.Enum) and (type(value.value), value.value) in listed
            )
        return lambda value: type(value) in (str, int) and (type(value), value) in listed
    name = _PYTHON.get(node.name, node.name)
    is_row = node.name == "namedtuple"
    return lambda value: type(value).__name__ == name or (is_row and isinstance(value, tuple))


_PYTHON = {
    "none": "NoneType", "uuid": "UUID", "decimal": "Decimal", "vartuple": "tuple",
    "typeddict": "dict", "model": "",
}  # fmt: skip


def key_text(key: Any) -> str:
    if type(key) is str:
        return key
    return str(next(iter(msgspec.json.decode(msgspec.json.encode({key: None})))))


def scalar(value: Any) -> tuple[str, Any]:
    if (form := _FORMS.get(type(value))) is not None:
        return form, value
    if isinstance(value, enum.Enum):
        return scalar(value.value)
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "bool", value
    if isinstance(value, int | float | Decimal):
        return "decimal" if isinstance(value, Decimal) else "number", value
    if isinstance(value, bytes):
        return "bytes", value
    return "text", msgspec.to_builtins(value)


_FORMS = {
    str: "text", int: "number", float: "number", bool: "bool", bytes: "bytes",
    Decimal: "decimal", type(None): "null",
}  # fmt: skip


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
            against = counterexample(reader, writer.batch(0))
        if not getattr(found, way):
            against = searched(against, writer, partial(counterexample, reader))
        report.judge(found, way, against, (old.schema, new.schema))


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
            right = counterexample(reader, [(body, meant, json.loads(body))]) is not None
        except REFUSED:
            right = False
        if right:
            against = body
        else:
            report.wrong_examples.add(
                f"{report.at}: {change}\n{writer.schema}\n{reader.schema}", change.rule
            )
    return against
