"""Encode calls and send them in chunks; resolve settings and connect at first use."""

from __future__ import annotations

import os
import time
import weakref
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Any, final

import msgspec

from typedq import errors
from typedq.contracts import too_deep
from typedq.declarations import Declarations
from typedq.message import (
    Destination,
    OutgoingMessage,
    is_broadcast,
    join_message,
    new_ids,
    shared_text,
)
from typedq.policy import CallOptions, unknown_queue
from typedq.task import Call, Receipt, Task

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.settings import Settings

CHUNK_BYTES = 4 << 20  # one script call should not block the server for long
_UNKNOWN = 1 << 62
_NO_DESTINATION, _NEVER = Destination("", ""), datetime.max.replace(tzinfo=UTC)
_NO_OPTIONS = CallOptions()
_Route = tuple[Destination, bytes]  # where calls go, and the part of the header that they share
Capture = Callable[[Sequence[Call], Sequence[OutgoingMessage]], None]


class EncodedBatch(msgspec.Struct, frozen=True, gc=False):
    """The messages of some calls, and their receipts, for when they are accepted."""

    messages: list[OutgoingMessage]
    receipts: list[Receipt]

    def chunks(self, max_messages: int) -> Iterator[tuple[int, int]]:
        """Yield the bounds of chunks of at most `max_messages` and about 4 MiB."""
        if max_messages < 1:
            raise ValueError(f"chunk takes 1 or more, not {max_messages}")
        ends, start = [0, *accumulate(len(out.message) for out in self.messages)], 0
        while start < len(self.messages):
            fits = bisect_right(ends, ends[start] + CHUNK_BYTES) - 1
            end = min(max(fits, start + 1), start + max_messages)
            yield start, end
            start = end

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
        self._find, self._tasks, self.settings = declarations.find, declarations.tasks, settings
        self._queues = [queue.name for queue in settings.queues]
        self._max_body, self._max_depth = settings.max_body, settings.max_depth
        # A level of nesting takes two bytes at least: shorter bodies are within both limits.
        self._surely_fits = min(self._max_body, 2 * self._max_depth)
        self._routes: dict[Task[..., Any], _Route] = {}

    def encode(self, calls: Sequence[Call]) -> EncodedBatch:
        """Encode all calls or none. Raises InvalidArguments, InvalidOptions, UnknownTask."""
        messages: list[OutgoingMessage] = []
        receipts: list[Receipt] = []
        name, options, destination, shared, due = "", None, _NO_DESTINATION, b"", _NEVER
        for call, id in zip(calls, new_ids(len(calls)), strict=True):
            if call.task != name or call.options is not options:
                name, options = call.task, call.options
                task = self._tasks.get(name) or self._find(name)
                destination, shared = self._routes.get(task) or self._route(task)
                if options is not _NO_OPTIONS and options != _NO_OPTIONS:
                    destination, shared = self._route_with(options, task, destination)
                due = _due(destination)
            if len(call.body) > self._surely_fits:
                self._check_size(call)
            messages.append(OutgoingMessage(id, destination, join_message(id, shared, call.body)))
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

    def _route(self, task: Task[..., Any]) -> _Route:
        destination = Destination(task.queue or self.settings.default_queue, task.contract.id)
        shared = shared_text(destination.contract, destination.queue, _NO_OPTIONS.timeouts)
        return self._routes.setdefault(task, (destination, shared))

    def _route_with(self, options: CallOptions, task: Task[..., Any], usual: Destination) -> _Route:
        queue = options.queue or usual.queue
        broadcast = is_broadcast(queue)
        if options.queue and queue not in self._queues and not broadcast:
            raise unknown_queue(task.name, queue, self._queues)
        destination = Destination(
            queue, usual.contract, options.delay_ms, options.eta_ms, broadcast
        )
        return destination, shared_text(usual.contract, queue, options.timeouts)


def _due(destination: Destination) -> datetime:
    due_s = max(time.time() + (destination.delay_ms or 0) / 1000, (destination.eta_ms or 0) / 1000)
    return datetime.fromtimestamp(due_s, UTC)


@final
class Producer:
    """Sends the calls of one app. It resolves settings and connects at first use.

    arguments: those of `TypedQ`, which override the environment and pyproject.toml
    """

    def __init__(self, declarations: Declarations, arguments: Mapping[str, Any]) -> None:
        self._declarations, self._arguments = declarations, arguments
        self._encoder: MessageEncoder | None = None
        self._broker: Broker | None = None
        self._capture: Capture | None = None
        body, depth = arguments.get("max_body"), arguments.get("max_depth")
        self.known_limits = (_positive(body), _positive(depth))
        self.renew_lock()
        _producers.add(self)

    def renew_lock(self) -> None:
        """Replace the lock: in a forked child, a thread that is gone may hold the old one."""
        self._lock = Lock()

    @property
    def queue_names(self) -> tuple[str, ...] | None:
        return self._declarations.queue_names

    @property
    def settings(self) -> Settings:
        """Return the settings. Raises ConfigurationError with every problem."""
        return (self._encoder or self._resolve()).settings

    def _resolve(self) -> MessageEncoder:
        from typedq.settings import resolve

        settings = resolve(self._arguments)
        self._declarations.set_queues(tuple(queue.name for queue in settings.queues))
        self.known_limits = settings.max_body, settings.max_depth
        # Set last: other threads that see it rely on the rest.
        self._encoder = encoder = MessageEncoder(self._declarations, settings)
        return encoder

    def limits(self) -> tuple[int, int]:
        if self._encoder is None:
            self._resolve()
        return self.known_limits

    @property
    def broker(self) -> Broker:
        """Return the client of the server, made at first use. Raises ConfigurationError."""
        return self._broker or self._connect()

    def _connect(self) -> Broker:
        from typedq.broker import Broker

        with self._lock:
            if self._broker is None:
                settings = self.settings
                url = settings.url.get_secret_value() if settings.url else None
                if url is None or url.startswith("embedded:"):
                    from typedq.embedded import ensure

                    url = ensure(settings.namespace)
                name, deadline = settings.namespace, settings.enqueue_deadline
                durability, login = settings.durability, settings.credentials
                self._broker = Broker(
                    url, name, deadline=deadline, durability=durability, credentials=login
                )
            return self._broker

    async def _aconnect(self) -> Broker:
        import asyncio

        # Starting an embedded server takes time, so it must not block the event loop.
        return await asyncio.to_thread(self._connect) if self._broker is None else self._broker

    def enqueue(self, call: Call, /) -> Receipt:
        """Send one call. Raises InvalidArguments, InvalidOptions, ServerError."""
        batch = self._encode((call,))
        self.broker.enqueue(batch.messages, self._schema)
        return batch.receipts[0]

    async def aenqueue(self, call: Call, /) -> Receipt:
        """As `enqueue`."""
        broker = await self._aconnect()
        batch = self._encode((call,))
        await broker.aenqueue(batch.messages, self._schema)
        return batch.receipts[0]

    def enqueue_many(self, calls: Iterable[Call], chunk: int) -> list[Receipt]:
        """Send calls in chunks, each all or nothing."""
        batch = self._encode(list(calls))
        for start, end in batch.chunks(chunk):
            with batch.reporting(start, end):
                self.broker.enqueue(batch.messages[start:end], self._schema)
        return batch.receipts

    async def aenqueue_many(self, calls: Iterable[Call], chunk: int) -> list[Receipt]:
        """As `enqueue_many`."""
        broker = await self._aconnect()
        batch = self._encode(list(calls))
        for start, end in batch.chunks(chunk):
            with batch.reporting(start, end):
                await broker.aenqueue(batch.messages[start:end], self._schema)
        return batch.receipts

    def _encode(self, calls: Sequence[Call]) -> EncodedBatch:
        batch = (self._encoder or self._resolve()).encode(calls)
        if self._capture is not None:
            self._capture(calls, batch.messages)
        return batch

    def _schema(self, contract: str) -> bytes:
        return self._declarations.find(contract.partition("@")[0]).contract.schema_json()

    @contextmanager
    def captured(self, broker: Broker, capture: Capture) -> Generator[None]:
        """Send every batch to `capture` and `broker` instead of the configured server."""
        if self._capture is not None:
            raise RuntimeError("app.testing() is on already: use the outbox of the outer `with`")
        before, queues = vars(self).copy(), self._declarations.queue_names
        # Tests need no valid URL.
        self._arguments = {**self._arguments, "url": "redis://testing"}
        self._broker, self._capture = broker, capture
        try:
            yield
        finally:
            vars(self).update(before)
            self._declarations.queue_names = queues

    def close(self) -> None:
        """Close the connections of sync calls."""
        if self._broker is not None:
            self._broker.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if self._broker is not None:
            await self._broker.aclose()


_producers = weakref.WeakSet[Producer]()


def _renew_locks_after_fork() -> None:
    for producer in _producers:
        producer.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks_after_fork)


def _positive(limit: object) -> int:
    return limit if type(limit) is int and limit > 0 else _UNKNOWN  # settings check the rest
