"""Other things on the server: sessions, parked messages, dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.growth.backlogs import MEMORY_MB
from benchmarks.growth.curve import Curve, Figures, Finding, column
from benchmarks.growth.fixture import GRACE_MS, LEASE_MS, Fixture, best, fixture
from benchmarks.growth.internals import (
    DEAD_BOUNDS,
    ID,
    DeadLetter,
    Operation,
    Parked,
    ParkedGroup,
    dead_letters,
    open_sessions,
    park,
    parked,
    parked_groups,
    release,
    renew,
    requeue,
    sessions,
    settle_and_fetch,
    stats,
    tick,
)

Queries = tuple[Operation[Any], ...]
OWN = "own"  # the session of this process
CHUNK = 500


def many_sessions(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure with sessions of other workers whose leases are valid."""
    found: dict[int, tuple[float, ...]] = {}
    with fixture() as at, at.worker() as worker:
        names = list[str]()
        at.call(open_sessions(at.keys, [OWN], at.queues, LEASE_MS))
        for size in sizes:
            names += [f"s{number}" for number in range(len(names), size)]
            at.call(open_sessions(at.keys, names, at.queues, LEASE_MS))
            drained = best([worker.drain(window) for _ in range(rounds)])
            found[size] = (*drained, worker.memory_mb(), *_session_operations(at, names))
    return Finding(
        "sessions",
        "registered sessions",
        (
            Curve("drain", "messages/s", "flat", column(found, 0), rate=True),
            Curve("server, a message", "µs", "flat", column(found, 1)),
            Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
            Curve("a tick", "µs", "log", column(found, 3)),
            Curve("a tick after a gap", "µs", "linear", column(found, 4)),
            Curve("a renewal of one", "µs", "log", column(found, 5)),
            Curve("a renewal of all", "µs", "linear", column(found, 6)),
            Curve("an empty fetch", "µs", "log", column(found, 7)),
            Curve("queries of `typedq info`", "µs", "linear", column(found, 8)),
        ),
    )


def _session_operations(at: Fixture, names: Sequence[str]) -> Iterator[float]:
    ticked = tick(at.keys, at.queues, grace_ms=GRACE_MS, lease_ms=LEASE_MS)
    yield at.server_us(ticked)
    # A grace of -1 ms has always expired.
    late = tick(at.keys, at.queues, grace_ms=-1, lease_ms=LEASE_MS)
    yield _each(at, late, lambda: at.server.client.delete(at.keys.lease_extended))
    yield at.server_us(renew(at.keys, names[:1], LEASE_MS, "other", b"{}"))
    yield at.server_us(renew(at.keys, names, LEASE_MS, "other", b"{}"))
    at.call(renew(at.keys, [], 0, "other", b""))
    yield at.server_us(settle_and_fetch(at.keys, OWN, at.queues, max_messages=64))
    known = [session.name for session in at.call(sessions(at.keys))]
    yield at.server_us(stats(at.keys, at.queues, known))


def parked_messages(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure with messages that no worker can read."""
    found: dict[int, tuple[float, ...]] = {}
    with fixture() as at, at.worker() as worker:
        group, parked_us = ParkedGroup("q0", "unknown@0"), 0.0
        for before, size in zip((0, *sizes), sizes, strict=False):
            for ids in _fetch(at, size - before):
                operation = park(at.keys, OWN, [Parked(group, id) for id in ids], DEAD_BOUNDS)
                parked_us = _spent(at, operation) / len(ids)
            drained = best([worker.drain(window) for _ in range(rounds)])
            some = min(size, CHUNK)
            overview = stats(at.keys, at.queues, [])
            queries: Queries = (parked_groups(at.keys), parked(at.keys, group), overview)
            found[size] = (*drained, worker.memory_mb(), *map(at.server_us, queries))
            if some:
                freed = _spent(at, release(at.keys, group, "ready")) / some
                found[size] = (*found[size], parked_us, freed)
                at.server.client.delete(at.keys.ready("q0"))
    return Finding(
        "parked",
        "messages parked",
        (
            *_beside(found),
            Curve("its groups", "µs", "flat", column(found, 3), slack=5),
            Curve("500 of them", "µs", "flat", _some(found, 4)),
            Curve("queries of `typedq info`", "µs", "flat", column(found, 5), slack=20),
            Curve("server, one more parked", "µs", "flat", _some(found, 6)),
            Curve("server, one released", "µs", "flat", _some(found, 7)),
        ),
    )


def many_dead_letters(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Measure with dead letters; from 100,000 on, each new one drops the oldest."""
    found: dict[int, tuple[float, ...]] = {}
    with fixture() as at, at.worker() as worker:
        dead_us = 0.0
        for before, size in zip((0, *sizes), sizes, strict=False):
            for ids in _fetch(at, size - before):
                settle = [DeadLetter(id, b'{"kind":"rejected"}') for id in ids]
                operation = settle_and_fetch(at.keys, OWN, at.queues, settle=settle)
                dead_us = _spent(at, operation) / len(ids)
            drained = best([worker.drain(window) for _ in range(rounds)])
            queries: Queries = (dead_letters(at.keys), stats(at.keys, at.queues, []))
            found[size] = (*drained, worker.memory_mb(), *map(at.server_us, queries))
            if size:
                full = next(_fetch(at, CHUNK))
                settle = [DeadLetter(id, b'{"kind":"rejected"}') for id in full]
                operation = settle_and_fetch(at.keys, OWN, at.queues, settle=settle)
                dead_us = _spent(at, operation) / len(full)
                letters = [letter.id for letter in at.call(dead_letters(at.keys, 0, CHUNK - 1))]
                requeued = _spent(at, requeue(at.keys, at.queues, letters)) / len(letters)
                found[size] = (*found[size], dead_us, requeued)
                at.server.client.delete(at.keys.ready("q0"))
    return Finding(
        "dead",
        "dead letters",
        (
            *_beside(found),
            Curve("500 of them", "µs", "log", _some(found, 3)),
            Curve("queries of `typedq info`", "µs", "flat", column(found, 4), slack=20),
            Curve("server, one more dead letter", "µs", "log", _some(found, 5)),
            Curve("server, one requeued", "µs", "log", _some(found, 6)),
        ),
    )


def _fetch(at: Fixture, count: int) -> Iterator[list[bytes]]:
    """Enqueue new messages, fetch them in this process, and yield their ids in chunks."""
    if not count:
        return
    at.call(open_sessions(at.keys, [OWN], ["side"], LEASE_MS))
    at.fill(count)
    # The worker does not serve this queue.
    at.server.client.rename(at.keys.ready("q0"), at.keys.ready("side"))
    while messages := at.call(
        settle_and_fetch(at.keys, OWN, ["side"], max_messages=CHUNK)
    ).messages:
        yield [message[ID] for message in messages]


def _spent(at: Fixture, operation: Operation[Any]) -> float:
    """Return the server's CPU time for one script, in microseconds."""
    before = at.server.cpu_us()
    at.call(operation)
    return at.server.cpu_us() - before


def _each(at: Fixture, operation: Operation[Any], first: Callable[[], object]) -> float:
    """Return the best of several runs; `first` is called before each."""
    found = list[float]()
    for _ in range(15):
        first()
        found.append(_spent(at, operation))
    return min(found)


def _beside(found: Figures) -> tuple[Curve, ...]:
    """Return the curves of other messages."""
    return (
        Curve("drain of others", "messages/s", "flat", column(found, 0), rate=True),
        Curve("server, a message", "µs", "flat", column(found, 1)),
        Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
    )


def _some(found: Figures, place: int) -> list[tuple[float, float]]:
    """Return the points of the sizes above zero."""
    return column({size: figures for size, figures in found.items() if size}, place)
