"""Random pairs of contracts against what really reads and writes: does `compare` ever lie?

    python -m tests.compat.fuzz --pairs 500000 --seed 1

There are three parts: types that msgspec reads, types that pydantic reads, and JSON Schemas that
typedq did not write. They share the time evenly. A case says how to make it again. A verdict is
- dangerous, if it says compatible and a value is refused or comes out changed;
- conservative, if it says no and no such value is found. The types that people write are honest:
  at most 2 % of those answers may be conservative.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from random import Random
from typing import Any, Generic, TypeVar

from typedq.compat import Comparison, compare

PARTS = {
    "msgspec": "tests.compat.msgspec_fuzz",
    "pydantic": "tests.contracts.pydantic_fuzz",
    "foreign": "tests.compat.foreign_fuzz",
}
HONEST = ("msgspec", "pydantic")
CONSERVATIVE_PERCENT = 2.0
SLOW_S = 0.5  # of CPU
ENDLESS_S = 20.0  # by the clock, beside whatever load
KEPT = 100  # cases of a kind
SEARCHES = 12  # for a value, before an answer counts as conservative

Found = TypeVar("Found")
Value = TypeVar("Value")


class Cases:
    """Counts cases of one kind and keeps the first of them."""

    def __init__(self) -> None:
        self.count, self.kept, self.kinds = 0, list[str](), Counter[str]()

    def add(self, text: str, kind: str = "") -> None:
        self.count += 1
        self.kinds[kind] += 1
        if len(self.kept) < KEPT:
            self.kept.append(text)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        return self.kept[index]


@dataclass
class Report:
    """What one part found. `answers` are two a pair; `incomparable` of them are CANNOT_COMPARE.

    `refused`: pairs of which a type cannot be built, or has no contract. `at`: how to make the
    pairs that are compared now again.
    """

    name: str
    at: str = ""
    pairs: int = 0
    refused: int = 0
    answers: int = 0
    compatible: int = 0
    incomparable: int = 0
    examples: int = 0
    dangerous: Cases = field(default_factory=Cases)
    conservative: Cases = field(default_factory=Cases)
    crashes: Cases = field(default_factory=Cases)
    slow: Cases = field(default_factory=Cases)
    endless: Cases = field(default_factory=Cases)
    wrong_examples: Cases = field(default_factory=Cases)
    times_ms: list[float] = field(default_factory=list)

    @property
    def conservative_percent(self) -> float:
        return 100 * len(self.conservative) / max(self.answers - self.incomparable, 1)

    @property
    def is_good(self) -> bool:
        bad = sum(map(len, (self.dangerous, self.crashes, self.slow, self.endless)))
        timid = self.name in HONEST and self.conservative_percent > CONSERVATIVE_PERCENT
        return not (bad or timid)

    def compared(self, old: Any, new: Any) -> Comparison | None:
        """Compare, which must neither raise nor take long; None if it did."""
        self.pairs += 1
        gc.disable()  # as timeit does: what it collects is the fuzz's own, of many pairs before
        started = time.thread_time()
        try:
            with deadline(ENDLESS_S):
                found = compare(old, new)
        except TooSlow:
            self.endless.add(f"{self.at}: did not end\n{shown(old, new)}")
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
            self.crash(error, old, new)
            return None
        finally:
            took = time.thread_time() - started
            gc.enable()
        self.times_ms.append(took * 1000)
        if took > SLOW_S:
            self.slow.add(f"{self.at}: {took:.2f} s\n{shown(old, new)}")
        return found

    def crash(self, error: Exception, old: Any, new: Any) -> None:
        self.crashes.add(f"{self.at}: {type(error).__name__}: {error}\n{shown(old, new)}")

    def judge(
        self, found: Comparison, way: str, against: object | None, documents: Sequence[Any]
    ) -> None:
        """Count the answer for one way. `against`: a value that the reader refuses or misreads."""

        def case(told: object) -> str:
            return f"{self.at}: {way}: {told}\n{shown(*documents)}"

        verdict = bool(getattr(found, way))
        breaks = [change for change in found.changes if not getattr(change, way)]
        self.answers += 1
        self.compatible += verdict
        if verdict == bool(breaks):
            self.crashes.add(case(f"{verdict} with {breaks}"))
        if verdict and against is not None:
            self.dangerous.add(case(against))
        if any(change.rule == "CANNOT_COMPARE" for change in breaks):
            self.incomparable += 1
        elif not verdict and against is None:
            rules = ", ".join(sorted({change.rule for change in breaks}))
            told = "; ".join(f"{c.rule} {c.path} {c.message}" for c in breaks)
            self.conservative.add(case(told), rules)

    def __str__(self) -> str:
        times = self.times_ms or [0.0]
        return (
            f"{self.name}: {self.pairs:,} pairs ({self.refused:,} more refused),"
            f" {self.answers:,} answers, {self.compatible:,} compatible,"
            f" {self.incomparable:,} not comparable: {len(self.dangerous)} dangerous,"
            f" {len(self.conservative)} conservative ({self.conservative_percent:.2f} %),"
            f" {len(self.crashes)} crashes, {len(self.slow)} slow;"
            f" {self.examples:,} examples, {len(self.wrong_examples)} wrong;"
            f" median {statistics.median(times):.2f} ms, slowest {max(times):.0f} ms"
        )


class Writing(Generic[Value]):
    """One type, and the values of it that were drawn, for all that are compared with it."""

    def __init__(self) -> None:
        self._batches = list[list[Value]]()

    def drawn(self) -> list[Value]:
        """Draw some values."""
        raise NotImplementedError

    def batch(self, number: int) -> list[Value]:
        """Return the values drawn in one go."""
        while len(self._batches) <= number:
            self._batches.append(self.drawn())
        return self._batches[number]


def searched(
    found: Found | None, writer: Writing[Value], search: Callable[[list[Value]], Found | None]
) -> Found | None:
    """Search among more and more values, unless something was found."""
    for number in range(1, SEARCHES + 1):
        if found is not None:
            break
        found = search(writer.batch(number))
    return found


class TooSlow(BaseException):
    pass


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Interrupt what does not end."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def shown(old: Any, new: Any) -> str:
    try:
        return f"  old {repr(old)[:3000]}\n  new {repr(new)[:3000]}"
    except ValueError:
        return "  a document with a number of thousands of digits"


def run(
    names: Sequence[str],
    pairs: int,
    seed: int,
    first: int = 0,
    tell: Callable[[Sequence[Report]], None] = lambda _: None,
) -> list[Report]:
    """Compare so many pairs, in rounds that have a number; `tell` is called after each."""
    reports = [Report(name) for name in names]
    makers: list[Callable[[Random, Report], None]]
    makers = [import_module(PARTS[name]).one_round for name in names]
    spent, rounds = [0.0] * len(names), [first] * len(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic, of odd models
        while sum(report.pairs for report in reports) < pairs:
            turn = spent.index(min(spent))
            name, report, number = names[turn], reports[turn], rounds[turn]
            report.at = f"--only {name} --seed {seed} --first {number} --pairs 1"
            started = time.thread_time()
            makers[turn](Random(f"{name} {seed} {number}"), report)
            spent[turn] += time.thread_time() - started
            rounds[turn] += 1
            tell(reports)
    return reports


class Progress:
    """Prints what is wrong as soon as it is found, and a line now and then."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._start = every_s, time.monotonic()
        self._next = self._start + every_s
        self._printed = Counter[tuple[str, str]]()

    def __call__(self, reports: Sequence[Report]) -> None:
        for report in reports:
            for kind in ("dangerous", "crashes", "slow", "endless"):
                for case in getattr(report, kind).kept[self._printed[report.name, kind] :]:
                    self._printed[report.name, kind] += 1
                    print(f"{kind}: {case}\n", flush=True)
        if (now := time.monotonic()) >= self._next:
            self._next = now + self._every_s
            print(self.line(reports), flush=True)

    def line(self, reports: Sequence[Report]) -> str:
        took = time.monotonic() - self._start
        honest = [report for report in reports if report.name in HONEST]
        answers = max(sum(report.answers for report in honest), 1)
        timid = 100 * sum(len(report.conservative) for report in honest) / answers
        times = [ms for report in reports for ms in report.times_ms] or [0.0]

        def total(name: str) -> int:
            return sum(len(getattr(report, name)) for report in reports)

        pairs = sum(report.pairs for report in reports)
        return (
            f"{pairs:,} pairs in {took:.0f} s, {pairs / took:.0f} a second:"
            f" {total('dangerous')} dangerous, {timid:.2f} % conservative on honest types,"
            f" {total('crashes')} crashes, {total('slow')} slow;"
            f" median {statistics.median(times):.2f} ms, slowest {max(times):.0f} ms"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--only", choices=PARTS, help="one part instead of all three")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--show", type=int, default=3, help="cases of each kind to print")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between progress lines")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    names = [options.only] if options.only else [*PARTS]
    progress = Progress(options.every)
    gc.freeze()  # modules need not be searched for garbage
    reports = run(names, options.pairs, options.seed, options.first, progress)
    for report in reports:
        for kind in ("conservative", "wrong_examples"):
            of_rounds = {case.partition(": ")[0]: case for case in getattr(report, kind).kept}
            for case in [*of_rounds.values()][: options.show]:  # one of each round is enough
                print(f"{kind}: {case}\n")
        kinds = report.conservative.kinds.most_common(10)
        print(f"{report.name}: conservative by {', '.join(f'{k} {n}' for k, n in kinds) or '-'}")
    print(*reports, f"all: {progress.line(reports)}", sep="\n")
    return 0 if all(report.is_good for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
