"""Connections of event loops and their pools: as the blocking ones, for asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar, final

from typedq.broker import redis_py
from typedq.broker.connections import NO_SCRIPT, Backoff, Producer, RequestFlow, packed
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import REDIS_ERRORS, Failure, Refused
from typedq.broker.script import Operation

T = TypeVar("T")


@final
class AsyncConnection(Producer):
    """A `Connection` for one event loop."""

    _deadline: float | None = None  # of the outstanding reply, by the loop's clock
    _is_watched = False
    _poll: Any  # while connected: what `close_if_stale` asks

    async def execute(self, operation: Operation[Any]) -> Any:
        """Send an operation and return the reply. Raises NotSent, Lost, Refused."""
        try:
            return await self._execute(packed(operation))
        except Refused as refused:
            if refused.code != NO_SCRIPT:
                raise
        return await self._execute(packed(operation, with_source=True))

    async def _execute(self, packed_command: bytes) -> Any:
        if self._redis is None:
            self._redis = await self._endpoint.aopen()
            self._poll = redis_py.poll_of(redis_py.async_socket(self._redis))
        opened, loop = self._redis, asyncio.get_running_loop()
        self._deadline = loop.time() + self._endpoint.timeout_s
        if not self._is_watched:
            self._watch(loop)
        try:
            await opened.send_packed_command([packed_command], check_health=False)
            return await opened.read_response()
        except REDIS_ERRORS as error:
            is_late = self._redis is None  # `_watch` closed it
            raise self._failure(TimeoutError() if is_late else error) from error
        finally:
            self._deadline = None

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connection if its reply is late.

        One timer serves many commands. `asyncio.timeout`, which makes and cancels one for each,
        takes a sixth of the time of an enqueue.
        """
        deadline = self._deadline
        self._is_watched = deadline is not None and loop.time() < deadline
        if deadline is not None and self._is_watched:
            # Without the context variables of who asks: it may outlive them by far.
            loop.call_at(deadline, self._watch, loop, context=contextvars.Context())
        elif deadline is not None:
            self.close()

    async def close_if_stale(self) -> None:
        """Close the connection if the server closed it or sent an unexpected reply."""
        if self._redis is None:
            return
        try:
            stale = await redis_py.is_stale(self._redis, self._poll)
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


@final
class AsyncConnectionPool:
    """The connections of one event loop, at most `limit`: thousands of coroutines may enqueue."""

    def __init__(self, endpoint: Endpoint, limit: int) -> None:
        self._endpoint, self._permits = endpoint, asyncio.Semaphore(limit)
        self._idle = deque[AsyncConnection]()
        self._end_of_loop: AsyncGenerator[None] | None = None

    async def run(self, begin: Callable[[AsyncConnection], RequestFlow[T]]) -> T:
        """Run a flow over a connection. Raises Failure."""
        if self._end_of_loop is None:
            self._end_of_loop = self._close_at_the_end()
            await anext(self._end_of_loop)
        async with self._permits:
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
        """Close the connections with the event loop, which closes its async generators first.

        So repeated `asyncio.run(task.aenqueue())` leaves no connections behind.
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


async def _drive(connection: AsyncConnection, flow: RequestFlow[T]) -> T:
    try:
        request = next(flow)
        while True:
            try:
                reply = None
                if isinstance(request, Backoff):
                    await asyncio.sleep(request.seconds)
                else:
                    reply = await connection.execute(request)
            except Failure as failure:
                request = flow.throw(failure)
            else:
                request = flow.send(reply)
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
