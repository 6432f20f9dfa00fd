"""Bytes to and from one server: a request, then its reply, over a socket or an event loop.

Whatever comes between, an error, a late reply, a signal or a cancellation, closes the wire: the
next request would take the old reply for its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

import hiredis

from typedq.broker.script import Argument

_MORE = object()  # not hiredis' own False, which a server may say
_UNASKED = "the server said more than it was asked"
_LATE = "timed out"
_untyped: Any = hiredis  # its stub knows commands of one word only
pack: Callable[[tuple[Argument, ...]], bytes] = _untyped.pack_command

Lost = OSError


class NotTaken(Exception):
    """The request was certainly not carried out: no connection, or the server is still loading."""


class Refused(Exception):
    """The server's reply is an error; `code` is its first word."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.code = told.partition(" ")[0]


def accepted(reply: Any) -> Any:
    """Return a reply, or raise it."""
    if isinstance(reply, Refused):
        raise reply
    return reply


class _Wire:
    closed = False

    def __init__(self) -> None:
        self._reader = hiredis.Reader(ConnectionError, Refused, notEnoughData=_MORE)
        # Its own: asyncio would allocate 256 kB for each reply, which costs more than the rest.
        # A view, since asyncio's TLS writes into slices: those of a bytearray are copies.
        self._buffer: Any = memoryview(bytearray(1 << 15))
        self.id = 0  # the server's number for this connection

    def _read(self, size: int) -> Any:
        """Return the reply that ends with what came into the buffer, or `_MORE`."""
        self._reader.feed(self._buffer, 0, size)
        reply = self._reader.gets()
        if reply is not _MORE and self._reader.has_data():
            raise ConnectionError(_UNASKED)
        return reply


@final
class Wire(_Wire):
    """A blocking one. Raises OSError; a reply that is an error is returned."""

    def __init__(self, sock: socket.socket, wait_s: float) -> None:
        super().__init__()
        _bound(sock, wait_s)
        self.socket, self._owner = sock, os.getpid()
        # Before the socket complains of being left open; but what runs at exit may still send.
        weakref.finalize(self, sock.close).atexit = False

    def send(self, packed: bytes) -> None:
        try:
            self.socket.sendall(packed)
        except BlockingIOError:
            self.close()
            raise TimeoutError(_LATE) from None
        except BaseException:
            self.close()
            raise

    def reply(self) -> Any:
        try:
            while size := self.socket.recv_into(self._buffer):
                if (reply := self._read(size)) is not _MORE:
                    return reply
            raise ConnectionError("connection closed by server")
        except BlockingIOError:
            self.close()
            raise TimeoutError(_LATE) from None
        except BaseException:
            self.close()
            raise

    def ask(self, *command: Argument) -> Any:
        self.send(pack(command))
        return self.reply()

    def close(self) -> None:
        self.closed = True
        if os.getpid() == self._owner:  # a fork closes its copy, not the connection of its parent
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _bound(sock: socket.socket, wait_s: float) -> None:
    """Bound how long it is waited for, by the kernel: Python would poll before each call for it."""
    if type(sock) is not socket.socket or sys.platform == "win32":  # TLS reads several times
        sock.settimeout(wait_s)
        return
    sock.settimeout(None)
    seconds, rest = divmod(wait_s, 1.0)
    timeval = struct.pack("@ll", int(seconds), int(rest * 1e6))
    for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, way, timeval)


@final
class AsyncWire(_Wire, asyncio.BufferedProtocol):
    """The same for one event loop."""

    _transport: asyncio.Transport
    _lost: Exception | None = None
    _answer: asyncio.Future[Any] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()

    def get_buffer(self, sizehint: int) -> Any:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._answer is None:
                raise ConnectionError(_UNASKED)
            reply = self._read(nbytes)
            if reply is not _MORE and not self._answer.done():
                self._answer.set_result(reply)
        except ConnectionError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("connection closed by server"))

    def _fail(self, error: Exception) -> None:
        self._lost = self._lost or error
        self._transport.abort()
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)

    async def ask(self, *command: Argument, wait_s: float) -> Any:
        packed = pack(command)
        try:
            if self._lost:
                raise self._lost
            self._answer = self._loop.create_future()
            self._transport.write(packed)
            timer = self._loop.call_later(wait_s, self._fail, TimeoutError(_LATE))
            try:
                return await self._answer
            finally:
                timer.cancel()
                self._answer = None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.closed = True
        with suppress(RuntimeError):  # the loop may be closed by now
            self._transport.abort()
