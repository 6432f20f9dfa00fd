"""Inspect, purge, pause and resume one queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from typedq.admin.messages import ShowPayload, describe
from typedq.app import TypedQ
from typedq.broker import stats


@final
class QueueAdmin:
    """One queue of an app. All methods raise ServerError."""

    def __init__(self, app: TypedQ, queue: str) -> None:
        self._broker, self._keys, self._queue = app.broker, app.broker.keys, queue

    def peek(self, number: int, show: ShowPayload | None = None) -> list[dict[str, Any]]:
        """Return the next messages without removing them."""
        found = self._broker.call(stats.peek(self._keys, self._queue, number))
        return [describe(message, show) for message in found]

    def size(self) -> int:
        """Return how many messages are ready or delayed."""
        queues = self._broker.call(stats.survey(self._keys, [self._queue], [])).queues
        return queues[self._queue].ready + queues[self._queue].delayed

    def purge(self) -> Iterator[int]:
        """Drop ready and delayed messages; yield how many after each step."""
        while purged := self._broker.call(stats.purge(self._keys, self._queue)):
            yield purged

    def pause(self) -> bool:
        """Stop workers from fetching; return False if the queue was paused already."""
        return bool(self._broker.call(stats.pause(self._keys, self._queue)))

    def resume(self) -> bool:
        """Let workers fetch again; return False if the queue was not paused."""
        return bool(self._broker.call(stats.resume(self._keys, self._queue)))
