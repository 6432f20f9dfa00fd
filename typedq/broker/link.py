"""One connection to the server, with one unanswered request at a time; a sync and an async kind.

Nothing is sent a second time here: one resend against a stalled server became a second message.
What may be sent again, and under which lane and number, is decided in `dialogue`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

from typedq.addresses import Address
from typedq.broker.connecting import adial, dial, locate, moves_about
from typedq.broker.script import Argument
from typedq.broker.wire import Lost, NotTaken, Refused, pack

REPLY_TIMEOUT_S = 5.0
# The server that answers so did nothing: another takes the writes now, or soon.
MOVED_ON = frozenset(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN"))


class Lane:
    """A numbered lane of enqueues, so that the server can tell a resend from a new message."""

    def __init__(self) -> None:
        self.retire()

    def retire(self) -> None:
        """Never use the old lane again; start another at its first number."""
        self.lane, self.seq = secrets.token_hex(8), 1


class _Line(Lane):
    _wire: Any = None

    def __init__(self, address: Address, tag: str, deadline_s: float) -> None:
        super().__init__()
        self._address, self._tag = address, tag
        self._wait = min(REPLY_TIMEOUT_S, deadline_s)

    @contextmanager
    def _before_sending(self) -> Generator[None]:
        try:
            yield
        except Lost as error:
            raise NotTaken(str(error) or "timed out") from error
        except Refused as error:
            self._refuse(error)

    def _refuse(self, reply: Refused) -> None:
        if reply.code in MOVED_ON and moves_about(self._address):
            self.close()  # the next request looks for the server anew
        elif reply.code != "LOADING" and "max number of clients" not in str(reply):
            raise reply
        raise NotTaken(str(reply)) from reply

    def close(self) -> None:
        """Close the connection; the lane stays."""
        if self._wire:
            self._wire.close()


@final
class Link(_Line):
    """A blocking connection. Raises what `Lost` and `Refused` name."""

    def connect(self) -> None:
        """Connect if it is not connected. Raises `NotTaken`."""
        if not self._wire or self._wire.closed:
            with self._before_sending():
                place = locate(self._address, self._tag)
                self._wire = dial(self._address, place, self._wait)

    def ask(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply."""
        self.send(command)
        return self.reply()

    def send(self, command: Sequence[Argument]) -> None:
        """Send a command; `reply` reads its answer, `fileno` tells when there is one."""
        self.connect()
        self._wire.send(pack(tuple(command)))

    def reply(self) -> Any:
        """Read the reply to what was sent."""
        reply = self._wire.reply()
        if isinstance(reply, Refused):
            self._refuse(reply)
        return reply

    @property
    def id(self) -> int:
        """The server's number for this connection, by which another can unblock it."""
        return int(self._wire.id)

    def fileno(self) -> int:
        """The socket, to be waited on beside other things."""
        return int(self._wire.socket.fileno())


@final
class AsyncLink(_Line):
    """The same for one event loop."""

    async def ask(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply."""
        if not self._wire or self._wire.closed:
            with self._before_sending():
                async with asyncio.timeout(self._wait):
                    self._wire = await self._dial()
        reply = await self._wire.ask(*command, wait_s=self._wait)
        if isinstance(reply, Refused):
            self._refuse(reply)
        return reply

    async def _dial(self) -> Any:
        where = self._address, self._tag
        moves = moves_about(self._address)
        place = await asyncio.to_thread(locate, *where) if moves else locate(*where)
        return await adial(self._address, place, self._wait)
