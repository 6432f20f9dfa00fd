"""The floor: the least a safe queue does on redis-py. The yardstick, not a rival.

At least once: a message is in flight, in its session's hash, from the fetch until it is settled.
Fenced: only the session that holds a message can settle it. Idempotent: an enqueue carries a
producer id and a sequence number, so a resend after a network error creates no duplicate. Checked:
the producer encodes the arguments and decodes them strictly; the worker decodes them again. One
script settles a batch of up to 64 messages and fetches the next. Everything else that a queue is
used for (limits, retries, priorities, delays, middleware, logs, recovery) is left out.
"""

# ruff: noqa: ARG001 - every contender has the same functions
from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable

import msgspec
import redis

from benchmarks.contenders.floor_connection import AsyncClient, Client, pack
from benchmarks.contenders.message import ARGUMENTS
from benchmarks.runs import record_run

BATCH = 64
SETTLE_AND_FETCH = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == false then return {} end
if #ARGV > 2 then redis.call('HDEL', KEYS[2], unpack(ARGV, 3)) end
local fetched = redis.call('LPOP', KEYS[3], ARGV[2])
if not fetched then redis.call('DEL', KEYS[4]) return {} end
local in_flight = {}
for i, m in ipairs(fetched) do in_flight[2 * i - 1], in_flight[2 * i] = string.sub(m, 1, 26), m end
redis.call('HSET', KEYS[2], unpack(in_flight))
if redis.call('LLEN', KEYS[3]) > 0 and redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], '1')
end
return fetched
"""
ENQUEUE = """
if tonumber(ARGV[1]) <= tonumber(redis.call('GET', KEYS[1]) or '0') then return 'seen' end
redis.call('RPUSH', KEYS[2], unpack(ARGV, 2))
if redis.call('LLEN', KEYS[3]) == 0 then redis.call('RPUSH', KEYS[3], '1') end
redis.call('SET', KEYS[1], ARGV[1], 'EX', 3600)
return 'ok'
"""


class Mail(msgspec.Struct):
    user_id: int
    address: str
    template: str
    urgent: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Mail).decode
_TASKS = {b"noop": record_run}
_SHA = hashlib.sha1(ENQUEUE.encode(), usedforsecurity=False).hexdigest()
_process, _numbers = secrets.token_hex(5)[:9], itertools.count()


def _messages(count: int) -> list[bytes]:
    start = f"{time.time_ns() // 1_000_000:011x}{_process}".encode()
    messages = list[bytes]()
    for number in itertools.islice(_numbers, count):
        body = _encode(Mail(**ARGUMENTS))
        _decode(body)
        messages.append(b"%b%06x noop %b" % (start, number, body))
    return messages


class Producer:
    """One connection with a producer id, under which at most one request is unanswered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._id, self._sequence = f"producer:{secrets.token_hex(8)}", itertools.count(1)
        client("SCRIPT", "LOAD", ENQUEUE)

    def enqueue(self, count: int) -> None:
        """Enqueue all or nothing, once, even if the server has closed the idle connection."""
        packed = _packed(self._id, next(self._sequence), count)
        try:
            self._client.send(packed)
        except redis.ConnectionError:
            self._client.connect()
            self._client.send(packed)


class AsyncProducer:
    """The same for one event loop."""

    def __init__(self) -> None:
        self._client = AsyncClient()
        self._id, self._sequence = f"producer:{secrets.token_hex(8)}", itertools.count(1)

    async def connect(self) -> None:
        await self._client.connect()
        await self._client("SCRIPT", "LOAD", ENQUEUE)

    async def enqueue(self, count: int) -> None:
        packed = _packed(self._id, next(self._sequence), count)
        try:
            await self._client.send(packed)
        except redis.ConnectionError:
            await self._client.connect()
            await self._client.send(packed)


def _packed(producer: str, sequence: int, count: int) -> bytes:
    keys = (producer, "ready", "wake")
    return pack("EVALSHA", _SHA, len(keys), *keys, sequence, *_messages(count))


_producers: list[Producer] = []
_async_producers: list[AsyncProducer] = []


def enqueue_many(task: str, count: int) -> None:
    if not _producers:
        _producers.append(Producer(Client()))
    _producers[0].enqueue(count)


def enqueue(task: str) -> None:
    enqueue_many(task, 1)


async def aenqueue(task: str) -> None:
    if not _async_producers:
        producer = AsyncProducer()
        await producer.connect()
        _async_producers.append(producer)
    await _async_producers[0].enqueue(1)


def run_child(batch: int = BATCH) -> None:
    """Fetch, run and settle messages, a batch in each round trip."""
    client, session = Client(), secrets.token_hex(8)
    sha = client("SCRIPT", "LOAD", SETTLE_AND_FETCH)
    client("ZADD", "sessions", int(time.time()) + 30, session)
    fetch = ("EVALSHA", sha, 4, "sessions", f"flight:{session}", "ready", "wake", session, batch)
    done = list[bytes]()
    while True:
        messages = client(*fetch, *done)
        done.clear()
        if not messages:
            client("BLPOP", "wake", 1)
        for message in messages:
            task, _, body = message[27:].partition(b" ")
            _decode(body)
            _TASKS[task]()
            done.append(message[:26])


def run_worker(child: Callable[[], None]) -> None:
    """Fork two children; the parent only waits and passes SIGTERM on."""
    children = list[int]()
    for _ in range(2):
        if not (pid := os.fork()):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            child()
            os._exit(0)
        children.append(pid)

    def stop(*_: object) -> None:
        for pid in children:
            os.kill(pid, signal.SIGTERM)
        sys.exit()

    signal.signal(signal.SIGTERM, stop)
    while True:
        signal.pause()


if __name__ == "__main__":
    run_worker(run_child)
