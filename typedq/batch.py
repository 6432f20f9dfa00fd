"""Calls on their way to the broker: sealed, cut into chunks, and accounted for if one fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, final

import msgspec

from typedq import errors
from typedq.broker import Destination, OutgoingMessage
from typedq.contracts import MAX_DEPTH, too_deep
from typedq.message import BROADCAST, kind_text, new_ids, seal_of
from typedq.policy import Plan, unknown_queue
from typedq.task import Call, Receipt, Task

if TYPE_CHECKING:
    from typedq.settings import Settings

_NOWHERE, _NEVER, _PLAIN = Destination("", ""), datetime.max.replace(tzinfo=UTC), Plan()
CHUNK_BYTES = 4 << 20  # one script call should not hold the server for long


class _Route(NamedTuple):
    """Where calls of one task without options go, and the part of the header they share."""

    way: Destination
    kind: bytes


class EncodedBatch(msgspec.Struct, frozen=True, gc=False):
    """Calls, and the messages made of them at `now` (ms since the epoch)."""

    calls: Sequence[Call]
    batch: list[OutgoingMessage]
    now: int

    def receipts(self) -> list[Receipt]:
        """What their senders are told, once they are accepted: until then, others wait for us."""
        receipts: list[Receipt] = []
        way, due = _NOWHERE, _NEVER
        for call, out in zip(self.calls, self.batch, strict=True):
            if out.way is not way:
                way = out.way
                due_ms = max(self.now + (way.delay_ms or 0), way.eta_ms or 0)
                due = datetime.fromtimestamp(due_ms / 1000, UTC)
            receipts.append(Receipt(out.id, call.task, way.queue, due))
        return receipts


@final
class MessageEncoder:
    """Makes messages of calls, by the settings of their app; `find` gives a task by its name."""

    def __init__(self, find: Callable[[str], Task[..., Any]], settings: Settings) -> None:
        self._find, self.settings = find, settings
        self._queues = [queue.name for queue in settings.queues]
        self._max_body, self._max_depth = settings.max_body, settings.max_depth
        self._routes: dict[str, _Route] = {}

    def encode_message(self, calls: Sequence[Call]) -> EncodedBatch:
        """Make all messages, or none. Raises InvalidArguments, InvalidOptions, UnknownTask."""
        now = time.time_ns() // 1_000_000
        batch: list[OutgoingMessage] = []
        task, plan, way, kind = "", None, _NOWHERE, b""
        most, shallow = self._max_body, self._max_depth < MAX_DEPTH
        for call, id_ in zip(calls, new_ids(len(calls)), strict=True):
            if call.task != task or call.options is not plan:
                task, plan = call.task, call.options
                way, kind = self._routes.get(task) or self._route(task)
                if plan is not _PLAIN and plan != _PLAIN:
                    way, kind = self._detour(task, plan, way)
            body = call.body
            # A call made before settings were known was held to the default.
            if len(body) > most or (shallow and too_deep(body, self._max_depth)):
                raise self._beyond(task, body)
            batch.append(OutgoingMessage(id_, way, seal_of(kind, id_, body)))
        return EncodedBatch(tuple(calls), batch, now)

    def _beyond(self, task: str, body: bytes) -> errors.InvalidArguments:
        reason = f"nested more than {self._max_depth} levels deep"
        if len(body) > self._max_body:
            reason = f"{len(body):,} bytes; the limit is {self._max_body:,}"
        return errors.InvalidArguments(task, "$", reason)

    def _route(self, name: str) -> _Route:
        task = self._find(name)
        way = Destination(task.queue or self.settings.default_queue, task.contract.id)
        made = _Route(way, kind_text(way.contract, way.queue, _PLAIN.limits))
        return self._routes.setdefault(name, made)

    def _detour(self, task: str, plan: Plan, way: Destination) -> _Route:
        queue = plan.queue or way.queue
        if plan.queue and queue not in self._queues and queue != BROADCAST:
            raise unknown_queue(task, queue, self._queues)
        way = Destination(queue, way.contract, plan.delay_ms, plan.eta_ms, queue == BROADCAST)
        return _Route(way, kind_text(way.contract, queue, plan.limits))


def chunks(batch: Sequence[OutgoingMessage], most: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of chunks of at most `most` messages and about 4 MiB."""
    if most < 1:
        raise ValueError(f"chunk takes 1 or more, not {most}")
    start = size = 0
    for end, outgoing in enumerate(batch):
        length = len(outgoing.message)
        if end - start == most or (size and size + length > CHUNK_BYTES):
            yield start, end
            start, size = end, 0
        size += length
    if batch:
        yield start, len(batch)


@contextmanager
def accounting(batch: Sequence[OutgoingMessage], start: int, end: int) -> Generator[None]:
    """Say what became of every call if a chunk after the first fails."""
    try:
        yield
    except errors.ServerError as error:
        if start == 0:
            raise
        ids = [outgoing.id for outgoing in batch]
        sent = end if isinstance(error, errors.EnqueueUncertain) else start
        raise errors.EnqueueFailed(
            error.url,
            str(error).removeprefix(f"{error.url}: "),
            accepted=ids[:start],
            uncertain=ids[start:sent],
            not_sent=ids[sent:],
        ) from error
