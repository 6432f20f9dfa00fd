"""Whether a backlog of delayed messages slows immediate ones: `python -m benchmarks.backlog`.

Two stages stand side by side on servers of their own: one is empty, the other holds a million
messages that are due in an hour. Both get the same immediate messages, in turns, so that a noisy
machine is noisy for both. What is printed was measured in this run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.faults.harness import Stage, Worker, wait_until
from typedq.localserver import OwnServer

ROUNDS, ONE_BY_ONE, AT_ONCE = 10, 500, 2_000
# A ratio is a verdict only with room for the noise of a shared machine.
MOST_SLOWER, MOST_GROWN_MB = 1.5, 8.0


class Side:
    """A stage with a worker of two children, and what was measured there."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.worker = stage, stage.worker("-c", "2", FAULTS_LOG="info")
        self.latencies, self.rates, self.looks = list[float](), list[float](), list[float]()
        self.before = self._warm_up(self.worker)

    def _warm_up(self, worker: Worker) -> float:
        wait_until(lambda: len(worker.children()) == 2)
        self._together(AT_ONCE)
        return self.memory()

    def memory(self) -> float:
        """MB that the supervisor and its children have to themselves."""
        family = [psutil.Process(self.worker.pid), *self.worker.children()]
        return sum(process.memory_full_info().uss for process in family) / 1e6

    def _together(self, count: int) -> float:
        """Messages a second, from the first enqueue to the last end."""
        calls = [self.stage.call("nap")] * count
        done, started = self._done(), time.monotonic()
        self.stage.send_many(calls)
        wait_until(lambda: self._done() - done >= count, 60, every=0.002)
        return count / (time.monotonic() - started)

    def _done(self) -> int:
        return int(self.stage.redis.hget(self.stage.keys.stats, "done") or 0)

    def many(self) -> None:
        self.rates.append(self._together(AT_ONCE))

    def one(self) -> None:
        done, sent = self._done(), time.monotonic()
        self.stage.send("nap")
        wait_until(lambda: self._done() > done, every=0.0002)
        self.latencies.append(time.monotonic() - sent)
        looked = time.monotonic()
        self.stage.look()
        self.looks.append(time.monotonic() - looked)


@contextmanager
def sides(messages: int) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        both = list[Side]()
        for name, backlog in (("empty", 0), ("full", messages)):
            server = stack.enter_context(OwnServer())
            room = Path(stack.enter_context(TemporaryDirectory()))
            stage = stack.enter_context(Stage(server.url, name, room))
            side = Side(stage)
            delay(stage, backlog)
            both.append(side)
        yield both[0], both[1]


def delay(stage: Stage, messages: int) -> None:
    sender = stage.app.find("nap").options(delay=3600)
    for _ in range(0, messages, 1000):
        stage.app.send([sender.call()] * 1000)


Measure = tuple[str, Callable[[Side], float]]
MEASURES: tuple[Measure, ...] = (
    ("latency p50, ms", lambda s: statistics.median(s.latencies) * 1e3),
    ("latency p99, ms", lambda s: sorted(s.latencies)[len(s.latencies) * 99 // 100] * 1e3),
    ("2,000 at once, ms", lambda s: AT_ONCE / statistics.median(s.rates) * 1e3),
    ("one look (`typedq info`), ms", lambda s: statistics.median(s.looks) * 1e3),
)


def rows(empty: Side, full: Side, grown: tuple[float, float]) -> Iterator[tuple[str, float, float]]:
    """What, beside an empty queue, beside the backlog."""
    for name, of in MEASURES:
        yield name, of(empty), of(full)
    yield "worker's memory grown, MB", *grown


def verdict(table: Sequence[tuple[str, float, float]]) -> list[str]:
    """What was not kept; p99 is shown but is at the mercy of the machine."""
    broken = [
        f"{name}: {full / empty:.2f} times as much beside the backlog"
        for name, empty, full in table[:-1]
        if full / empty > MOST_SLOWER and "p99" not in name
    ]
    grown = table[-1][2] - max(0.0, table[-1][1])
    return broken + ([f"the worker grew by {grown:.1f} MB more"] if grown > MOST_GROWN_MB else [])


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--messages", type=int, default=1_000_000)
    messages = flags.parse_args().messages
    with sides(messages) as (empty, full):
        for turn in [Side.many] * ROUNDS + [Side.one] * ONE_BY_ONE:
            turn(empty)
            turn(full)
        grown = empty.memory() - empty.before, full.memory() - full.before
        delayed = full.stage.look().queues["mid"].delayed
        table = list(rows(empty, full, grown))
        codes = [side.worker.stop() for side in (empty, full)]
    print(f"{delayed:,} messages delayed\n{'':32}{'empty':>10}{'backlog':>10}{'ratio':>8}")
    for name, left, right in table[:-1]:
        print(f"{name:32}{left:10.2f}{right:10.2f}{right / left:8.2f}")
    print(f"{table[-1][0]:32}{table[-1][1]:10.2f}{table[-1][2]:10.2f}")
    broken = verdict(table) + [f"a worker ended with {code}" for code in codes if code]
    broken += [f"{messages - delayed} delayed messages are missing"] if delayed < messages else []
    print("\n".join(f"BROKEN: {what}" for what in broken), end="\n" if broken else "")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
