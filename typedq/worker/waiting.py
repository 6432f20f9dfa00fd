"""Waiting for several things at once: a wake token, a signal, a call from another thread."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, final

from typedq.broker import Broker
from typedq.broker.failures import Failure, Lost
from typedq.broker.operations import wake_worker
from typedq.broker.script import Argument
from typedq.errors import ServerError
from typedq.process import WORKER_SIGNALS

_BLOCK_S = 5
_END_S = 2.0  # a request that does not end within this after it was told to is lost
_PAUSE_S = 0.1  # after a failure


@final
class _Request:
    """A command that blocks at the server, on a connection of its own."""

    def __init__(self, broker: Broker) -> None:
        self._connection, self._sent_at = broker.connection(), 0.0

    def send(self, command: Sequence[Argument]) -> None:
        """Send it, unless the reply to the last one is still to come."""
        now = time.monotonic()
        if not self._sent_at:
            self._connection.close_if_stale()
            self._connection.send(command)
            self._sent_at = now
        elif now - self._sent_at > 2 * _BLOCK_S:
            raise Lost("no reply")

    def read(self) -> Any:
        """Read the reply; None if nothing came within the time that the command gives."""
        self._sent_at = 0.0
        return self._connection.read()

    def has_reply(self) -> bool:
        """Return True if a reply was received, also where the socket does not show it."""
        return bool(self._sent_at) and self._connection.has_reply()

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._connection.fileno()

    def close(self) -> None:
        """Forget what was sent."""
        self._sent_at = 0.0
        self._connection.close()


@final
class Waiter:
    """Blocks on wake tokens at the server and on a pipe of its own at the same time.

    persistent: the request to the server outlives a wait that something else ended; for those who
        are never too busy to act on a token
    extra_request: returns another command that blocks, or None; its reply counts as a token behind
        the last key
    """

    def __init__(
        self,
        broker: Broker,
        keys: Sequence[str],
        *,
        persistent: bool = False,
        extra_request: Callable[[], Sequence[Argument] | None] = lambda: None,
    ) -> None:
        broker.use_worker_name()
        self._keys = list(keys)
        self._own_key = broker.keys.wake(f"_{os.urandom(8).hex()}")
        self._broker, self._tokens, self._extra = broker, _Request(broker), _Request(broker)
        self._persistent, self._extra_request = persistent, extra_request
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def on_signals(self) -> None:
        """Let every signal end a wait, also those that were blocked. Main thread only."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WORKER_SIGNALS)

    def wake(self) -> None:
        """End a wait, from any thread or process that shares the pipe."""
        with suppress(BlockingIOError):  # a full pipe ends the wait as well
            os.write(self._write, b"\0")

    def wait(self, timeout: float, *, tokens: bool = True) -> int | None:
        """Return the place of the key whose token was taken, or None after anything else.

        Waits up to `timeout` seconds, for tokens only if `tokens`.
        """
        try:
            return self._wait(timeout, tokens)
        except (Failure, ServerError):
            self._close_requests()
            self._poll([], min(timeout, _PAUSE_S))
            return None

    def _wait(self, timeout: float, tokens: bool) -> int | None:
        requests: list[_Request] = []
        if tokens:
            self._tokens.send(["BLPOP", *self._keys, self._own_key, _BLOCK_S])
            requests.append(self._tokens)
        if command := self._extra_request():
            self._extra.send(command)
            requests.append(self._extra)
        ready = self._poll(requests, timeout)
        if self._extra in ready:
            return len(self._keys) if self._extra.read() else None
        if not tokens:
            return None
        if self._tokens not in ready:
            if self._persistent:
                return None
            # A worker that is about to be busy must not take a token: end the request first.
            self._end_request()
        reply = self._tokens.read()
        key = reply[0].decode() if reply else self._own_key
        return None if key == self._own_key else self._keys.index(key)

    def _poll(self, requests: Sequence[_Request], timeout: float) -> list[_Request]:
        """Wait for a reply or the pipe; return the requests that have a reply, and empty the pipe.

        By poll, since select ends a process whose file descriptors are beyond 1,024.
        """
        if received := [request for request in requests if request.has_reply()]:
            return received
        poll = select.poll()
        for file in (self._read, *(request.fileno() for request in requests)):
            poll.register(file, select.POLLIN)
        ready = {file for file, _ in poll.poll(max(0.0, timeout) * 1000)}
        if self._read in ready:
            with suppress(BlockingIOError):
                while os.read(self._read, 4096):
                    pass
        return [request for request in requests if request.fileno() in ready]

    def _end_request(self) -> None:
        """Have the server end the wait, by a token that nobody else waits for.

        `CLIENT UNBLOCK` would need no key, but of a client that `CLIENT PAUSE` holds up, as in a
        failover, it crashes servers older than the summer of 2025 (valkey-io/valkey#2111).
        """
        self._broker.call(wake_worker(self._own_key))
        poll = select.poll()
        poll.register(self._tokens, select.POLLIN)
        if not self._tokens.has_reply() and not poll.poll(_END_S * 1000):
            raise Lost("no reply")

    def close(self) -> None:
        """Close the connections and the pipe."""
        self._close_requests()
        os.close(self._read)
        os.close(self._write)

    def _close_requests(self) -> None:
        self._tokens.close()
        self._extra.close()
