"""Wait for several things at once: a wake token, a signal, a call from another thread."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, final

import msgspec

from typedq.broker import Broker
from typedq.broker.connections import result_of
from typedq.broker.failures import Failure, Lost, Refused
from typedq.broker.operations import wake_worker
from typedq.broker.script import Operation
from typedq.errors import ServerError
from typedq.process import WORKER_SIGNALS

T = TypeVar("T")
_BLOCK_S = 2  # timeout of a `BLPOP`; for so long, a dead process may still be given a token
_END_S = 2.0  # a `BLPOP` that does not end this long after `_end_request` counts as lost
_PAUSE_S = 0.1  # after a failure


class Woken(msgspec.Struct, frozen=True):
    """What ended a wait.

    token: the index of the key whose token was taken, or None
    result: of the pipelined operation; None if the server did not run it, or if that is unknown,
        which was counted as a lost connection
    """

    token: int | None = None
    result: Any = None


@final
class _Request:
    """A command that blocks at the server, on a connection of its own."""

    def __init__(self, broker: Broker) -> None:
        self._connection, self._sent_at = broker.connection(), 0.0

    def send(self, command: Operation[Any], then: Operation[Any] | None = None) -> None:
        """Send `command`, with `then` pipelined after it, unless a reply is still outstanding."""
        now = time.monotonic()
        if not self._sent_at:
            self._connection.close_if_stale()
            self._connection.send(command, then)
            self._sent_at = now
        elif now - self._sent_at > 2 * _BLOCK_S:
            raise Lost("no reply")

    def read(self, command: Operation[T], then: Operation[Any] | None = None) -> tuple[T, Any]:
        """Return the results of `command` and `then`; None for `then` if the server refused it."""
        first, second = result_of(command, self._connection.read()), None
        if then:
            try:
                second = result_of(then, self._connection.read())
            except Refused:  # such as for an unknown script
                second = None  # the fetch that follows sends the script, or meets the same refusal
        self._sent_at = 0.0
        return first, second

    def has_reply(self) -> bool:
        """Return True if a reply was received, also where the socket does not show it."""
        return bool(self._sent_at) and self._connection.has_reply()

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close the connection; the server may have run what was sent, or may still run it."""
        if self._sent_at:
            self._connection.count_loss()
        self._sent_at = 0.0
        self._connection.close()


@final
class Waiter:
    """Blocks on wake tokens at the server and on a pipe of its own at the same time.

    persistent: a `BLPOP` continues after something else has ended the wait; only for a process
        that is never too busy to act on a token
    extra_request: returns another command that blocks, or None; if its result is true, it counts
        as a token of one more key, behind the last
    """

    def __init__(
        self,
        broker: Broker,
        keys: Sequence[str],
        *,
        persistent: bool = False,
        extra_request: Callable[[], Operation[bool] | None] = lambda: None,
    ) -> None:
        broker.use_worker_name()
        self._keys = list(keys)
        self._own_key = broker.keys.wake(f"_{os.urandom(8).hex()}")
        self._wait_for_token = Operation("BLPOP", [*keys, self._own_key], [_BLOCK_S], self._index)
        self._broker, self._tokens, self._extra = broker, _Request(broker), _Request(broker)
        self._persistent, self._extra_request = persistent, extra_request
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def on_signals(self) -> None:
        """Let every signal end a wait; unblock the signals of a worker. Main thread only."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WORKER_SIGNALS)

    def wake(self) -> None:
        """End a wait, from any thread or process that shares the pipe."""
        with suppress(BlockingIOError):  # a full pipe ends the wait as well
            os.write(self._write, b"\0")

    def wait(self, timeout: float, *, tokens: bool = True) -> int | None:
        """Return the index of the key whose token was taken, or None after anything else.

        Waits up to `timeout` seconds, for tokens only if `tokens`.
        """
        return self._try_to_wait(timeout, tokens, None).token

    def wait_and_run(self, timeout: float, then: Operation[Any]) -> Woken:
        """Wait for a token, with `then` pipelined after the `BLPOP`, which saves a round trip.

        The server runs `then` when the `BLPOP` ends, for whatever reason.
        """
        return self._try_to_wait(timeout, True, then)

    def _try_to_wait(self, timeout: float, tokens: bool, then: Operation[Any] | None) -> Woken:
        try:
            return self._wait(timeout, tokens, then)
        except (Failure, ServerError):
            self._close_requests()
            self._poll([], min(timeout, _PAUSE_S))
            return Woken()

    def _wait(self, timeout: float, tokens: bool, then: Operation[Any] | None) -> Woken:
        requests: list[_Request] = []
        if tokens:
            self._tokens.send(self._wait_for_token, then)
            requests.append(self._tokens)
        if extra := self._extra_request():
            self._extra.send(extra)
            requests.append(self._extra)
        ready = self._poll(requests, timeout)
        if extra and self._extra in ready:
            return Woken(len(self._keys) if self._extra.read(extra)[0] else None)
        if not tokens:
            return Woken()
        if self._tokens not in ready:
            if self._persistent:
                return Woken()
            # A worker that is about to be busy must not take a token: end the request first.
            self._end_request()
        return Woken(*self._tokens.read(self._wait_for_token, then))

    def _index(self, reply: list[bytes] | None) -> int | None:
        """Return the index of the key whose token a `BLPOP` took; None if nothing came in time."""
        key = self._own_key if reply is None else reply[0].decode()
        return None if key == self._own_key else self._keys.index(key)

    def _poll(self, requests: Sequence[_Request], timeout: float) -> list[_Request]:
        """Wait for a reply or the pipe; return the requests that have a reply, and empty the pipe.

        It uses `poll`, because `select` fails for file descriptors beyond 1,024.
        """
        if received := [request for request in requests if request.has_reply()]:
            return received
        poll, files = select.poll(), {request.fileno(): request for request in requests}
        for file in (self._read, *files):
            poll.register(file, select.POLLIN)
        ready = [file for file, _ in poll.poll(max(0.0, timeout) * 1000)]
        if self._read in ready:
            with suppress(BlockingIOError):
                while os.read(self._read, 4096):
                    pass
        return [files[file] for file in ready if file in files]

    def _end_request(self) -> None:
        """End the `BLPOP` by pushing a token to a key that nobody else waits for.

        `CLIENT UNBLOCK` needs no key, but it crashes servers older than the summer of 2025 if
        `CLIENT PAUSE` holds the client up, as in a failover (valkey-io/valkey#2111).
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
