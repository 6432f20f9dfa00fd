"""Costs that grow with contracts: `check-schemas`, and `compare` on two schemas."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.growth.curve import Curve, Finding, column
from benchmarks.growth.fixture import BIN
from benchmarks.growth.processes import took
from typedq.compat import compare

# Each contract has a few fields, and all differ.
_APP = """
import msgspec
from typedq import TypedQ

app = TypedQ("growth", url="redis://127.0.0.1:1")
for number in range({count}):
    fields = [("user", int), (f"field{{number}}", str), ("tags", list[str])]
    def run(args) -> None: ...
    run.__annotations__["args"] = msgspec.defstruct(f"Args{{number}}", fields)
    run.__qualname__ = run.__name__ = f"task{{number}}"
    app.task(run)
"""


def check_schemas(sizes: Sequence[int], rounds: int) -> Finding:
    """Time `typedq check-schemas` on apps with so many tasks, import included."""
    found: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        with TemporaryDirectory() as directory:
            Path(directory, "many.py").write_text(_APP.format(count=size))

            def run(command: str, directory: str = directory) -> tuple[float, float]:
                return took([f"{BIN}/typedq", command, "many:app"], os.environ, cwd=directory)

            imported = [run("tasks") for _ in range(rounds)]
            run("export-schemas")
            checked = [run("check-schemas") for _ in range(rounds)]
        median = [statistics.median(c) for c in zip(*checked, strict=True)]
        found[size] = (*median, statistics.median(cpu for _, cpu in imported))
    return Finding(
        "contracts",
        "contracts",
        (
            Curve("`check-schemas`", "s", "linear", column(found, 0)),
            Curve("`check-schemas`, CPU time", "s", "linear", column(found, 1)),
            Curve("`tasks`, CPU time", "s", "linear", column(found, 2)),
        ),
    )


def comparison(sizes: Sequence[int], depths: Sequence[int]) -> list[Finding]:
    """Time `typedq.compat.compare` on schemas that differ in the last property only."""
    shapes: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
        "properties": (_wide, 1_000),
        "names in an enum": (_enum, 1_000),
        "members of a union": (_union, 100),  # larger unions do not occur
        "definitions": (_definitions, 400),  # beyond, it is too complex to compare
    }
    found = [
        Finding(
            "compare",
            "parts of a schema",
            [
                Curve(name, "ms", "linear", [(s, _compared(make, s)) for s in sizes if s <= most])
                for name, (make, most) in shapes.items()
            ],
        )
    ]
    deep = [(depth, _compared(_deep, depth)) for depth in depths]
    return [*found, Finding("depth", "levels of nesting", [Curve("compare", "ms", "linear", deep)])]


def _compared(make: Callable[[int], dict[str, Any]], size: int) -> float:
    old, new, found = make(size), make(size + 1), list[float]()
    while len(found) < 5 and sum(found) < 500:
        started = time.process_time()
        compare(old, new)
        found.append((time.process_time() - started) * 1e3)
    return min(found)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _wide(size: int) -> dict[str, Any]:
    return _object({f"field{number}": {"type": "integer"} for number in range(size)})


def _enum(size: int) -> dict[str, Any]:
    return _object({"kind": {"enum": [f"kind{number}" for number in range(size)]}})


def _union(size: int) -> dict[str, Any]:
    """Return a tagged union as msgspec writes it."""
    members = [
        _object({"type": {"enum": [f"kind{number}"]}, f"field{number}": {"type": "string"}})
        for number in range(size)
    ]
    return _object({"either": {"anyOf": members}})


def _definitions(size: int) -> dict[str, Any]:
    schema = _object({f"field{n}": {"$ref": f"#/$defs/Type{n}"} for n in range(size)})
    return schema | {"$defs": {f"Type{n}": _object({"a": {"type": "string"}}) for n in range(size)}}


def _deep(size: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "integer"}
    for _ in range(size):
        inner = _object({"inner": inner, "beside": {"type": "string"}})
    return _object({"inner": inner})
