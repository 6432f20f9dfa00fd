"""Waiting for several things at once: a wake token, a signal, a word from another thread."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, final

from typedq.broker import Broker
from typedq.broker.link import Link
from typedq.broker.operations import wake_worker
from typedq.broker.script import Argument
from typedq.broker.wire import FAILURES, Refused
from typedq.errors import ServerError

_FAILURES = (*FAILURES, ServerError)  # of the links here, and of the broker's
_BLOCK_S = 5
_BACK_S = 2.0  # what does not end within this, though called back, is a lost connection
_LATE_S = 0.5  # an answer to a wait that the server ends may be late by this


@final
class _Question:
    """A request that blocks at the server, on a link of its own."""

    def __init__(self, broker: Broker) -> None:
        self.link, self._asked = broker.link(), 0.0

    def ask(self, *commands: Sequence[Argument]) -> Link:
        """Ask, unless the answer to the last time is still to come; select tells when it is."""
        now = time.monotonic()
        if not self._asked:
            self.link.send(*commands)
            self._asked = now
        elif now - self._asked > 2 * _BLOCK_S:
            raise TimeoutError("no reply")
        return self.link

    def reply(self) -> Any:
        """Read the answer; None if nothing came in time."""
        self._asked = 0.0
        return self.link.reply()

    def replies(self) -> list[Any]:
        """Read the answers to the two commands that were asked at once."""
        self._asked = 0.0
        return self.link.replies(2)

    def close(self) -> None:
        """Forget what was asked."""
        self._asked = 0.0
        self.link.close()


@final
class Waiter:
    """Blocks on wake tokens at the server and on a pipe of its own at the same time.

    With `insist`, the request to the server outlives a wait that something else ended: for those
    who are never too busy to act on a token. `news` gives another request that blocks, if there is
    one to make; its reply counts as a token behind the last key.
    """

    def __init__(
        self,
        broker: Broker,
        keys: Sequence[str],
        *,
        insist: bool = False,
        news: Callable[[], Sequence[Argument] | None] = lambda: None,
    ) -> None:
        self._keys = list(keys)
        self._own = broker.keys.wake(f"_{os.urandom(8).hex()}")
        self._broker, self._tokens, self._news = broker, _Question(broker), _Question(broker)
        self._insist, self._ask_for_news = insist, news
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def on_signals(self) -> None:
        """Let every signal end a wait. Main thread only."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def poke(self) -> None:
        """End a wait, from any thread or process that shares the pipe."""
        with suppress(BlockingIOError):  # a full pipe ends the wait as well
            os.write(self._write, b"\0")

    def wait(self, timeout: float, *, tokens: bool = True) -> int | None:
        """Return the place of the key whose token was taken, or None after anything else."""
        try:
            return self._wait(timeout, tokens)
        except _FAILURES:
            self._fail(timeout)
            return None

    def wait_and_ask(self, timeout: float, request: Sequence[Argument]) -> tuple[int | None, Any]:
        """As `wait`; and the reply to a request that is made as soon as the wait is over.

        The server has it from the start and makes it right after the token was taken, before it
        hears of us again: whoever sent the message waits a round trip less. It ends the wait itself
        when `timeout` is over, so that it makes one request at most for who has died or stands
        still. The reply is None when it is not known whether the request was made, and `Refused`
        when the server did not, or not all of it.
        """
        try:
            link = self._tokens.ask(["BLPOP", *self._keys, self._own, f"{timeout:g}"], request)
            if not self._select([self._read, link], timeout + _LATE_S):
                self._take_back()
            taken, reply = self._tokens.replies()
        except _FAILURES:
            self._fail(timeout)
            return None, None
        if isinstance(taken, Refused):
            self._fail(timeout)
            return None, reply
        return self._place(taken), reply

    def _fail(self, timeout: float) -> None:
        self._hang_up()
        select.select([self._read], [], [], min(timeout, 0.1))
        self._drain()

    def _wait(self, timeout: float, tokens: bool) -> int | None:
        ears: list[int | Link] = [self._read]
        if tokens:
            ears.append(self._tokens.ask(["BLPOP", *self._keys, self._own, _BLOCK_S]))
        if command := self._ask_for_news():
            ears.append(self._news.ask(command))
        ready = self._select(ears, timeout)
        if self._news.link in ready:
            return len(self._keys) if self._news.reply() else None
        if not tokens:
            return None
        if self._tokens.link not in ready:
            if self._insist:
                return None
            # Nobody may eat a token and then be busy, so the request is taken back first.
            self._take_back()
        return self._place(self._tokens.reply())

    def _select(self, ears: Sequence[int | Link], timeout: float) -> Sequence[int | Link]:
        """Which of the links can be read; why else the wait ended is forgotten."""
        ready, _, _ = select.select(ears, [], [], timeout)
        if self._read in ready:
            self._drain()
            ready.remove(self._read)
        return ready

    def _place(self, reply: Any) -> int | None:
        key = reply[0].decode() if reply else self._own
        return None if key == self._own else self._keys.index(key)

    def _take_back(self) -> None:
        """Have the server end the wait, by a token that nobody else waits for.

        `CLIENT UNBLOCK` would need no key, but of a client that `CLIENT PAUSE` holds up, as in a
        failover, it crashes servers older than the summer of 2025 (valkey-io/valkey#2111).
        """
        self._broker.call(wake_worker(self._own))
        if not select.select([self._tokens.link], [], [], _BACK_S)[0]:
            raise TimeoutError("no reply")

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        """Give back what was opened."""
        self._hang_up()
        os.close(self._read)
        os.close(self._write)

    def _hang_up(self) -> None:
        for each in (self._tokens, self._news):
            each.close()
