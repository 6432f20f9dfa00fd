"""Blocking connections and their pool: one unanswered request at a time, and no hidden resend.

redis-py would resend on its own, and one resend against a stalled server became a second message.
What may be sent again is decided by a `RequestFlow`: a generator that yields operations or a
`Backoff`, and is given the reply, or the failure.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, final

import hiredis
import redis

from typedq.broker import redis_py
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import (
    MOVED_ON,
    REDIS_ERRORS,
    Failure,
    Lost,
    Refused,
    after_sending,
)
from typedq.broker.script import Argument, Operation

T = TypeVar("T")
_untyped: Any = hiredis  # its stub knows commands of one word only
pack: Callable[[tuple[Argument, ...]], bytes] = _untyped.pack_command
NO_SCRIPT = "NOSCRIPT"  # normal after a restart or a failover


class Backoff(NamedTuple):
    """Wait before the next command."""

    seconds: float


RequestFlow = Generator[Operation[Any] | Backoff, Any, T]


def packed(operation: Operation[Any], *, with_source: bool = False) -> bytes:
    """Return the packed command that runs an operation.

    with_source: send the source of the script, which the server stores
    """
    script, keys, args = operation.script, operation.keys, operation.args
    if isinstance(script, str):
        return pack((script, *keys, *args))
    if with_source:
        return pack(("EVAL", script.source, len(keys), *keys, *args))
    if operation.repeated:
        prefix, count_end = _prefix(script.sha, tuple(keys), len(args))
        return prefix + pack(tuple(args))[count_end:]
    return pack(("EVALSHA", script.sha, len(keys), *keys, *args))


@lru_cache(maxsize=1_000)  # to pack the words of all enqueues to a queue again takes twice as long
def _prefix(sha: str, keys: tuple[str, ...], args: int) -> tuple[bytes, int]:
    """Return the bytes before the arguments, equal in all commands with these keys and so many.

    Also return the offset of the first argument where the arguments are packed alone.
    """
    arguments: tuple[Argument, ...] = ("",) * args
    whole, alone = pack(("EVALSHA", sha, len(keys), *keys, *arguments)), pack(arguments)
    count_end = len(str(args)) + 3  # `*`, the number, `\r\n`
    return whole[: len(whole) - len(alone) + count_end], count_end


class Producer:
    """The common part of sync and async connections.

    `id` and `sequence` are those of an idempotent producer: by them the server detects a resend.
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
        # The next command reconnects: after a failover, the same name may be another server.
        # After some replies, redis-py closes the connection itself.
        is_usable = isinstance(failure, Refused) and failure.code not in MOVED_ON
        if not is_usable or isinstance(error, redis.ConnectionError):
            self.close()
        return failure

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        raise NotImplementedError


@final
class Connection(Producer):
    """A blocking connection, opened by its first command."""

    # While connected: what `has_reply` asks.
    _socket: Any
    _reader: Any
    _poll: Any

    def execute(self, operation: Operation[Any]) -> Any:
        """Send an operation and return the reply. Raises NotSent, Lost, Refused."""
        try:
            self._send(packed(operation))
            return self.read()
        except Refused as refused:
            if refused.code != NO_SCRIPT:
                raise
        self._send(packed(operation, with_source=True))
        return self.read()

    def send(self, operation: Operation[Any], then: Operation[Any] | None = None) -> None:
        """Send an operation; `read` reads the reply, `fileno` tells when there is one.

        then: pipelined after it, so that the server runs it next; its reply is read next
        """
        self._send(packed(operation) + (packed(then) if then else b""))

    def _send(self, packed_command: bytes) -> None:
        if self._redis is None:
            self._redis = self._endpoint.open()
            self._socket, self._reader = redis_py.inputs(self._redis)
            self._poll = redis_py.poll_of(self._socket)
        try:
            self._redis.send_packed_command([packed_command], check_health=False)
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
            return self._has_input()
        except REDIS_ERRORS:
            return True  # `read` raises the error

    def close_if_stale(self) -> None:
        """Close the connection if the server closed it or sent an unexpected reply."""
        if self._redis is None:
            return
        try:
            stale = self._has_input()
            if not stale and self._redis.health_check_interval:
                self._redis.check_health()
        except REDIS_ERRORS:
            stale = True
        if stale:
            self.count_loss()
            self.close()

    def count_loss(self) -> None:
        """Count a lost connection: the server may or may not have run what was sent."""
        self._endpoint.losses += 1

    def _has_input(self) -> bool:
        """Return True if a read would return data, or the end of the connection.

        Every enqueue asks this, and redis-py's `can_read` takes four times as long.
        """
        if self._poll is None:
            return bool(self._redis.can_read(0))
        if self._poll.poll(0) or self._reader.has_data():
            return True
        # TLS may hold what it has decrypted.
        return hasattr(self._socket, "pending") and self._socket.pending() > 0

    @property
    def is_open(self) -> bool:
        """Return False before the first command, and after the connection was lost."""
        return self._redis is not None

    def fileno(self) -> int:
        """Return the file descriptor, to wait on it together with others."""
        return -1 if self._redis is None else self._socket.fileno()

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        if self._redis is not None:
            self._redis.disconnect()
            self._redis = None


def result_of(operation: Operation[T], reply: Any) -> T:
    """Return the result in a reply. Raises Lost for a reply that no script of typedq sends."""
    try:
        return operation.parse(reply)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise Lost(f"its reply is not one of typedq's scripts: {type(reply).__name__}") from error


def _drive(connection: Connection, flow: RequestFlow[T]) -> T:
    try:
        request = next(flow)
        while True:
            try:
                reply = None
                if isinstance(request, Backoff):
                    time.sleep(request.seconds)
                else:
                    reply = connection.execute(request)
            except Failure as failure:
                request = flow.throw(failure)
            else:
                request = flow.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result


@final
class ConnectionPool:
    """The idle connections of blocking calls; at most `limit` are kept."""

    def __init__(self, endpoint: Endpoint, limit: int) -> None:
        self._endpoint, self._limit = endpoint, limit
        self._idle = deque[Connection]()

    def run(self, begin: Callable[[Connection], RequestFlow[T]]) -> T:
        """Run a flow over a connection. Raises Failure."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self._endpoint)
        try:
            connection.close_if_stale()
            result = _drive(connection, begin(connection))
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
