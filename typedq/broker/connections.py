"""Connections and their pools: one unanswered request at a time, and none is sent a second time.

redis-py would resend on its own, and one resend against a stalled server became a second message.
What may be sent again is decided by the exchange: a generator that yields commands or a `Backoff`,
and is given the reply, or the failure.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar, final

import hiredis
import redis

from typedq.broker import redis_py
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import REDIS_ERRORS, Failure, Lost, Refused, after_sending
from typedq.broker.script import Argument, source_for

T = TypeVar("T")
_untyped: Any = hiredis  # its stub knows commands of one word only
pack: Callable[[tuple[Argument, ...]], bytes] = _untyped.pack_command


class Backoff(NamedTuple):
    """Wait before the next command."""

    seconds: float


Exchange = Generator[Sequence[Argument] | Backoff, Any, T]


class Producer:
    """The common part of sync and async connections.

    `id` and `sequence` are those of an idempotent producer: by them the server tells a resend.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._redis: Any = None  # redis-py's connection while connected
        self.renew_id()

    def renew_id(self) -> None:
        """Take a new producer id, with the first sequence number."""
        self.id, self.sequence = os.urandom(8).hex(), 1

    def _failure(self, error: Exception) -> Failure:
        failure = after_sending(error, moves=self._endpoint.moves)
        self._endpoint.losses += isinstance(failure, Lost)
        # The next command looks for the server anew; after some replies, redis-py hangs up itself.
        if not isinstance(failure, Refused) or isinstance(error, redis.ConnectionError):
            self.close()
        return failure

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        raise NotImplementedError


@final
class Connection(Producer):
    """A blocking connection, opened by its first command."""

    def execute(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply. Raises NotSent, Lost, Refused."""
        self.send(command)
        return self.read()

    def send(self, command: Sequence[Argument]) -> None:
        """Send a command; `read` reads the reply, `fileno` tells when there is one."""
        if self._redis is None:
            self._redis = self._endpoint.open()
        try:
            self._redis.send_packed_command([pack(tuple(command))], check_health=False)
        except REDIS_ERRORS as error:
            raise self._failure(error) from error

    def read(self) -> Any:
        """Read the reply to the command that was sent."""
        try:
            return self._redis.read_response()
        except REDIS_ERRORS as error:
            raise self._failure(error) from error

    def has_reply(self) -> bool:
        """Return True if `read` would not wait; TLS may have buffered data that `select` misses."""
        try:
            return redis_py.has_input(self._redis)
        except REDIS_ERRORS:
            return True  # `read` raises the error

    def close_if_stale(self) -> None:
        """Close the connection if the server closed it or sent an unexpected reply."""
        if self._redis is None:
            return
        try:
            stale = redis_py.has_input(self._redis)
            if not stale and self._redis.health_check_interval:
                self._redis.check_health()
        except REDIS_ERRORS:
            stale = True
        if stale:
            self._endpoint.losses += 1
            self.close()

    @property
    def is_open(self) -> bool:
        """Return False before the first command, and after the connection was lost."""
        return self._redis is not None

    def fileno(self) -> int:
        """Return the file descriptor, to wait on it together with others."""
        return redis_py.fileno(self._redis)

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        if self._redis is not None:
            self._redis.disconnect()
            self._redis = None


@final
class AsyncConnection(Producer):
    """A `Connection` for one event loop."""

    async def execute(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply. Raises NotSent, Lost, Refused."""
        if self._redis is None:
            self._redis = await self._endpoint.aopen()
        packed = [pack(tuple(command))]
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):
                await self._redis.send_packed_command(packed, check_health=False)
                return await self._redis.read_response()
        except REDIS_ERRORS as error:
            raise self._failure(error) from error

    async def close_if_stale(self) -> None:
        """As for a blocking one."""
        if self._redis is None:
            return
        try:
            stale = await redis_py.is_stale(self._redis)
            if not stale and self._redis.health_check_interval:
                async with asyncio.timeout(self._endpoint.timeout_s):
                    await self._redis.check_health()
        except REDIS_ERRORS:
            stale = True
        if stale:
            self._endpoint.losses += 1
            self.close()

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        redis_py.abort(self._redis)
        self._redis = None


def drive(connection: Connection, exchange: Exchange[T]) -> T:
    """Run an exchange over a connection. Raises Failure; then a reply may be outstanding."""
    try:
        request = next(exchange)
        while True:
            try:
                reply = None
                if isinstance(request, Backoff):
                    time.sleep(request.seconds)
                else:
                    reply = connection.execute(request)
            except Failure as failure:
                request = source_for(request, failure.code) or exchange.throw(failure)
            else:
                request = exchange.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result


@final
class ConnectionPool:
    """The idle connections of blocking calls; at most `limit` are kept."""

    def __init__(self, endpoint: Endpoint, limit: int) -> None:
        self._endpoint, self._limit = endpoint, limit
        self._idle = deque[Connection]()

    def run(self, begin: Callable[[Connection], Exchange[T]]) -> T:
        """Run an exchange over a connection. Raises Failure."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self._endpoint)
        try:
            connection.close_if_stale()
            result = drive(connection, begin(connection))
        except BaseException:
            connection.close()  # it may have a reply outstanding
            raise
        if len(self._idle) < self._limit:
            self._idle.append(connection)
        else:
            connection.close()
        return result

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


@final
class AsyncConnectionPool:
    """The connections of one event loop, at most `limit`: thousands of coroutines may enqueue."""

    def __init__(self, endpoint: Endpoint, limit: int) -> None:
        self._endpoint, self._turns = endpoint, asyncio.Semaphore(limit)
        self._idle = deque[AsyncConnection]()
        self._end_of_loop: AsyncGenerator[None] | None = None

    async def run(self, begin: Callable[[AsyncConnection], Exchange[T]]) -> T:
        """Run an exchange over a connection. Raises Failure."""
        if self._end_of_loop is None:
            self._end_of_loop = self._close_at_the_end()
            await anext(self._end_of_loop)
        async with self._turns:
            connection = self._idle.pop() if self._idle else AsyncConnection(self._endpoint)
            try:
                await connection.close_if_stale()
                result = await _drive(connection, begin(connection))
            except BaseException:
                connection.close()  # it may have a reply outstanding
                raise
            self._idle.append(connection)
            return result

    async def _close_at_the_end(self) -> AsyncGenerator[None]:
        """An event loop closes its asynchronous generators before itself, and this one ours.

        So `asyncio.run(task.aenqueue())`, again and again, leaves no connections behind.
        """
        try:
            yield
        finally:
            self.close()
            await asyncio.sleep(0)  # for the transports to close their sockets

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


async def _drive(connection: AsyncConnection, exchange: Exchange[T]) -> T:
    try:
        request = next(exchange)
        while True:
            try:
                reply = None
                if isinstance(request, Backoff):
                    await asyncio.sleep(request.seconds)
                else:
                    reply = await connection.execute(request)
            except Failure as failure:
                request = source_for(request, failure.code) or exchange.throw(failure)
            else:
                request = exchange.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result


@final
class AsyncPools:
    """A pool for each event loop; threads may run loops of their own at the same time."""

    def __init__(self, endpoint: Endpoint, limit: int) -> None:
        self._endpoint, self._limit, self._lock = endpoint, limit, threading.Lock()
        self._pools = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool]()

    def of_running_loop(self) -> AsyncConnectionPool:
        """Return the pool of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            pool = self._pools.get(loop)
            if pool is None:
                # A pool keeps its loop alive through its connections.
                for ended in [each for each in self._pools if each.is_closed()]:
                    self._pools.pop(ended).close()
                pool = self._pools[loop] = AsyncConnectionPool(self._endpoint, self._limit)
            return pool
