"""Wire and link of an event loop: what `wire`, `connecting` and `link` are for blocking calls.

Imported with the first awaited call, since asyncio takes more time and memory than all the rest.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, final

from typedq.addresses import Address
from typedq.broker.connecting import Place, at, hello, locate, moves_about, tls_of, welcome
from typedq.broker.link import Line
from typedq.broker.script import Argument
from typedq.broker.wire import CLOSED, LATE, MORE, UNASKED, ContractReader, Refused, accepted, pack


@final
class AsyncWire(ContractReader, asyncio.BufferedProtocol):
    """As `Wire`, for one event loop."""

    _transport: asyncio.Transport
    _lost: Exception | None = None
    _answer: asyncio.Future[Any] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()

    def get_buffer(self, sizehint: int) -> Any:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._answer is None:
                raise ConnectionError(UNASKED)
            reply = self.read(nbytes)
            if reply is not MORE and not self._answer.done():
                self._answer.set_result(reply)
        except ConnectionError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError(CLOSED))

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
            timer = self._loop.call_later(wait_s, self._fail, TimeoutError(LATE))
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


async def adial(address: Address, place: Place, wait_s: float) -> AsyncWire:
    """As `dial`, for the running event loop."""
    loop = asyncio.get_running_loop()
    with at(place):
        if address.kind == "unix":
            transport, wire = await loop.create_unix_connection(AsyncWire, place[0])
        else:
            transport, wire = await loop.create_connection(AsyncWire, *place, ssl=tls_of(address))
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            welcome(await wire.ask(*hello(address), wait_s=wait_s))
            if address.db:
                accepted(await wire.ask("SELECT", address.db, wait_s=wait_s))
        except BaseException:
            wire.close()
            raise
    return wire


@final
class AsyncLink(Line):
    """As `Link`, for one event loop."""

    async def ask(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply."""
        if not self._wire or self._wire.closed:
            with self.before_sending():
                async with asyncio.timeout(self._wait):
                    self._wire = await self._dial()
        reply = await self._wire.ask(*command, wait_s=self._wait)
        if isinstance(reply, Refused):
            self.refuse(reply)
        return reply

    async def _dial(self) -> Any:
        where = self._address, self._tag
        moves = moves_about(self._address)
        place = await asyncio.to_thread(locate, *where) if moves else locate(*where)
        return await adial(self._address, place, self._wait)
