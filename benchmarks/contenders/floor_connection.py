"""redis-py for the floors: one connection, commands packed by us, one request at a time.

No pool, no retries, no health checks: a floor pays for the library's connection and for nothing
else. Protocol 2 and no driver info save the handshake's commands.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio.connection import Connection as AsyncConnection
from redis.connection import Connection

from benchmarks.contenders.message import PORT

TIMEOUT_S = 10.0
_OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": PORT,
    "protocol": 2,
    "driver_info": None,
    "socket_connect_timeout": TIMEOUT_S,
}


def pack(*words: str | bytes | int) -> bytes:
    """Encode a command; the result can be sent again after a failure."""
    packed: bytes = pack_command(cast("Any", words))
    return packed


class Client:
    """A blocking connection, made and used by one thread."""

    def __init__(self) -> None:
        connection: Any = Connection
        self._connection = connection(**_OPTIONS, socket_timeout=TIMEOUT_S)
        self.connect()

    def connect(self) -> None:
        """Connect apart from sending, so that a failure to send is never a failure to connect."""
        self._connection.connect()

    def send(self, packed: bytes) -> Any:
        """Return the reply to one packed command."""
        try:
            self._connection.send_packed_command([packed], check_health=False)
            return self._connection.read_response()
        except BaseException:
            # Otherwise the next request would read the reply to this one.
            self._connection.disconnect()
            raise

    def __call__(self, *words: str | bytes | int) -> Any:
        return self.send(pack(*words))


class AsyncClient:
    """The same on the event loop that it is first used on."""

    def __init__(self) -> None:
        # One timer for a whole request is cheaper than redis-py's, which are one for each half.
        self._connection: Any = AsyncConnection(**_OPTIONS, socket_timeout=None)

    async def connect(self) -> None:
        await self._connection.connect()

    async def send(self, packed: bytes) -> Any:
        """Return the reply to one packed command."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._connection.send_packed_command([packed], check_health=False)
                return await self._connection.read_response()
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise

    async def __call__(self, *words: str | bytes | int) -> Any:
        return await self.send(pack(*words))
