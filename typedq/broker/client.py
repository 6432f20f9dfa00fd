"""The broker: sends operations, sync or async, and enqueues each message exactly once.

Enqueueing is the protocol of an idempotent producer: a batch carries the id of its connection's
producer and the next sequence number, so that the server can tell a resend from a new batch.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar, final

from typedq.addresses import parse_url, redact
from typedq.broker import operations
from typedq.broker.async_connections import AsyncPools
from typedq.broker.connections import (
    Backoff,
    Connection,
    ConnectionPool,
    Producer,
    RequestFlow,
    result_of,
)
from typedq.broker.credentials import Credentials
from typedq.broker.cron import broadcast
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import Failure, Lost, NotSent, Refused, server_error
from typedq.broker.keys import Keys
from typedq.broker.script import Operation, as_map, command
from typedq.errors import EnqueueUncertain, ServerRefused
from typedq.message import OutgoingMessage

T = TypeVar("T")
Batch = Sequence[OutgoingMessage]
Schema = Callable[[str], bytes]
Duplicates = Mapping[str, str]
Durability = Literal["memory", "replica", "fsync"]
MAX_CONNECTIONS = 16
FIRST_BACKOFF_S, MAX_BACKOFF_S, MAX_CONFIRM_S = 0.05, 1.0, 1.0
_CONFIRM: dict[str, tuple[Any, ...]] = {"replica": ("WAIT", 1), "fsync": ("WAITAOF", 1, 0)}
_FSYNC = "durability fsync needs Redis or Valkey 7.2, appendonly yes and appendfsync always"


@final
class Broker:
    """A client of one namespace on a server.

    Thread-safe; usable from several event loops; a forked child drops its parent's connections.

    deadline: seconds for which an enqueue is tried, and the longest that any reply is waited for
    durability: where a message must be by then
    credentials: redis-py's CredentialProvider, or a callable that returns a password or (user,
        password); asked at every connect, in every process; it must not start threads, since
        workers fork
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        deadline: float = 10.0,
        durability: Durability = "memory",
        credentials: Credentials | None = None,
    ) -> None:
        self.keys = Keys(namespace)
        self.url = redact(url)
        self._deadline, self._durability = deadline, durability
        address = parse_url(url)
        limit = address.options.get("max_connections", MAX_CONNECTIONS)
        self._limit = limit if isinstance(limit, int) else MAX_CONNECTIONS
        self._endpoint = Endpoint(address, self.keys.tag, deadline, credentials)
        self._answered_at = 0.0  # when the server last gave a result; monotonic
        self._make_pools()
        _brokers.add(self)

    def _make_pools(self) -> None:
        self._pool = ConnectionPool(self._endpoint, self._limit)
        self._async_pools = AsyncPools(self._endpoint, self._limit)

    @property
    def lost_connections(self) -> int:
        """Return how many connections failed; after each, the server may have lost data."""
        return self._endpoint.losses

    def use_worker_name(self) -> None:
        """Give connections the client name of a worker process."""
        self._endpoint.role = "worker"

    def connection(self) -> Connection:
        """Return a new connection that the caller owns, to wait for wake tokens."""
        return Connection(self._endpoint)

    def call(self, operation: Operation[T]) -> T:
        """Run an operation. Raises ServerRefused, ServerUnavailable (it may have been run)."""
        return self._run(partial(_only, operation))

    async def acall(self, operation: Operation[T]) -> T:
        """Do as `call`, without blocking the event loop."""
        return await self._arun(partial(_only, operation))

    def enqueue(self, batch: Batch, schema: Schema) -> Duplicates:
        """Accept a batch, all or none, exactly once; `schema` returns a contract's document.

        Return the ids of duplicates, with those of the messages that hold their unique keys.
        Raises ServerUnavailable and ServerRefused (nothing accepted) or EnqueueUncertain.
        """
        return self._run(partial(self._enqueue, batch, schema, time.monotonic()))

    async def aenqueue(self, batch: Batch, schema: Schema) -> Duplicates:
        """Do as `enqueue`, without blocking the event loop."""
        return await self._arun(partial(self._enqueue, batch, schema, time.monotonic()))

    def _run(self, begin: Callable[[Producer], RequestFlow[T]]) -> T:
        try:
            result = self._pool.run(begin)
        except Failure as failure:
            raise server_error(self.url, failure) from failure
        self._answered_at = time.monotonic()
        return result

    async def _arun(self, begin: Callable[[Producer], RequestFlow[T]]) -> T:
        try:
            result = await self._async_pools.of_running_loop().run(begin)
        except Failure as failure:
            raise server_error(self.url, failure) from failure
        self._answered_at = time.monotonic()
        return result

    def _enqueue(
        self, batch: Batch, schema: Schema, begun_at: float, producer: Producer
    ) -> RequestFlow[Duplicates]:
        """Enqueue a batch exactly once; resend it after lost connections until the deadline.

        Before the first reply ever, an error is raised at once: the URL may be wrong.
        """
        # The wait for a connection counts, unless the server gave results meanwhile.
        until, backoff_s = max(begun_at, self._answered_at) + self._deadline, FIRST_BACKOFF_S
        if time.monotonic() > until:
            raise NotSent("the other connections wait for its replies")
        sent, unconfirmed, patient = False, "", self._answered_at > 0
        failure: Failure | None = None
        while True:
            try:
                if producer.sequence == 1 and not sent:
                    yield from self._check_durability()
                answer = yield from self._send(batch, schema, producer, sent)
                sent, unconfirmed = True, self._durability
                if self._durability == "memory" or (
                    yield from self._confirm(
                        self.keys.sequence(producer.id) if answer.status == "seen" else "", until
                    )
                ):
                    producer.sequence += 1
                    return answer.duplicates
            except (NotSent, Refused) as error:
                # An error code proves that the server exists, so it is worth waiting for.
                patient = patient or bool(error.code)
                is_late = not patient or time.monotonic() + backoff_s > until
                if not sent and (isinstance(error, Refused) or is_late):
                    raise
                failure = error
            except Lost as error:
                producer.close()  # after a strange reply, the next one may be of another request
                sent, failure = True, error
            if time.monotonic() + backoff_s > until:
                producer.renew_id()
                ids = [message.id for message in batch]
                raise EnqueueUncertain(self.url, ids, self._deadline, unconfirmed) from failure
            yield Backoff(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def _send(
        self, batch: Batch, schema: Schema, producer: Producer, sent: bool
    ) -> RequestFlow[operations.Accepted]:
        """Send a batch, with its contracts if needed; `sent` before, so "seen" is a success."""
        to_all = batch and batch[0].destination.broadcast_to_all
        describe = broadcast if to_all else operations.enqueue
        schemas: dict[str, bytes] = {}
        renewed = False
        while True:
            operation = describe(self.keys, producer.id, producer.sequence, batch, schemas)
            answer = result_of(operation, (yield operation))
            if answer.status == "unknown" and not schemas.keys() >= set(answer.unknown):
                schemas |= {contract: schema(contract) for contract in answer.unknown}
            elif answer.status == "seen" and not (sent or renewed):
                producer.renew_id()  # another one used it, so the batch was not accepted
                renewed = True
            elif answer.status == "unknown" or (answer.status == "seen" and not sent):
                raise Lost("it does not keep what it is given")
            else:
                return answer

    def _check_durability(self) -> RequestFlow[None]:
        """Refuse a durability that this server cannot provide, before anything is sent."""
        policy = {b"": b"always"}
        try:
            if self._durability != "memory":
                yield command(*_CONFIRM[self._durability], 1)
            if self._durability == "fsync":
                with suppress(Refused):
                    policy = as_map((yield command("CONFIG", "GET", "appendfsync")))
        except Refused as error:
            # A replica refuses the write too, and is understood there.
            if error.code not in ("ERR", "WAITAOF") or "replica" in str(error):
                raise
            raise ServerRefused(self.url, f"{_FSYNC} ({error})") from error
        except Lost as error:
            raise NotSent(str(error)) from error
        # With everysec, Valkey 9.1 and others answer WAITAOF up to a second before the fsync.
        if b"always" not in policy.values():
            set_to = b"".join(policy.values()).decode()
            raise ServerRefused(self.url, f"{_FSYNC} (here it is {set_to})")

    def _confirm(self, unwritten: str, until: float) -> RequestFlow[bool]:
        """Wait for the confirmation of the durability; return False on a timeout."""
        # WAIT covers the last write of its connection, and a resend that was "seen" wrote nothing.
        # Without a write, a replica that lags behind would seem to have the batch.
        if unwritten and not (yield command("EXPIRE", unwritten, operations.SEQUENCE_TTL_S)):
            return False
        while (left := until - time.monotonic()) > 0:
            # Never 0 ms, which waits for ever; and less than the reply timeout.
            wait_s = min(left, MAX_CONFIRM_S, self._endpoint.timeout_s / 2)
            reply = yield command(*_CONFIRM[self._durability], max(1, round(wait_s * 1000)))
            if (reply[0] if self._durability == "fsync" else reply) > 0:
                return True
        return False

    def close(self) -> None:
        """Close the idle connections of blocking calls; the broker stays usable."""
        self._pool.close()

    async def aclose(self) -> None:
        """Close the idle connections of the running event loop."""
        self._async_pools.of_running_loop().close()

    def drop_after_fork(self) -> None:
        """Make new pools; the connections belong to the parent process."""
        # Kept alive: collecting an async connection would touch the parent's event loop.
        _parents.append((self._pool, self._async_pools))
        self._make_pools()


@final
class DedicatedClient:
    """Runs operations of one thread over one connection, and never over another unnoticed.

    A server that restarted may have lost the last second. A caller that says "all that I hold" to
    the server must know that it is still the one that handed it out.
    """

    def __init__(self, broker: Broker) -> None:
        self.keys = broker.keys
        self._broker, self._connection = broker, broker.connection()

    @property
    def lost_connections(self) -> int:
        """Return how many connections of this process are known to have failed."""
        return self._broker.lost_connections

    def call(self, operation: Operation[T]) -> T:
        """Run an operation. Raises ServerRefused, ServerUnavailable (it may have been run).

        If the connection was lost since the last call, nothing is sent; the next call connects.
        """
        connection = self._connection
        try:
            if connection.is_open:
                connection.close_if_stale()
                if not connection.is_open:
                    raise NotSent("the server closed the connection")
            return result_of(operation, connection.execute(operation))
        except Failure as failure:
            connection.close()
            raise server_error(self._broker.url, failure) from failure
        except BaseException:
            connection.close()  # it may have a reply outstanding
            raise


def _only(operation: Operation[T], _: Producer) -> RequestFlow[T]:
    """Send one operation and return its result."""
    return result_of(operation, (yield operation))


_brokers = weakref.WeakSet[Broker]()
_parents: list[object] = []


def _drop_all_after_fork() -> None:
    for broker in _brokers:
        broker.drop_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_all_after_fork)
