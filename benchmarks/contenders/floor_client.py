"""The safe floor on the client library instead of a bare socket, as a queue would be written."""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import Connection as AsyncConnection
from redis.connection import Connection

from benchmarks.contenders import floor_safe, wire
from benchmarks.contenders.floor_safe import aone, bulk, one
from benchmarks.contenders.message import PORT

__all__ = ["aone", "bulk", "one"]


class Client:
    """redis-py, without its pool and retries."""

    def __init__(self) -> None:
        self._connection: Any = Connection(port=PORT)

    def __call__(self, *words: str | bytes | int) -> Any:
        self._connection.send_command(*words, check_health=False)
        return self._connection.read_response()


class AsyncClient:
    """Its asyncio half."""

    def __init__(self) -> None:
        self._connection: Any = AsyncConnection(port=PORT)

    async def __call__(self, *words: str | bytes | int) -> Any:
        if not self._connection.is_connected:
            await self._connection.connect()
        await self._connection.send_command(*words, check_health=False)
        return await self._connection.read_response()


wire.connect, wire.aconnect = Client, AsyncClient

if __name__ == "__main__":
    floor_safe.workers(floor_safe.child)
