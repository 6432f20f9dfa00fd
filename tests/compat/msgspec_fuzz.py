"""Random types of msgspec, and models, against the real decoders.

The types of a family come of one another by random edits. Values are written with one and read
with another.
"""

from __future__ import annotations

import itertools
import json
from functools import cached_property, partial
from random import Random
from typing import Any, TypeAlias

import msgspec
import pydantic

from tests.compat.fuzz import Report, Writing, searched
from tests.compat.fuzz_meaning import View, kept, viewer
from tests.compat.fuzz_types import Builder, Maker, Node, Writer, edited
from typedq.compat import Comparison
from typedq.contracts.schema import document

FAMILY = 8  # types: 28 pairs
VALUES = 16
Written: TypeAlias = tuple[bytes, tuple[str, Any], Any]  # a body, what it means, and its JSON


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
