"""Which live workers can read a message."""

from __future__ import annotations

from typing import final

from typedq import registry
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.broker import stats


@final
class LiveReaders:
    """The workers that are alive now, and what they read. Raises ServerError."""

    def __init__(self, app: TypedQ) -> None:
        seen = app.broker.call(stats.survey(app.broker.keys, [], []))
        oldest_ms = seen.now_ms - 2000 * app.settings.lease
        workers = {name: registry.worker(line) for name, line in seen.workers.items() if line}
        self.alive = {
            name: w for name, w in workers.items() if w.seen_ms is None or w.seen_ms >= oldest_ms
        }
        self.schemas, _ = registry.read_published(app.broker)
        self._readers = registry.WorkersByContract(declared(app), self.schemas)

    def of(self, contract: str, queue: str | None = None) -> list[str]:
        """Return the names of the workers that read a contract, and serve a queue if given."""
        serving = {n: w for n, w in self.alive.items() if queue is None or queue in w.queues}
        return self._readers.of(contract, serving)
