"""Random pairs of foreign JSON Schemas against an independent validator, `jsonschema`.

    python -m tests.compat.foreign_fuzz --pairs 500000 --seed 1

A verdict is dangerous if it says compatible (or the fingerprints are equal), and the other schema
refuses a value that a closed writer writes under the first; see `foreign_schemas` for that writer.
Some documents are damaged or made to be costly: then all that counts is that nothing raises and
nothing takes long.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
from jsonschema.validators import validator_for

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat import foreign_kinds
from tests.compat.foreign_schemas import Maker, Schema, Writer, closed, edited, is_endless
from typedq.compat import Comparison, compare
from typedq.contracts import fingerprint

VALUES = 10
SLOW_S = 0.5  # of this process
ENDLESS_S = 20.0  # by the clock, beside whatever load


@dataclass
class Report:
    """`answers` are two a pair. `incomparable`: those that name no single change; of the others,
    `conservative`: those that say no though no value was found that is refused.
    """

    pairs: int = 0
    answers: int = 0
    compatible: int = 0
    incomparable: int = 0
    conservative: int = 0
    dangerous: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    wrong_examples: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        times = self.times_ms or [0.0]
        return (
            f"{self.pairs} pairs, {self.answers} answers, {self.compatible} compatible,"
            f" {self.incomparable} not comparable: {len(self.dangerous)} dangerous,"
            f" {self.conservative} conservative, {len(self.crashes)} crashes,"
            f" {len(self.slow)} slow, {len(self.wrong_examples)} wrong examples;"
            f" median {statistics.median(times):.2f} ms, slowest {max(times):.0f} ms"
        )


class _TooSlow(BaseException):
    pass


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Interrupt what does not end."""

    def stop(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def compared(report: Report, old: Schema, new: Schema) -> tuple[Comparison, bool] | None:
    """The comparison, and whether the fingerprints are equal."""
    started = time.process_time()
    try:
        with deadline(ENDLESS_S):
            found = compare(old, new)
            took = time.process_time() - started
            prints = [_fingerprint(schema) for schema in (old, new)]
    except _TooSlow:
        report.slow.append(f"did not end\n{_shown(old, new)}")
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
        report.crashes.append(f"{type(error).__name__}: {error}\n{_shown(old, new)}")
        return None
    report.times_ms.append(took * 1000)
    if took > SLOW_S:
        report.slow.append(f"{took:.2f} s\n{_shown(old, new)}")
    return found, prints[0] == prints[1] is not None


def _fingerprint(schema: Schema) -> str | None:
    try:
        return fingerprint(schema)
    except ValueError as error:  # documented, for what is not JSON
        if type(error).__name__ != "NotJson":
            raise
        return None


def _shown(old: Schema, new: Schema) -> str:
    try:
        return f"  old {repr(old)[:3000]}\n  new {repr(new)[:3000]}"
    except ValueError:
        return "  a document with a number of thousands of digits"


def one_pair(random: Random, report: Report) -> None:
    maker, kind = Maker(random, foreign=random.random() < 0.4), "random"
    if random.random() < 0.2:
        kind, old, new = foreign_kinds.pair(random)
    else:
        old = maker.document()
        new = edited(old, maker) if random.random() < 0.9 else maker.document()
    report.pairs += 1
    if (answer := compared(report, old, new)) is None:
        return
    found, same = answer
    sides = _validators(old, new)
    cannot = any(c.rule == "CANNOT_COMPARE" for c in found.changes)
    report.incomparable += 2 * cannot
    for way, verdict, writer, reader in (
        ("backward", found.backward, old, new),
        ("forward", found.forward, new, old),
    ):
        report.answers += 1
        report.compatible += verdict
        if sides is None:
            continue
        ends = sides if way == "backward" else sides[::-1]
        against = _counterexample(writer, ends, random)
        if (verdict or same) and against is not None:
            report.dangerous.append(f"{way}: {against[0]!r}\n{_shown(writer, reader)}")
            report.kinds[kind] += 1
        report.conservative += not (verdict or cannot) and against is None
        _judge_examples(report, found, way, ends)


def _validators(*schemas: Schema) -> list[Any] | None:
    """One for each document, by its `$schema`. What is malformed raises when it is used."""
    if any(map(is_endless, schemas)):
        return None
    default = jsonschema.Draft202012Validator
    return [validator_for(schema, default=default)(schema) for schema in schemas]


def _is_valid(validator: Any, value: Any) -> bool | None:
    try:
        return bool(validator.is_valid(value))
    except Exception:  # noqa: BLE001 - malformed, or references that lead nowhere
        return None


def _counterexample(old: Schema, ends: list[Any], random: Random) -> tuple[Any] | None:
    """A value that the closed writer of `old` writes, and the new one refuses."""
    writer, strict = Writer(old, random), type(ends[0])(closed(old))
    for _ in range(VALUES):
        try:
            value = writer.value()
        except (TypeError, ValueError, KeyError, AttributeError):  # keywords of another draft
            continue
        refused = _is_valid(ends[0], value) and _is_valid(ends[1], value) is False
        if refused and _is_valid(strict, value) is not False:  # else another branch let it pass
            return (value,)
    return None


def _judge_examples(report: Report, found: Comparison, way: str, ends: list[Any]) -> None:
    """Every example must be valid for the writer; a misreading aside, the reader refuses it."""
    misread = ("ENCODING_CHANGED", "ELEMENT_MOVED", "UNIQUE_ADDED", "TYPE_WIDENED", "TYPE_CHANGED")
    formats = (*misread, "FORMAT_CHANGED", "TYPE_NARROWED")  # validators ignore formats
    for change in found.changes:
        mine = not change.backward if way == "backward" else change.backward and not change.forward
        if change.example is None or not mine:
            continue
        accepted = _is_valid(ends[1], change.example) and change.rule not in formats
        if _is_valid(ends[0], change.example) is False or accepted:
            text = f"{change.rule} {change.path} {change.example!r}"
            report.wrong_examples.append(f"{text}\n{_shown(ends[0].schema, ends[1].schema)}")


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
    report.pairs += 1
    compared(report, old, new)
    compared(report, new, copy.deepcopy(new))


def costly(random: Random, report: Report) -> None:
    """Compare documents that are small but mean much."""
    size, leaf = random.choice([5, 22, 60, 300, 1000]), {"type": "integer"}
    key = random.choice(["anyOf", "oneOf", "allOf", "items", "properties", "prefixItems"])
    wide = random.choice([1, 2, 3])
    shape = random.choice([_shared, _nested, _product, _variants, _values])
    old = shape(random, size, key, wide, leaf)
    new = shape(random, size + random.randint(0, 1), key, wide, {"type": "string"})
    report.pairs += 1
    compared(report, old, new)


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


def run(pairs: int, seed: int) -> Report:
    report, random = Report(), Random(seed)
    while report.pairs < pairs:
        roll = random.random()
        if roll < 0.9:
            one_pair(random, report)
        elif roll < 0.99:
            damaged(random, report)
        else:
            costly(random, report)
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
    for name in ("dangerous", "crashes", "slow", "wrong_examples"):
        for case in getattr(report, name)[: options.show]:
            print(f"{name}: {case}\n")
    print("kinds of dangerous pairs:", ", ".join(f"{k} {n}" for k, n in report.kinds.items()))
    print(f"{report} ({time.perf_counter() - start:.0f} s)")
    return 1 if report.dangerous or report.crashes or report.slow else 0


if __name__ == "__main__":
    sys.exit(main())
