"""Bytes to and from one server: a request, then its reply; that of a loop is in `async_link`.

Whatever comes between, an error, a late reply, a signal or a cancellation, closes the wire: the
next request would take the old reply for its own.
"""

from __future__ import annotations

import os
import socket
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

import hiredis

from typedq.broker.script import Argument

LEAST, MOST = 1 << 12, 1 << 17  # bytes that are read at once
MORE = object()  # not hiredis' own False, which a server may say
UNASKED = "the server said more than it was asked"
LATE, CLOSED = "timed out", "connection closed by server"
_untyped: Any = hiredis  # its stub knows commands of one word only
pack: Callable[[tuple[Argument, ...]], bytes] = _untyped.pack_command

Lost = OSError


class NotSent(Exception):
    """The request was certainly not carried out: no connection, or the server is still loading."""


class Refused(Exception):
    """The server's reply is an error; `code` is its first word."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.code = told.partition(" ")[0]


FAILURES = (Lost, NotSent, Refused)


def accepted(reply: Any) -> Any:
    """Return a reply, or raise it."""
    if isinstance(reply, Refused):
        raise reply
    return reply


class ContractReader:
    """What both kinds of wire have in common."""

    closed = False

    def __init__(self) -> None:
        self._reader = hiredis.Reader(ConnectionError, Refused, notEnoughData=MORE)
        # Its own: asyncio would allocate 256 kB for each reply, which costs more than the rest.
        # A view, since asyncio's TLS writes into slices: those of a bytearray are copies.
        self.buffer: Any = memoryview(bytearray(LEAST))
        self.id = 0  # the server's number for this connection

    def read(self, size: int) -> Any:
        """Return the reply that ends with what came into the buffer, or `MORE`."""
        self._feed(size)
        reply = self._reader.gets()
        if reply is not MORE and self._reader.has_data():
            raise ConnectionError(UNASKED)
        return reply

    def _feed(self, size: int) -> None:
        self._reader.feed(self.buffer, 0, size)
        if size == len(self.buffer) < MOST:  # most connections never hear so much at once
            self.buffer = memoryview(bytearray(2 * size))


@final
class Wire(ContractReader):
    """A blocking one. Raises OSError; a reply that is an error is returned."""

    def __init__(self, sock: socket.socket, wait_s: float) -> None:
        super().__init__()
        sock.settimeout(wait_s)
        self._is_plain = type(sock) is socket.socket and sys.platform != "win32"
        self.socket, self._owner = sock, os.getpid()
        # Before the socket complains of being left open; but what runs at exit may still send.
        weakref.finalize(self, sock.close).atexit = False

    def send(self, packed: bytes) -> None:
        try:
            sent = self._begin(packed) if self._is_plain else 0
            if sent < len(packed):
                self.socket.sendall(packed[sent:])
        except BaseException:
            self.close()
            raise

    def _begin(self, packed: bytes) -> int:
        """Send what can be sent at once: Python would ask first whether anything can."""
        try:
            return os.write(self.socket.fileno(), packed)
        except BlockingIOError:
            return 0

    def reply(self) -> Any:
        try:
            while size := self.socket.recv_into(self.buffer):
                if (reply := self.read(size)) is not MORE:
                    return reply
            raise ConnectionError(CLOSED)
        except BaseException:
            self.close()
            raise

    def replies(self, count: int) -> list[Any]:
        """The replies to as many requests that were sent at once."""
        found: list[Any] = []
        try:
            while len(found) < count:
                if not (size := self.socket.recv_into(self.buffer)):
                    raise ConnectionError(CLOSED)
                self._feed(size)
                found += iter(self._reader.gets, MORE)
            if len(found) > count or self._reader.has_data():
                raise ConnectionError(UNASKED)
        except BaseException:
            self.close()
            raise
        return found

    def ask(self, *command: Argument) -> Any:
        self.send(pack(command))
        return self.reply()

    def close(self) -> None:
        self.closed = True
        if os.getpid() == self._owner:  # a fork closes its copy, not the connection of its parent
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
