"""The least that talks to Redis from Python: a socket, and hiredis for the wire format."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import hiredis

from benchmarks.contenders.message import PORT


class Wire:
    """A blocking connection."""

    def __init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", PORT))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def __call__(self, *words: str | bytes | int) -> Any:
        self.socket.sendall(hiredis.pack_command(words))  # pyright: ignore[reportArgumentType]
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self.socket.recv(65536))
        if isinstance(reply, Exception):
            raise reply
        return reply


class AsyncWire:
    """The same on an event loop, made in a coroutine."""

    def __init__(self) -> None:
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._reader = hiredis.Reader()

    async def __call__(self, *words: str | bytes | int) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", PORT)
        stream, writer = self._streams
        writer.write(hiredis.pack_command(words))  # pyright: ignore[reportArgumentType]
        while (reply := self._reader.gets()) is False:
            self._reader.feed(await stream.read(65536))
        if isinstance(reply, Exception):
            raise reply
        return reply


connect: Callable[[], Any] = Wire
aconnect: Callable[[], Any] = AsyncWire
