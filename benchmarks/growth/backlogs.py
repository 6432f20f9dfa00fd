"""What waits: ready, delayed, and due at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import redis

from benchmarks.growth.curve import Curve, Fact, Finding, column
from benchmarks.growth.processes import took
from benchmarks.growth.stage import BIN, Drained, Running, Stage, best, stage
from typedq.broker.stats import survey
from typedq.cli.tasks import declared
from typedq.registry import look

MEMORY_MB = 8.0  # so much the worker may grow without its growing with something
MOVES = 500
LIVE_S = 2.0


def drains(worker: Running, backlog: int, window: int, rounds: int) -> Drained:
    """The best of rounds, each of which finds the whole backlog."""
    size = min(backlog, window) if backlog else window
    rounds = max(rounds, min(10, window // size))
    return best([worker.drain(size, backlog=backlog) for _ in range(rounds)])


def look_us(at: Stage) -> float:
    """What `typedq info` asks of the server."""
    return at.server_us(survey(at.keys, at.queues, []))


def live_ms(at: Stage) -> float:
    """What `check-schemas --live` asks, without the start of Python."""
    tasks, found = declared(at.app), list[float]()
    for _ in range(20):
        asked = time.monotonic()
        look(at.app.broker, tasks, at.queues, 60)
        found.append((time.monotonic() - asked) * 1e3)
    return min(found)


def live_fact(at: Stage, size: int) -> Fact:
    """The whole command, at its best of three: what is more is others' doing."""
    words = ["check-schemas", "benchmarks.growth.app:app", "--live", "--schemas"]
    runs = [took([f"{BIN}/typedq", *words, str(at.directory)], at.environment) for _ in range(3)]
    name = f"`check-schemas --live`, {size:,} waiting"
    return Fact(name, "s", min(run.wall for run in runs), LIVE_S)


def ready(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """A backlog that may run now."""
    found: dict[int, tuple[float, ...]] = {}
    with stage() as at, at.worker() as worker:
        for size in sizes:
            drained = drains(worker, size, window, rounds)
            found[size] = (*drained, worker.memory_mb(), look_us(at), live_ms(at))
        live = live_fact(at, sizes[-1])
    return Finding(
        "ready",
        "messages ready",
        (
            Curve("drain", "messages/s", "flat", column(found, 0), rate=True),
            Curve("server, a message", "µs", "flat", column(found, 1)),
            Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
            Curve("one look (`typedq info`)", "µs", "flat", column(found, 3), slack=20),
            Curve("questions of `--live`", "ms", "flat", column(found, 4), slack=1),
        ),
        [live],
    )


def delayed(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """A backlog that is due in an hour, and what it does to messages that are not."""
    found: dict[int, tuple[float, ...]] = {}
    with stage() as at, at.worker() as worker:
        for before, size in zip((0, *sizes), sizes, strict=False):
            at.fill(size - before, delay=3600)
            drained = drains(worker, 0, window, rounds)
            used, late = at.server.cpu_us(), 2000
            at.fill(late, delay=7200)
            used = at.server.cpu_us() - used
            at.server.client.zremrangebyrank(at.keys.delayed("q0"), -late, -1)
            latency = worker.latency_ms(20 * window // 1000)
            rest = (used / late, look_us(at), live_ms(at))
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
            Curve("one look (`typedq info`)", "µs", "flat", column(found, 5), slack=20),
            Curve("questions of `--live`", "ms", "flat", column(found, 6), slack=1),
        ),
        [live],
    )


def due(sizes: Sequence[int]) -> Finding:
    """All of them due at the same moment, with a worker that waits."""
    found: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        with stage() as at, at.worker() as worker:
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
            Fact("most messages that one script made ready", "", most_moved(), MOVES),
        ],
    )


def _burst(at: Stage, worker: Running, size: int) -> tuple[float, float, float]:
    """Messages a second since they were due; the longest script (ms), the slowest PING (ms)."""
    at.fill(size, delay=3600)
    client, key = at.server.client, at.keys.delayed("q0")
    client.config_set("slowlog-log-slower-than", 200)
    client.config_set("slowlog-max-len", 100_000)
    # Filling takes longer than some delays: they are made due in one step.
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


def most_moved(size: int = 5000) -> int:
    """By the server's own account of what its scripts do, with two queues that are full."""
    with stage(queues=2) as at, at.worker() as worker:
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
