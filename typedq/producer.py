"""Send calls in chunks; resolve settings and connect at first use."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, final

from typedq.declarations import Declarations
from typedq.encoder import EncodedBatch, MessageEncoder
from typedq.message import OutgoingMessage
from typedq.outgoing import asend_inside, send_inside
from typedq.single import LocalMessages
from typedq.task import Call, Receipt

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.settings import Settings

_UNKNOWN = 1 << 62
Calls = Sequence[Call]
Capture = Callable[[Calls, Sequence[OutgoingMessage]], None]


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
        self._hooks = declarations.hooks.enqueue_hooks
        self.local: LocalMessages | None = None  # inside `app.testing()`
        self.known_limits = _positive(arguments, "max_body"), _positive(arguments, "max_depth")
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
        from typedq.configuration import resolve

        settings = resolve(self._arguments)
        self._declarations.set_queues(tuple(queue.name for queue in settings.queues))
        self.known_limits = settings.max_body, settings.max_depth
        # Set last: other threads that see it rely on the rest.
        self._encoder = encoder = MessageEncoder(self._declarations, settings)
        return encoder

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
                self._broker = Broker(
                    *(url, settings.namespace),
                    deadline=settings.enqueue_deadline,
                    durability=settings.durability,
                    credentials=settings.credentials,
                )
            return self._broker

    async def abroker(self) -> Broker:
        """As `broker`, without blocking the event loop."""
        import asyncio

        # Starting an embedded server takes time, so it must not block the event loop.
        return await asyncio.to_thread(self._connect) if self._broker is None else self._broker

    def enqueue(self, call: Call, /) -> Receipt:
        """Send one call. Raises InvalidArguments, InvalidOptions, ServerError."""
        if self._hooks:
            return self.enqueue_many((call,), 1)[0]
        batch = self._encode(calls := (call,), calls)
        return batch.accepted(self.broker.enqueue(batch.messages, self._schema))[0]

    async def aenqueue(self, call: Call, /) -> Receipt:
        """As `enqueue`."""
        if self._hooks:
            return (await self.aenqueue_many((call,), 1))[0]
        broker = self._broker or await self.abroker()
        batch = self._encode(calls := (call,), calls)
        return batch.accepted(await broker.aenqueue(batch.messages, self._schema))[0]

    def enqueue_many(self, calls: Iterable[Call], chunk: int) -> list[Receipt]:
        """Send calls in chunks, each all or nothing."""
        made = _calls(calls)
        return send_inside(self._hooks, made, self._queue_of, partial(self._send, made, chunk))

    def _send(self, made: Calls, chunk: int, calls: Calls) -> list[Receipt]:
        batch, duplicates = self._encode(calls, made), dict[str, str]()
        for start, end in batch.chunks(chunk):
            with batch.reporting(start, end):
                duplicates |= self.broker.enqueue(batch.messages[start:end], self._schema)
        return batch.accepted(duplicates)

    async def aenqueue_many(self, calls: Iterable[Call], chunk: int) -> list[Receipt]:
        """As `enqueue_many`."""
        made = _calls(calls)
        send = partial(self._asend, made, chunk)
        return await asend_inside(self._hooks, made, self._queue_of, send)

    async def _asend(self, made: Calls, chunk: int, calls: Calls) -> list[Receipt]:
        broker = self._broker or await self.abroker()
        batch, duplicates = self._encode(calls, made), dict[str, str]()
        for start, end in batch.chunks(chunk):
            with batch.reporting(start, end):
                duplicates |= await broker.aenqueue(batch.messages[start:end], self._schema)
        return batch.accepted(duplicates)

    def _queue_of(self, call: Call) -> str:
        usual = self._declarations.find_sender(call.task).queue or self.settings.default_queue
        return call.options.queue or usual

    def _encode(self, calls: Calls, made: Calls) -> EncodedBatch:
        """Encode calls; `made` are the same before hooks added metadata."""
        batch = (self._encoder or self._resolve()).encode(calls)
        if self._capture is not None:
            self._capture(made, batch.messages)
        return batch

    def _schema(self, contract: str) -> bytes:
        return self._declarations.find_sender(contract.partition("@")[0]).contract.schema_json()

    @contextmanager
    def captured(self, broker: Broker, capture: Capture, local: LocalMessages) -> Generator[None]:
        """Send every batch to `capture` and `broker` instead of the configured server."""
        if self._capture is not None:
            raise RuntimeError("app.testing() is on already: use the outbox of the outer `with`")
        before, queues = vars(self).copy(), self._declarations.queue_names
        # Tests need no valid URL.
        self._arguments = {**self._arguments, "url": "redis://testing"}
        self._broker, self._capture, self.local = broker, capture, local
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


def _positive(arguments: Mapping[str, Any], name: str) -> int:
    limit = arguments.get(name)
    return limit if type(limit) is int and limit > 0 else _UNKNOWN  # settings check the rest


def _calls(given: Iterable[Call]) -> Calls:
    if isinstance(given, Call):
        raise TypeError("enqueue_many takes a list of calls; one call is app.enqueue_many([call])")
    made = tuple(given)
    if wrong := {*map(type, made)} - {Call}:
        names = ", ".join(sorted(each.__name__ for each in wrong))
        raise TypeError(f"enqueue_many takes calls, such as my_task.call(1), not {names}")
    return made
