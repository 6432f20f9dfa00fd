"""Measure how cost grows with its inputs, in one run.

Usage: `python -m benchmarks.growth [--quick] [MEASURE...]`. The bounds: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.__main__ import RESULTS
from benchmarks.contender import ENVIRONMENTS
from benchmarks.growth import backlogs, breadth, contracts, plot, processes, registers, report
from benchmarks.growth.curve import Fact, Finding
from benchmarks.growth.fixture import BIN
from benchmarks.machine import foreign_load, machine

Measure = Callable[[], Sequence[Finding]]


def measures(*, quick: bool) -> Mapping[str, Measure]:
    """Return every measure by its name; the quick ones end a decade or so earlier."""
    window, rounds = (8_000, 2) if quick else (50_000, 3)

    def to(*sizes: int, most: int) -> list[int]:
        return [size for size in sizes if not quick or size <= most]

    ready = to(1_000, 10_000, 100_000, 1_000_000, 5_000_000, most=100_000)
    delayed = to(0, 1_000, 10_000, 100_000, 1_000_000, most=100_000)
    aside = to(0, 1_000, 10_000, 100_000, most=10_000)
    queues = [1, 10, 100] if quick else [1, 3, 10, 30, 100]
    sizes = to(100, 1_000, 10_000, 100_000, 1_048_000, most=1_048_000)
    few = (window, rounds)
    return {
        "ready": lambda: [backlogs.ready(ready, *few)],
        "delayed": lambda: [backlogs.delayed(delayed, *few)],
        "due": lambda: [backlogs.due(to(1_000, 10_000, 100_000, most=10_000))],
        "queues": lambda: [breadth.queues(queues, *few)],
        "payload": lambda: [breadth.payload(sizes, 20 if quick else 200, *few)],
        "children": lambda: [breadth.children(to(1, 2, 4, 8, most=4), *few)],
        "sessions": lambda: [registers.many_sessions([1, 10, 100, 500], *few)],
        "parked": lambda: [registers.parked_messages(aside, *few)],
        "dead": lambda: [registers.many_dead_letters(aside, *few)],
        "contracts": lambda: [contracts.check_schemas(to(1, 100, 300, 1_000, most=100), rounds)],
        "compare": lambda: contracts.comparison(
            to(10, 100, 1_000, most=100), to(4, 16, 64, most=64)
        ),
        "start": lambda: [start(2 if quick else 10)],
    }


def start(rounds: int) -> Finding:
    """Time the imports and the command line, beside their dependencies."""
    python, bin = sys.executable, f"{BIN}/typedq"
    lines = ("pass", *(f"import {each}" for each in ("typedq", "redis", "msgspec", "typer")))
    commands = {f"`{line}`": [python, "-c", line] for line in lines}
    commands["`typedq --help`"] = [bin, "--help"]
    facts = list[Fact]()
    for name, took in processes.together(commands, rounds).items():
        facts.append(Fact(f"{name}, wall-clock time", "ms", took.wall * 1e3))
        facts.append(Fact(f"{name}, CPU time", "ms", took.cpu * 1e3))
    for module, ms in processes.imported("typedq"):
        facts.append(Fact(f"`import typedq`: `{module}` by itself", "ms", ms))
    return Finding("start", "", facts=facts)


def run(chosen: Mapping[str, Measure]) -> tuple[list[Finding], dict[str, str], list[float]]:
    """Return the results, the failures with their reasons, and foreign CPU use (%)."""
    found, failed, busy = list[Finding](), dict[str, str](), list[float]()
    for name, measure in chosen.items():
        busy.append(foreign_load()["busy %"])
        started = time.monotonic()
        try:
            results = measure()
        except Exception as error:  # noqa: BLE001 - reported in the results; the others go on
            failed[name], results = repr(error), []
        found += results
        took = time.monotonic() - started
        print(f"{name:12}{took:6.1f} s  {failed.get(name, '')}", flush=True)
    return found, failed, busy


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("measures", nargs="*", help="only these; into .bench/results")
    flags.add_argument(
        "--quick", action="store_true", help="smaller inputs, a minute or so; into .bench/results"
    )
    chosen = flags.parse_args()
    known = measures(quick=chosen.quick)
    if unknown := set(chosen.measures) - known.keys():
        none = f"no such measure: {', '.join(sorted(unknown))}"
        raise SystemExit(f"{none}; there are {', '.join(known)}")
    wanted = {name: known[name] for name in known if name in (chosen.measures or known)}
    started = time.monotonic()
    found, failed, busy = run(wanted)
    about: dict[str, Any] = machine() | {
        "quick": chosen.quick,
        "noise": busy,
        "took s": round(time.monotonic() - started),
    }
    # Only complete runs are for the record.
    complete = not (chosen.quick or chosen.measures)
    place, name = RESULTS if complete else ENVIRONMENTS / "results", "growth"
    place.mkdir(parents=True, exist_ok=True)
    result = {"machine": about, "failed": failed, "findings": [each.as_json() for each in found]}
    (place / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report.write(found, about, failed, name)
    (place / f"{name}.md").write_text(text)
    for each in found:
        if each.curves:
            (place / f"{name}-{each.name}.svg").write_text(plot.draw(each))
    print(text)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
