"""What the server keeps beside messages that wait: sessions, parked messages, dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.growth.backlogs import MEMORY_MB
from benchmarks.growth.curve import Curve, Figures, Finding, column
from benchmarks.growth.stage import GRACE_MS, LEASE_MS, Stage, best, stage
from typedq.broker import Operation, operations, settlements
from typedq.broker.operations import DEFAULT_BOUNDS, renew, settle_and_fetch, tick
from typedq.broker.parking import Group, Parked, groups, park, parked, release
from typedq.broker.stats import graves, requeue, sessions, survey

HAND = "hand"  # the session of this process
AT_ONCE = 500


def registered(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Sessions of other workers, whose leases run."""
    found: dict[int, tuple[float, ...]] = {}
    with stage() as at, at.worker() as worker:
        names = list[str]()
        at.ask(operations.open(at.keys, [HAND], at.queues, LEASE_MS))
        for size in sizes:
            names += [f"s{number}" for number in range(len(names), size)]
            at.ask(operations.open(at.keys, names, at.queues, LEASE_MS))
            drained = best([worker.drain(window) for _ in range(rounds)])
            found[size] = (*drained, worker.memory_mb(), *_session_moves(at, names))
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
            Curve("a fetch that finds nothing", "µs", "log", column(found, 7)),
            Curve("one look (`typedq info`)", "µs", "linear", column(found, 8)),
        ),
    )


def _session_moves(at: Stage, names: Sequence[str]) -> Iterator[float]:
    ticked = tick(at.keys, at.queues, grace_ms=GRACE_MS, lease_ms=LEASE_MS)
    yield at.server_us(ticked)
    # The grace of -1 ms is always over.
    late = tick(at.keys, at.queues, grace_ms=-1, lease_ms=LEASE_MS)
    yield _each(at, late, lambda: at.server.client.delete(at.keys.pardoned))
    yield at.server_us(renew(at.keys, names[:1], LEASE_MS, "other", b"{}"))
    yield at.server_us(renew(at.keys, names, LEASE_MS, "other", b"{}"))
    at.ask(renew(at.keys, [], 0, "other", b""))
    yield at.server_us(settle_and_fetch(at.keys, HAND, at.queues, want=64))
    known = [session.name for session in at.ask(sessions(at.keys))]
    yield at.server_us(survey(at.keys, at.queues, known))


def set_aside(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Messages that no worker reads."""
    found: dict[int, tuple[float, ...]] = {}
    with stage() as at, at.worker() as worker:
        group, parked_us = Group("q0", "unknown@0"), 0.0
        for before, size in zip((0, *sizes), sizes, strict=False):
            for ids in _in_hand(at, size - before):
                move = park(at.keys, HAND, [Parked(group, id) for id in ids], DEFAULT_BOUNDS)
                parked_us = _spent(at, move) / len(ids)
            drained = best([worker.drain(window) for _ in range(rounds)])
            some = min(size, AT_ONCE)
            looks = (groups(at.keys), parked(at.keys, group), survey(at.keys, at.queues, []))
            found[size] = (*drained, worker.memory_mb(), *map(at.server_us, looks))
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
            Curve("one look (`typedq info`)", "µs", "flat", column(found, 5), slack=20),
            Curve("server, one more parked", "µs", "flat", _some(found, 6)),
            Curve("server, one released", "µs", "flat", _some(found, 7)),
        ),
    )


def buried(sizes: Sequence[int], window: int, rounds: int) -> Finding:
    """Dead letters; at 100,000 each that comes drops one."""
    found: dict[int, tuple[float, ...]] = {}
    with stage() as at, at.worker() as worker:
        buried_us = 0.0
        for before, size in zip((0, *sizes), sizes, strict=False):
            for ids in _in_hand(at, size - before):
                settle = [settlements.DeadLetter(id, b'{"kind":"rejected"}') for id in ids]
                move = settle_and_fetch(at.keys, HAND, at.queues, settle=settle)
                buried_us = _spent(at, move) / len(ids)
            drained = best([worker.drain(window) for _ in range(rounds)])
            looks = (graves(at.keys), survey(at.keys, at.queues, []))
            found[size] = (*drained, worker.memory_mb(), *map(at.server_us, looks))
            if size:
                full = next(_in_hand(at, AT_ONCE))
                settle = [settlements.DeadLetter(id, b'{"kind":"rejected"}') for id in full]
                buried_us = _spent(
                    at, settle_and_fetch(at.keys, HAND, at.queues, settle=settle)
                ) / len(full)
                ids = [grave.id for grave in at.ask(graves(at.keys, 0, AT_ONCE - 1))]
                revived = _spent(at, requeue(at.keys, at.queues, ids)) / len(ids)
                found[size] = (*found[size], buried_us, revived)
                at.server.client.delete(at.keys.ready("q0"))
    return Finding(
        "dead",
        "dead letters",
        (
            *_beside(found),
            Curve("500 of them", "µs", "log", _some(found, 3)),
            Curve("one look (`typedq info`)", "µs", "flat", column(found, 4), slack=20),
            Curve("server, one more buried", "µs", "log", _some(found, 5)),
            Curve("server, one revived", "µs", "log", _some(found, 6)),
        ),
    )


def _in_hand(at: Stage, count: int) -> Iterator[list[bytes]]:
    """So many new messages, fetched by this process: their ids, AT_ONCE at most at a time."""
    if not count:
        return
    at.ask(operations.open(at.keys, [HAND], ["side"], LEASE_MS))
    at.fill(count)
    # Out of the worker's reach.
    at.server.client.rename(at.keys.ready("q0"), at.keys.ready("side"))
    while messages := at.ask(settle_and_fetch(at.keys, HAND, ["side"], want=AT_ONCE)).messages:
        yield [message[25:51] for message in messages]


def _spent(at: Stage, move: Operation[Any]) -> float:
    """Microseconds of the server's processor for one script."""
    before = at.server.cpu_us()
    at.ask(move)
    return at.server.cpu_us() - before


def _each(at: Stage, move: Operation[Any], first: Callable[[], object]) -> float:
    """The best of several, with something done before each."""
    found = list[float]()
    for _ in range(15):
        first()
        found.append(_spent(at, move))
    return min(found)


def _beside(found: Figures) -> tuple[Curve, ...]:
    """What other messages notice."""
    return (
        Curve("drain of others", "messages/s", "flat", column(found, 0), rate=True),
        Curve("server, a message", "µs", "flat", column(found, 1)),
        Curve("worker's memory", "MB", "flat", column(found, 2), slack=MEMORY_MB),
    )


def _some(found: Figures, place: int) -> list[tuple[float, float]]:
    """Points of what needs at least one of them."""
    return column({size: figures for size, figures in found.items() if size}, place)
