"""Encode calls as messages, with the settings of their app."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, final

import msgspec
from msgspec import structs

from typedq import errors
from typedq.contracts import too_deep
from typedq.declarations import Declarations
from typedq.message import (
    Destination,
    OutgoingMessage,
    SharedText,
    is_broadcast,
    join_message,
    new_ids,
    shared_text,
)
from typedq.policy import NO_OPTIONS, CallOptions, unknown_queue
from typedq.remote import RemoteTask
from typedq.task import Call, Receipt, Task

if TYPE_CHECKING:
    from typedq.settings import Settings

CHUNK_BYTES = 4 << 20  # one script call should not block the server for long
_NO_DESTINATION, _NEVER = Destination("", ""), datetime.max.replace(tzinfo=UTC)
_Task = Task[..., Any] | RemoteTask[Any]
_Route = tuple[Destination, SharedText]  # where calls go, and what their messages share


class EncodedBatch(msgspec.Struct, frozen=True, gc=False):
    """The messages of some calls, and their receipts, for when they are accepted."""

    messages: list[OutgoingMessage]
    receipts: list[Receipt]

    def chunks(self, max_messages: int) -> Iterator[tuple[int, int]]:
        """Yield the bounds of chunks of at most `max_messages` and about 4 MiB."""
        if max_messages < 1:
            raise ValueError(f"chunk takes 1 or more, not {max_messages}")
        ends, start = [0, *accumulate([len(out.message) for out in self.messages])], 0
        while start < len(self.messages):
            fits = bisect_right(ends, ends[start] + CHUNK_BYTES) - 1
            end = min(max(fits, start + 1), start + max_messages)
            yield start, end
            start = end

    def accepted(self, duplicates: Mapping[str, str]) -> list[Receipt]:
        """Return the receipts; `duplicates`: id -> id of the message that was accepted before."""
        if not duplicates:
            return self.receipts
        firsts = [duplicates.get(receipt.id) for receipt in self.receipts]
        return [
            structs.replace(receipt, id=first, duplicate=True) if first else receipt
            for receipt, first in zip(self.receipts, firsts, strict=True)
        ]

    @contextmanager
    def reporting(self, start: int, end: int) -> Generator[None]:
        """Raise EnqueueFailed with the fate of every call if a chunk after the first fails."""
        try:
            yield
        except errors.ServerError as error:
            if start == 0:
                raise
            ids = [out.id for out in self.messages]
            sent = end if isinstance(error, errors.EnqueueUncertain) else start
            raise errors.EnqueueFailed(
                error.url,
                str(error).removeprefix(f"{error.url}: "),
                accepted=ids[:start],
                uncertain=ids[start:sent],
                not_sent=ids[sent:],
            ) from error


@final
class MessageEncoder:
    """Encodes calls as messages, with the settings of their app."""

    def __init__(self, declarations: Declarations, settings: Settings) -> None:
        self._find, self._tasks = declarations.find_sender, declarations.tasks
        self.settings = settings
        self._queues = [queue.name for queue in settings.queues]
        self._max_body, self._max_depth = settings.max_body, settings.max_depth
        # A level of nesting takes two bytes at least: shorter bodies are within both limits.
        self._surely_fits = min(self._max_body, 2 * self._max_depth)
        self._routes: dict[_Task, _Route] = {}

    def encode(self, calls: Sequence[Call]) -> EncodedBatch:
        """Encode all calls or none. Raises InvalidArguments, InvalidOptions, UnknownTask."""
        messages: list[OutgoingMessage] = []
        receipts: list[Receipt] = []
        name, options, destination, due = "", None, _NO_DESTINATION, _NEVER
        begin = plain = before_meta = after_meta = b""
        for call, id in zip(calls, new_ids(len(calls)), strict=True):
            if call.task != name or call.options is not options:
                name, options = call.task, call.options
                task = self._tasks.get(name) or self._find(name)
                destination, shared = self._routes.get(task) or self._route(task)
                if options is not NO_OPTIONS and options != NO_OPTIONS:
                    destination, shared = self._route_with(options, task, destination)
                begin, plain, before_meta, after_meta = shared
                due = _due(destination)
            if len(call.body) > self._surely_fits:
                self._check_size(call)
            after_id = before_meta + call.meta + after_meta if call.meta else plain
            message = join_message(begin, id, after_id, call.body)
            messages.append(OutgoingMessage(id, destination, message))
            receipts.append(Receipt(id, name, destination.queue, due))
        return EncodedBatch(messages, receipts)

    def _check_size(self, call: Call) -> None:
        # Calls may be made before the settings are known, or by hand.
        if (size := len(call.body)) > self._max_body:
            reason = f"{size:,} bytes; the limit is {self._max_body:,}"
            raise errors.InvalidArguments(call.task, "$", reason)
        if too_deep(call.body, self._max_depth):
            reason = f"nested more than {self._max_depth} levels deep"
            raise errors.InvalidArguments(call.task, "$", reason)

    def _route(self, task: _Task) -> _Route:
        destination = Destination(task.queue or self.settings.default_queue, task.contract.id)
        shared = shared_text(destination.contract, destination.queue, NO_OPTIONS.timeouts)
        return self._routes.setdefault(task, (destination, shared))

    def _route_with(self, options: CallOptions, task: _Task, usual: Destination) -> _Route:
        queue = options.queue or usual.queue
        broadcast = is_broadcast(queue)
        if options.queue and queue not in self._queues and not broadcast:
            raise unknown_queue(task.name, queue, self._queues)
        unique = (f"{task.name}:{options.unique}", options.unique_ms) if options.unique else None
        due, expires_ms = (options.delay_ms, options.eta_ms), options.expires_ms
        destination = Destination(queue, usual.contract, *due, broadcast, unique, expires_ms)
        until_ms = options.expires_at_ms if expires_ms is None else 0  # written when accepted
        return destination, shared_text(usual.contract, queue, options.timeouts, until_ms)


def _due(destination: Destination) -> datetime:
    now, delay_ms, eta_ms = datetime.now(UTC), destination.delay_ms, destination.eta_ms
    if delay_ms is not None:
        return now + timedelta(milliseconds=delay_ms)
    return now if eta_ms is None else max(now, datetime.fromtimestamp(eta_ms / 1000, UTC))
