"""Which live workers can read a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from typedq import registry
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.broker import stats
from typedq.broker.parking import split_format


@final
class LiveReaders:
    """The workers that are alive now, by name, and what they read."""

    def __init__(
        self, alive: Mapping[str, registry.Worker], known: registry.WorkersByContract
    ) -> None:
        self.alive, self._readers = alive, known

    @staticmethod
    def now(app: TypedQ, schemas: registry.Schemas | None = None) -> LiveReaders:
        """Return those of an app's namespace. Raises ServerError."""
        seen = app.broker.call(stats.survey(app.broker.keys, [], []))
        if schemas is None:
            schemas = registry.PublishedSchemas()
            schemas.refresh(app.broker)
        known = registry.WorkersByContract(declared(app), schemas)
        return LiveReaders(registry.live_workers(seen, app.settings.lease), known)

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
        reasons, (_, format) = list[str](), split_format(contract)
        for reads in sorted({tuple(worker.reads) for worker in self.alive.values()}):
            for read in self._readers.of_task(contract, reads):
                why = self._readers.reading(contract, read).why
                reasons.append(why or f"its message format {format} is newer than the worker")
        return reasons[0] if reasons else f"no live worker has a task {contract.partition('@')[0]}"
