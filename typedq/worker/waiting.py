"""Waiting for several things at once: a wake token, a signal, a word from another thread."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from typedq.broker import Broker
from typedq.broker.link import Link, Lost, NotTaken, Refused

_BLOCK_S = 5


@final
class Waiter:
    """Blocks on wake tokens at the server and on a pipe of its own at the same time.

    With `insist`, the request to the server outlives a wait that something else ended: for those
    who are never too busy to act on a token.
    """

    def __init__(self, broker: Broker, keys: Sequence[str], *, insist: bool = False) -> None:
        self._keys = list(keys)
        self._link, self._aside = broker.link(), broker.link()
        self._insist, self._asked = insist, 0.0
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
        except (*Lost, Refused, NotTaken):
            self._link.close()
            self._aside.close()
            self._asked = 0.0
            select.select([self._read], [], [], min(timeout, 0.1))
            self._drain()
            return None

    def _wait(self, timeout: float, tokens: bool) -> int | None:
        ears: list[int | Link] = [self._read]
        if tokens:
            self._ask()
            ears.append(self._link)
        ready, _, _ = select.select(ears, [], [], timeout)
        self._drain()
        if not tokens:
            return None
        if self._link not in ready:
            if self._insist:
                return None
            # Nobody may eat a token and then be busy, so the request is taken back first.
            self._take_back()
        self._asked = 0.0
        reply = self._link.reply()
        return self._keys.index(reply[0].decode()) if reply else None

    def _ask(self) -> None:
        now = time.monotonic()
        if not self._asked:
            self._link.send(["BLPOP", *self._keys, _BLOCK_S])
            self._asked = now
        elif now - self._asked > 2 * _BLOCK_S:
            raise TimeoutError("no reply")

    def _take_back(self) -> None:
        # The server may read this before the request it is about: then it is said again.
        while True:
            self._aside.ask(["CLIENT", "UNBLOCK", self._link.id])
            if select.select([self._link], [], [], 0.002)[0]:
                return

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        """Give back what was opened."""
        self._link.close()
        self._aside.close()
        os.close(self._read)
        os.close(self._write)
