"""The methods of an app for one message by its id."""

from __future__ import annotations

from typedq import single
from typedq.producer import Producer
from typedq.single import Cancellation, MessageInfo, Progress


class MessageMethods:
    """`get` and `cancel` of an app. `_producer`: of the app, set by its constructor."""

    _producer: Producer

    def get(
        self, id: str, *, limit: int = single.LIMIT, progress: Progress | None = None
    ) -> MessageInfo:
        """Find a message by its id: its state, header and arguments.

        There is no index: this reads the waiting messages until it finds the one, in small steps,
        100,000 in about a second. A message that ended has state "unknown".
        limit: how many waiting messages to look at; progress: called with how many were looked at
        Raises InvalidId, SearchLimit, ServerError.
        """
        if self._producer.local:
            return self._producer.local.get(single.check_id(id))
        return single.run(self._producer.broker, single.get(self._query(id, limit, progress)))

    async def aget(
        self, id: str, *, limit: int = single.LIMIT, progress: Progress | None = None
    ) -> MessageInfo:
        """Do as `get`, without blocking the event loop."""
        if self._producer.local:
            return self._producer.local.get(single.check_id(id))
        broker = await self._producer.abroker()
        return await single.arun(broker, single.get(self._query(id, limit, progress)))

    def cancel(
        self, id: str, *, limit: int = single.LIMIT, progress: Progress | None = None
    ) -> Cancellation:
        """Cancel a message: drop it if it waits; if it runs, its task meets `Cancelled`.

        `outcome` says exactly what was done. A message that was in flight is dropped instead of
        retried, whatever happens to its worker. Searches as `get`.
        Raises InvalidId, also for a broadcast, SearchLimit, ServerError.
        """
        if self._producer.local:
            return self._producer.local.cancel(single.check_id(id))
        return single.run(self._producer.broker, single.cancel(self._query(id, limit, progress)))

    async def acancel(
        self, id: str, *, limit: int = single.LIMIT, progress: Progress | None = None
    ) -> Cancellation:
        """Do as `cancel`, without blocking the event loop."""
        if self._producer.local:
            return self._producer.local.cancel(single.check_id(id))
        broker = await self._producer.abroker()
        return await single.arun(broker, single.cancel(self._query(id, limit, progress)))

    def _query(self, id: str, limit: int, progress: Progress | None) -> single.Query:
        queues = [queue.name for queue in self._producer.settings.queues]
        return single.Query(
            self._producer.broker.keys, queues, single.check_id(id), limit, progress
        )
