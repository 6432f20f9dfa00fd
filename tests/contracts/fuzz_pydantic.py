"""Random pairs of pydantic, constrained and foreign types: is "compatible" ever a lie?

    python tests/contracts/fuzz_pydantic.py --pairs 100000 --seed 1

The new type of a pair is the old one after random edits. Values that the old contract accepts at
enqueue are read by the new one. A verdict is dangerous if it says compatible, or the fingerprints
are equal, and a value is refused or comes out as another one.
"""

from __future__ import annotations

import argparse
import datetime as dt
import enum
import json
import sys
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contracts.fuzz_specs import Maker, Spec, build, edited, value_of
from typedq.compat import Comparison, compare
from typedq.contracts import document, fingerprint
from typedq.contracts.codec import Codec
from typedq.contracts.equality import change
from typedq.contracts.inhabited import dead_end
from typedq.contracts.type_tree import NoSchema
from typedq.errors import InvalidBody

VALUES = 16
_RECORDS = ("__pydantic_fields__", "__dataclass_fields__", "__struct_fields__")


@dataclass
class Report:
    """`answers` are two a pair, backward and forward; `values` were written and read."""

    pairs: int = 0
    refused: int = 0
    answers: int = 0
    compatible: int = 0
    values: int = 0
    dangerous: list[str] = field(default_factory=list)
    conservative: int = 0
    crashes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.pairs} pairs ({self.refused} more were refused), {self.answers} answers,"
            f" {self.compatible} compatible, {self.values} values: {len(self.dangerous)} dangerous,"
            f" {self.conservative} conservative, {len(self.crashes)} crashes"
        )


class Side:
    """One type of a pair: its schema and codec. Raises `NoSchema`."""

    def __init__(self, spec: Spec) -> None:
        try:
            self.spec, self.kind = spec, build(spec)
        except Exception as error:  # whatever pydantic and msgspec have against it
            raise NoSchema("$", str(error)) from error
        self.schema = document(self.kind)
        if dead_end(self.schema) is not None:
            raise NoSchema("$", "no value fits")
        self.codec = Codec(self.kind)
        self.fingerprint = fingerprint(self.schema)

    def bodies(self, random: Random) -> list[tuple[Any, bytes]]:
        """Values that the contract takes, with what is written of them."""
        found = list[tuple[Any, bytes]]()
        for _ in range(VALUES):
            try:
                value = value_of(self.spec, random)
                found.append((value, self.codec.write(value, 1 << 20, 64)))
            except (InvalidBody, ValueError, TypeError):
                continue
        return found


def counterexample(writer: Side, reader: Side, random: Random) -> str | None:
    """A value that the writer sends, and the reader refuses or takes for another one."""
    for value, body in writer.bodies(random):
        try:
            read = reader.codec.read(body, 1 << 20, 64)
        except InvalidBody as error:
            return f"{body!r} is refused: {error}"
        if not means_the_same(value, read, json.loads(body)):
            return f"{body!r}: {value!r} becomes {read!r}"
    return None


# --- does a value mean the same -------------------------------------------------------------------


def means_the_same(sent: Any, read: Any, body: Any) -> bool:
    """Whether what was read is what was sent, or a part of it, or its text."""
    left, right = _members(sent), _members(read)
    if left is not None and right is not None and isinstance(body, dict):
        shared = left.keys() & right.keys() & body.keys()
        return all(means_the_same(left[name], right[name], body[name]) for name in shared)
    if _is_row(sent) and _is_row(read) and isinstance(body, list):
        return len(sent) == len(read) and all(map(means_the_same, sent, read, body))
    if isinstance(sent, set) or isinstance(read, set):
        both = _is_row(read) or isinstance(read, set)
        return (
            both
            and len(sent) == len(read)
            and all(any(means_the_same(one, other, None) for other in read) for one in sent)
        )
    sent, read = (getattr(one, "value", one) for one in (sent, read))
    if change(sent, read) is None:
        return True
    if isinstance(sent, (int, float)) and not isinstance(sent, bool):
        return type(read).__name__ in ("float", "Decimal", "int") and float(read) == float(sent)
    if type(read).__name__.endswith(("Url", "Dsn")) and type(sent).__name__.endswith("Url"):
        return str(sent) == str(read)
    # Text that stood for a date, a URL or the like, read as that text.
    return type(read) is str and not isinstance(sent, (str, bytes)) and body in (read, None)


def _is_row(value: Any) -> bool:
    return type(value).__name__ in ("list", "tuple", "deque")


def _members(value: Any) -> dict[str, Any] | None:
    """The members of a record or dict, by the names under which they travel."""
    if isinstance(value, Mapping):
        return {_key(key): item for key, item in value.items()}
    if not any(hasattr(type(value), name) for name in _RECORDS):
        return None
    fields: Any = getattr(type(value), "__pydantic_fields__", None)
    names = fields or getattr(type(value), "__struct_fields__", None) or value.__dataclass_fields__
    wires = {name: (fields[name].serialization_alias or name) if fields else name for name in names}
    extra: Any = getattr(value, "__pydantic_extra__", None) or {}
    return {**{wire: getattr(value, name) for name, wire in wires.items()}, **extra}


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, enum.Enum):
        return str(key.value)
    plain = msgspec.json.encode({_text(key): None})
    return str(next(iter(msgspec.json.decode(plain))))


def _text(key: Any) -> Any:
    return key if isinstance(key, (str, bytes, uuid.UUID, dt.date)) else str(key)


# --- the run --------------------------------------------------------------------------------------


def one_pair(random: Random, report: Report) -> None:
    maker = Maker(random)
    spec = maker.record(0) if random.random() < 0.7 else maker.spec(0)
    new_spec = edited(spec, maker)
    try:
        old, new = Side(spec), Side(new_spec)
    except NoSchema:
        report.refused += 1
        return
    except Exception as error:  # noqa: BLE001 - a type must be taken or refused
        report.crashes.append(f"{type(error).__name__}: {error}\n  {spec}\n  {new_spec}")
        return
    report.pairs += 1
    told = f"\n  old {json.dumps(old.schema)}\n  new {json.dumps(new.schema)}"
    try:
        found = compare(old.schema, new.schema)
        judge(report, (old, new), found, random, told)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
        report.crashes.append(f"{type(error).__name__}: {error}{told}")


def judge(
    report: Report, sides: tuple[Side, Side], found: Comparison, random: Random, told: str
) -> None:
    same = sides[0].fingerprint == sides[1].fingerprint
    old, new = sides
    for verdict, writer, reader in ((found.backward, old, new), (found.forward, new, old)):
        report.answers += 1
        against = counterexample(writer, reader, random)
        report.compatible += verdict
        if (verdict or same) and against is not None:
            report.dangerous.append(f"{against}, same fingerprint: {same}{told}")
        report.conservative += not verdict and against is None
    report.values += 2 * VALUES


def run(pairs: int, seed: int) -> Report:
    """Try random pairs, warnings of pydantic about odd models aside."""
    report, random = Report(), Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while report.pairs < pairs:
            one_pair(random, report)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--show", type=int, default=3, help="cases of each kind to print")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    start = time.perf_counter()
    report = run(options.pairs, options.seed)
    for case in [*report.dangerous[: options.show], *report.crashes[: options.show]]:
        print(case, end="\n\n")
    print(f"{report} ({time.perf_counter() - start:.0f} s)")
    return 1 if report.dangerous or report.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
