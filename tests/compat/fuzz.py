"""Random pairs of types against the real decoders: does `compare` ever promise too much?

    python tests/compat/fuzz.py --pairs 200000 --seed 1

The old type of a pair is random, the new one is the old one after random edits. Values are written
with one and read with the other, both ways. A verdict is
- dangerous, if it says compatible and a value is refused or comes out changed;
- conservative, if it says no and no such value is found.
"""

from __future__ import annotations

import argparse
import enum
import json
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pydantic

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat.fuzz_types import Builder, Maker, Node, Writer, edited
from typedq.compat import Comparison, compare
from typedq.contracts.schema import document

VALUES = 24


@dataclass
class Report:
    """`answers` are two a pair: backward and forward."""

    pairs: int = 0
    unbuildable: int = 0
    answers: int = 0
    compatible: int = 0
    dangerous: list[str] = field(default_factory=list)
    conservative: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    false_examples: list[str] = field(default_factory=list)
    examples: int = 0
    rules: Counter[str] = field(default_factory=Counter)

    @property
    def conservative_percent(self) -> float:
        return 100 * len(self.conservative) / max(self.answers, 1)

    def __str__(self) -> str:
        return (
            f"{self.pairs} pairs ({self.unbuildable} more could not be built),"
            f" {self.answers} answers, {self.compatible} compatible:"
            f" {len(self.dangerous)} dangerous, {len(self.conservative)} conservative"
            f" ({self.conservative_percent:.2f} %), {len(self.crashes)} crashes;"
            f" {self.examples} examples, {len(self.false_examples)} of them wrong"
        )


class Side:
    """One type of a pair: its document, its decoder and encoder."""

    def __init__(self, node: Node, *, models: bool) -> None:
        self.node, self.models = node, models
        self.builder = Builder(models=models)
        self.type = self.builder.build(node)
        self.schema = document(self.type)

    def read(self, body: bytes) -> Any:
        if self.models:
            return self.type.model_validate_json(body)
        return msgspec.json.decode(body, type=self.type)

    def write(self, value: Any) -> bytes:
        if self.models:
            text: str = value.model_dump_json()
            return text.encode()
        return msgspec.json.encode(value)

    def bodies(self, random: Random, n: int) -> list[bytes]:
        """What this type writes, with and without its defaults."""
        found = list[bytes]()
        for _ in range(n):
            body = msgspec.json.encode(Writer(random).value(self.node))
            try:
                value = self.read(body)
            except (msgspec.ValidationError, pydantic.ValidationError):
                continue
            whole = self.write(value)
            found += [body, whole] if part_of(json.loads(body), json.loads(whole)) else [whole]
        return found


def part_of(body: Any, whole: Any) -> bool:
    """Whether a body lacks nothing but defaults: it may have been read as another variant."""
    if isinstance(body, dict):
        return all(key in whole and part_of(body[key], whole[key]) for key in body)
    if isinstance(body, list):
        return all(map(part_of, body, whole))
    return True


REFUSED = (msgspec.ValidationError, pydantic.ValidationError)


def counterexample(old: Side, new: Side, bodies: list[bytes]) -> bytes | None:
    """A body that `old` writes, and `new` refuses or reads as something else."""
    for body in bodies:
        try:
            value = new.read(body)
        except REFUSED:
            return body
        plain = json.loads(body)
        if not kept(View(old)(old.node, old.read(body)), View(new)(new.node, value), plain):
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


def one_pair(random: Random, report: Report) -> None:
    models = random.random() < 0.3
    maker = Maker(random, models=models)
    tree = maker.record(0, "model") if models else maker.node()
    new_tree = edited(tree, maker)
    if models and new_tree.name != "model":
        return
    sides = list[Side]()
    try:
        for node in (tree, new_tree):
            sides.append(Side(node, models=models))
    except (TypeError, ValueError, NameError, StopIteration, pydantic.PydanticUserError):
        report.unbuildable += 1
        return
    finally:
        for side in sides:
            side.builder.forget()
    old, new = sides
    report.pairs += 1
    try:
        found = compare(old.schema, new.schema)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
        report.crashes.append(f"{type(error).__name__}: {error}\n{shown(old, new)}")
        return
    report.rules.update({change.rule for change in found.changes})
    judge(report, old, new, found, random)


def judge(report: Report, old: Side, new: Side, found: Comparison, random: Random) -> None:
    ways = (("backward", found.backward, old, new), ("forward", found.forward, new, old))
    for way, verdict, writer, reader in ways:
        report.answers += 1
        breaks = [c for c in found.changes if not getattr(c, way)]
        if verdict == bool(breaks):
            report.crashes.append(f"{way} {verdict} with {breaks}\n{shown(old, new)}")
        against = None
        if not verdict:
            against = judge_examples(report, writer, reader, found, way)
        bodies = [] if against else writer.bodies(random, VALUES)
        against = against or counterexample(writer, reader, bodies)
        report.compatible += verdict
        if verdict and against is not None:
            report.dangerous.append(f"{way}: {against!r}\n{shown(old, new)}")
        if not verdict and against is None:
            rules = ", ".join(f"{c.rule} {c.path}" for c in breaks)
            report.conservative.append(f"{way}: {rules}\n{shown(old, new)}")


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
            writer.read(body)
            right = counterexample(writer, reader, [body]) is not None
        except REFUSED:
            right = False
        if right:
            against = body
        else:
            report.false_examples.append(f"{change}\n{writer.schema}\n{reader.schema}")
    return against


def shown(old: Side, new: Side) -> str:
    return f"  old {json.dumps(old.schema)}\n  new {json.dumps(new.schema)}"


def run(pairs: int, seed: int) -> Report:
    report, random = Report(), Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic, of fields that shadow something
        while report.pairs < pairs:
            one_pair(random, report)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--show", type=int, default=3, help="cases of each kind to print")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    start = time.perf_counter()
    report = run(options.pairs, options.seed)
    for name in ("dangerous", "crashes", "conservative", "false_examples"):
        for case in getattr(report, name)[: options.show]:
            print(f"{name}: {case}\n")
    print("rules:", ", ".join(f"{rule} {n}" for rule, n in report.rules.most_common()))
    print(f"{report} ({time.perf_counter() - start:.0f} s)")
    return 1 if report.dangerous or report.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
