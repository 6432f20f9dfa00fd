"""Measure the cost of durability for an enqueue: `python -m benchmarks.durability`.

One server has a replica and syncs its append-only file every second, another syncs it always. Short
trials alternate; the best one of each counts, because foreign load only slows them down. The ratios
are to `memory` with `everysec`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

import redis

from typedq import TypedQ
from typedq.embedded import OwnServer
from typedq.settings import Durability

CHUNK = 1000
# What the app requires, and how the server syncs its file.
KINDS: tuple[tuple[Durability, str], ...] = (
    ("memory", "everysec"),
    ("replica", "everysec"),
    ("memory", "always"),
    ("fsync", "always"),
)


def rate(step: Callable[[], object], size: int, seconds: float) -> float:
    """Return messages a second; the first step connects and is not counted."""
    step()
    done, started = 0, time.monotonic()
    while (took := time.monotonic() - started) < seconds:
        step()
        done += size
    return done / took


def trial(kind: int, server: OwnServer, seconds: float) -> tuple[float, float]:
    """Return messages a second, one by one and in bulk."""
    app = TypedQ(f"durability{kind}", url=server.url, durability=KINDS[kind][0])

    @app.task
    def job(number: int, text: str) -> None: ...

    calls = [job.call(number, "some text") for number in range(CHUNK)]
    found = (
        rate(lambda: job.enqueue(7, "some text"), 1, seconds),
        rate(lambda: app.enqueue_many(calls), CHUNK, seconds),
    )
    app.close()
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return found


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rounds", type=int, default=20)
    flags.add_argument("--seconds", type=float, default=0.5)
    given = flags.parse_args()
    rates = defaultdict[int, list[tuple[float, float]]](list)
    with ExitStack() as stack:
        every = stack.enter_context(OwnServer(tcp=True))
        host, port = every.url.removeprefix("redis://").removesuffix("/0").split(":")
        stack.enter_context(OwnServer(args=("--replicaof", f"{host} {port}")))
        always = stack.enter_context(OwnServer(args=("--appendfsync", "always"), tcp=True))
        with redis.Redis.from_url(every.url) as client:
            client.wait(1, 30_000)
        for _ in range(given.rounds):
            for kind, (_, sync) in enumerate(KINDS):
                server = always if sync == "always" else every
                rates[kind].append(trial(kind, server, given.seconds))
    print("| durability | appendfsync | one/s | ratio | bulk/s | ratio |")
    print("|---|---|---:|---:|---:|---:|")
    best = [[max(each) for each in zip(*rates[kind], strict=True)] for kind in rates]
    for (durability, sync), (one, bulk) in zip(KINDS, best, strict=True):
        ratios = one / best[0][0], bulk / best[0][1]
        cells = f"{one:,.0f} | {ratios[0]:.2f} | {bulk:,.0f} | {ratios[1]:.2f}"
        print(f"| {durability} | {sync} | {cells} |")


if __name__ == "__main__":
    main()
