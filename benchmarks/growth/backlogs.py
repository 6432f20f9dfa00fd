"""Messages that wait: ready, delayed, and due at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import redis

from benchmarks.growth.curve import Curve, Fact, Finding, column
from benchmarks.growth.fixture import BIN, Drained, Fixture, RunningWorker, best, fixture
from benchmarks.growth.internals import declared_tasks, live_report, stats
from benchmarks.growth.processes import took

MEMORY_MB = 8.0  # growth of a worker that is not counted as growth with the input
MAX_PER_SCRIPT = 500
LIVE_S = 2.0


def drains(worker: RunningWorker, backlog: int, window: int, rounds: int) -> Drained:
    """Return the best of several rounds, each of which starts with the whole backlog."""
    size = min(backlog, window) if backlog else window
    rounds = max(rounds, min(10, window // size))
    return best([worker.drain(size, backlog=backlog) for _ in range(rounds)])


def stats_us(at: Fixture) -> float:
    """Return the server's CPU time for the queries of `typedq info`, in microseconds."""
    return at.server_us(stats(at.keys, at.queues, []))


def live_ms(at: Fixture) -> float:
    """Return the time of the queries of `check-schemas --live`, without the start of Python."""
    tasks, found = declared_tasks(at.app), list[float]()
    for _ in range(20):
        asked = time.monotonic()
        live_report(at.app.broker, tasks, at.queues, 60)
        found.append((time.monotonic() - asked) * 1e3)
    return min(found)


def live_fact(at: Fixture, size: int) -> Fact:
    """Return the time of the whole command, the best of three: foreign load only adds to it."""
    words = ["check-schemas", "benchmarks.growth.app:app", "--live", "--schemas"]
    runs = [took([f"{BIN}/typedq", *words, str(at.directory)], at.environment) for _ in range(3)]
    name = f"`check-schemas --live`, {size:,} waiting"
    return Fact(name, "s", min(run.wall for run in runs), LIVE_S)


def ready(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure with a backlog that can run at once."""
    found: dict[int, tuple[float, ...]] = {}
    with fixture() as at, at.worker() as worker:
        for size in sizes:
            drained = drains(worker, size, window, rounds)
            found[size] = (*drained, worker.memory_mb(), stats_us(at), live_ms(at))
        live = live_fact(at, sizes[-1])
    return Finding(
        "ready",
        "messages ready",
        (
            Curve("drain", "messages/s", "flat", column(found, 0), rate=True),
            Curve("server, a message", "µs", "flat", column(found, 1)),
            Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
            Curve("queries of `typedq info`", "µs", "flat", column(found, 3), slack=20),
            Curve("queries of `--live`", "ms", "flat", column(found, 4), slack=1),
        ),
        [live],
    )


def delayed(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure messages that are due, with a backlog that is due in an hour."""
    found: dict[int, tuple[float, ...]] = {}
    with fixture() as at, at.worker() as worker:
        for before, size in zip((0, *sizes), sizes, strict=False):
            at.fill(size - before, delay=3600)
            drained = drains(worker, 0, window, rounds)
            used, late = at.server.cpu_us(), 2000
            at.fill(late, delay=7200)
            used = at.server.cpu_us() - used
            at.server.client.zremrangebyrank(at.keys.delayed("q0"), -late, -1)
            latency = worker.latency_ms(20 * window // 1000)
            rest = (used / late, stats_us(at), live_ms(at))
            found[size] = (*drained, worker.memory_mb(), latency, *rest)
        live = live_fact(at, sizes[-1])
    return Finding(
        "delayed",
        "messages delayed",
        (
            Curve("drain of others", "messages/s", "flat", column(found, 0), rate=True),
            Curve("server, a message", "µs", "flat", column(found, 1)),
            Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
            Curve("latency of one, median", "ms", "flat", column(found, 3)),
            Curve("server, one more delayed", "µs", "log", column(found, 4)),
            Curve("queries of `typedq info`", "µs", "flat", column(found, 5), slack=20),
            Curve("queries of `--live`", "ms", "flat", column(found, 6), slack=1),
        ),
        [live],
    )


def due(sizes: Sequence[int]) -> Finding:
    """Measure a backlog that becomes due at one moment, with an idle worker."""
    found: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        with fixture() as at, at.worker() as worker:
            found[size] = _burst(at, worker, size)
    return Finding(
        "due",
        "messages due at once",
        (
            Curve("until all ran", "messages/s", "flat", column(found, 0), rate=True),
            Curve("largest script", "ms", "flat", column(found, 1), slack=5),
            Curve("slowest PING", "ms", "flat", column(found, 2), slack=20),
        ),
        [
            Fact(f"{sizes[-1]:,} due at once: until all ran", "s", sizes[-1] / found[sizes[-1]][0]),
            Fact(f"{sizes[-1]:,} due at once: largest script", "ms", found[sizes[-1]][1]),
            Fact(f"{sizes[-1]:,} due at once: slowest PING", "ms", found[sizes[-1]][2]),
            Fact("most messages that one script made ready", "", most_per_script(), MAX_PER_SCRIPT),
        ],
    )


def _burst(at: Fixture, worker: RunningWorker, size: int) -> tuple[float, float, float]:
    """Return messages a second since they were due, longest script and slowest PING (ms)."""
    at.fill(size, delay=3600)
    client, key = at.server.client, at.keys.delayed("q0")
    client.config_set("slowlog-log-slower-than", 200)
    client.config_set("slowlog-max-len", 100_000)
    # Filling takes longer than a short delay would, so all are made due in one step.
    client.zunionstore(key, {key: 0})
    client.delete(at.keys.paused)
    client.slowlog_reset()
    before, slowest, over = worker.done(), [0.0], threading.Event()
    pinger = threading.Thread(target=_ping, args=(at.server.port, slowest, over))
    pinger.start()
    started = time.monotonic_ns()
    at.tick()
    last = worker.run_all(before + size)
    over.set()
    pinger.join()
    logged = [entry["duration"] / 1e3 for entry in client.slowlog_get(100_000)]
    return size / ((last - started) / 1e9), max(logged, default=0.2), slowest[0]


def _ping(port: int, slowest: list[float], over: threading.Event) -> None:
    with redis.Redis(port=port) as client:
        client.ping()
        while not over.wait(0.002):
            asked = time.monotonic()
            client.ping()
            slowest[0] = max(slowest[0], (time.monotonic() - asked) * 1e3)


def most_per_script(size: int = 5000) -> int:
    """Return the most messages that one script made ready, as `MONITOR` shows it."""
    with fixture(queues=2) as at, at.worker() as worker:
        for queue in at.queues:
            at.fill(size, queue=queue, delay=3600)
            key = at.keys.delayed(queue)
            at.server.client.zunionstore(key, {key: 0})
        before, moved, script = worker.done(), Counter[int](), 0
        with at.server.client.monitor() as monitor:
            at.resume()
            worker.run_all(before + 2 * size)
            at.server.client.ping()
            for line in monitor.listen():
                command = line["command"]
                if command.startswith("PING"):
                    break
                if line["client_type"] != "lua":
                    script += 1
                elif command.startswith("ZREM"):
                    moved[script] += command.count(" noop@")
    return max(moved.values())
