"""Which live workers can read a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import final

from typedq import registry
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.broker import stats
from typedq.broker.parking import split_format


def reports(seen: stats.Stats) -> dict[str, registry.Worker]:
    """Return what workers last reported, by name; some may have died since."""
    return {name: registry.worker(line) for name, line in seen.workers.items() if line}


def alive(
    workers: Mapping[str, registry.Worker], now_ms: int, lease: float
) -> dict[str, registry.Worker]:
    """Return the workers that reported within two leases (s)."""
    oldest_ms = now_ms - 2000 * lease
    return {n: w for n, w in workers.items() if w.seen_ms is None or w.seen_ms >= oldest_ms}


@final
class LiveReaders:
    """The workers that are alive now, and what they read. Raises ServerError."""

    def __init__(self, app: TypedQ) -> None:
        seen = app.broker.call(stats.survey(app.broker.keys, [], []))
        self.alive = alive(reports(seen), seen.now_ms, app.settings.lease)
        self.schemas, _ = registry.read_published(app.broker)
        self._readers = registry.WorkersByContract(declared(app), self.schemas)

    def of(self, contract: str, queue: str | None = None) -> list[str]:
        """Return the names of the workers that read a contract, and serve a queue if given."""
        serving = {n: w for n, w in self.alive.items() if queue is None or queue in w.queues}
        return self._readers.of(contract, serving)

    def why(self, contract: str, queue: str | None = None) -> str:
        """Return why no live worker reads a contract, or none serves the queue; "" if one does."""
        if self.of(contract, queue):
            return ""
        if self.alive and self.of(contract):
            return f"no worker that reads it serves the queue {queue}"
        return why_unread(self._readers, contract, self.alive.values())


def why_unread(
    known: registry.WorkersByContract, contract: str, workers: Iterable[registry.Worker]
) -> str:
    """Return why workers cannot read a contract; "" if one can."""
    reasons, (_, format) = list[str](), split_format(contract)
    for reads, newest in {(tuple(worker.reads), worker.format) for worker in workers}:
        for read in known.of_task(contract, reads):
            how, why = known.reading(contract, read)
            if how and newest >= format:
                return ""
            reasons.append(why or f"its message format {format} is newer than the worker")
    return reasons[0] if reasons else f"no live worker has a task {contract.partition('@')[0]}"
