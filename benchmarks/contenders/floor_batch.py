"""An unsafe floor: pop 100 messages at a time, acknowledge nothing, check nothing."""

# ruff: noqa: ARG001 - every contender has the same functions
from __future__ import annotations

import msgspec

from benchmarks.contenders.floor import run_worker
from benchmarks.contenders.floor_connection import AsyncClient, Client
from benchmarks.contenders.message import ARGUMENTS
from benchmarks.runs import record_run

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
_clients: list[Client] = []
_async_clients: list[AsyncClient] = []


def enqueue_many(task: str, count: int) -> None:
    if not _clients:
        _clients.append(Client())
    _clients[0]("RPUSH", "ready", *(b"noop " + _encode(ARGUMENTS) for _ in range(count)))


def enqueue(task: str) -> None:
    enqueue_many(task, 1)


async def aenqueue(task: str) -> None:
    if not _async_clients:
        client = AsyncClient()
        await client.connect()
        _async_clients.append(client)
    await _async_clients[0]("RPUSH", "ready", b"noop " + _encode(ARGUMENTS))


def run_child() -> None:
    client = Client()
    while True:
        reply: list[bytes] = client("LPOP", "ready", 100) or client("BLPOP", "ready", 1) or []
        for message in reply:
            if message != b"ready":  # BLPOP returns the key, too
                _decode(message[5:])
                record_run()


if __name__ == "__main__":
    run_worker(run_child)
