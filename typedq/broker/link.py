"""One connection to the server, with one unanswered request at a time; `async_link` is the other.

Nothing is sent a second time here: one resend against a stalled server became a second message.
What may be sent again, and under which lane and number, is decided in `dialogue`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

from typedq.addresses import Address
from typedq.broker.connecting import dial, locate, moves_about
from typedq.broker.script import Argument
from typedq.broker.wire import Lost, NotSent, Refused, pack

REPLY_TIMEOUT_S = 5.0
# The server that answers so did nothing: another takes the writes now, or soon.
MOVED_ON = frozenset(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN"))


class Lane:
    """A numbered lane of enqueues, so that the server can tell a resend from a new message."""

    def __init__(self) -> None:
        self.retire()

    def retire(self) -> None:
        """Never use the old lane again; start another at its first number."""
        self.lane, self.seq = os.urandom(8).hex(), 1


class Line(Lane):
    """What both kinds of link have in common."""

    _wire: Any = None

    def __init__(self, address: Address, tag: str, deadline_s: float) -> None:
        super().__init__()
        self._address, self._tag = address, tag
        self._wait = min(REPLY_TIMEOUT_S, deadline_s)

    @contextmanager
    def before_sending(self) -> Generator[None]:
        try:
            yield
        except Lost as error:
            raise NotSent(str(error) or "timed out") from error
        except Refused as error:
            self.refuse(error)

    def refuse(self, reply: Refused) -> None:
        if reply.code in MOVED_ON and moves_about(self._address):
            self.close()  # the next request looks for the server anew
        elif reply.code != "LOADING" and "max number of clients" not in str(reply):
            raise reply
        raise NotSent(str(reply)) from reply

    def close(self) -> None:
        """Close the connection; the lane stays."""
        if self._wire:
            self._wire.close()


@final
class Link(Line):
    """A blocking connection. Raises what `Lost` and `Refused` name."""

    def connect(self) -> None:
        """Connect if it is not connected. Raises `NotSent`."""
        if not self._wire or self._wire.closed:
            with self.before_sending():
                place = locate(self._address, self._tag)
                self._wire = dial(self._address, place, self._wait)

    def ask(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply."""
        self.send(command)
        return self.reply()

    def send(self, *commands: Sequence[Argument]) -> None:
        """Send commands at once; `reply` reads the answer, `fileno` tells when there is one."""
        self.connect()
        self._wire.send(b"".join([pack(tuple(command)) for command in commands]))

    def reply(self) -> Any:
        """Read the reply to what was sent."""
        reply = self._wire.reply()
        if isinstance(reply, Refused):
            self.refuse(reply)
        return reply

    def replies(self, count: int) -> list[Any]:
        """Read the replies to commands that were sent at once; one that is an error is in it."""
        replies: list[Any] = self._wire.replies(count)
        return replies

    @property
    def id(self) -> int:
        """The server's number for this connection, as in `CLIENT LIST`."""
        return int(self._wire.id)

    def fileno(self) -> int:
        """The socket, to be waited on beside other things."""
        return int(self._wire.socket.fileno())
