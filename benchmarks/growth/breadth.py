"""The number of queues and of children, and the size of payloads."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.growth.backlogs import MEMORY_MB, stats_us
from benchmarks.growth.curve import Curve, Finding, column
from benchmarks.growth.fixture import GRACE_MS, LEASE_MS, best, fixture
from benchmarks.growth.internals import open_sessions, settle_and_fetch, tick


def queues(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure one worker that serves all queues; it reads each empty queue, for strict priority."""
    found: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        with fixture(queues=size) as at, at.worker() as worker:
            drained = best([worker.drain(window) for _ in range(rounds)])
            latency = worker.latency_ms(20 * window // 1000, at.queues[-1])
            at.call(open_sessions(at.keys, ["idle"], at.queues, LEASE_MS))
            idle = at.server_us(settle_and_fetch(at.keys, "idle", at.queues, want=64))
            ticked = tick(at.keys, at.queues, grace_ms=GRACE_MS, lease_ms=LEASE_MS)
            rest = (idle, at.server_us(ticked), stats_us(at))
            found[size] = (*drained, worker.memory_mb(), latency, *rest)
    return Finding(
        "queues",
        "queues",
        (
            Curve("drain, spread over all", "messages/s", "flat", column(found, 0), rate=True),
            Curve("server, a message", "µs", "flat", column(found, 1)),
            Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
            Curve("latency in the last, median", "ms", "flat", column(found, 3)),
            Curve("an empty fetch", "µs", "linear", column(found, 4)),
            Curve("a tick", "µs", "linear", column(found, 5)),
            Curve("queries of `typedq info`", "µs", "linear", column(found, 6)),
        ),
    )


def payload(sizes: Sequence[int], megabytes: int, window: int, rounds: int) -> Finding:
    """Measure messages of each size: so many megabytes, but at most `window` messages."""
    found: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        with fixture() as at, at.worker() as worker:
            count = max(50, min(window, megabytes * 1_000_000 // size))
            drained = best([worker.drain(count, size=size) for _ in range(rounds)])
            memory = worker.memory_mb(), worker.peak_mb()
            found[size] = (*drained, *memory, drained.rate * size / 1e6)
    return Finding(
        "payload",
        "bytes of payload",
        (
            Curve("drain", "messages/s", "linear", column(found, 0), rate=True),
            Curve("drain, payload", "MB/s", "flat", column(found, 4), rate=True),
            Curve("server, a message", "µs", "linear", column(found, 1)),
            Curve("worker's memory, after", "MB", "flat", column(found, 2), slack=MEMORY_MB),
            Curve("worker's memory, peak", "MB", "linear", column(found, 3), slack=MEMORY_MB),
        ),
    )


def children(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure more children than cores: they may cost memory and nothing else."""
    found: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        with fixture() as at, at.worker(size) as worker:
            drained = best([worker.drain(window) for _ in range(rounds)])
            latency = worker.latency_ms(20 * window // 1000)
            found[size] = (*drained, worker.memory_mb(), latency)
    return Finding(
        "children",
        "children",
        (
            Curve("drain", "messages/s", "flat", column(found, 0), rate=True),
            Curve("server, a message", "µs", "flat", column(found, 1)),
            Curve("worker's memory", "MB", "linear", column(found, 2)),
            Curve("latency of one, median", "ms", "flat", column(found, 3)),
        ),
    )
