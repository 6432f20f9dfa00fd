"""The safe floor: the least a queue can do that loses nothing, runs nothing twice, checks twice.

At least once: a message is in flight, in a hash of its session, from before it is handed out until
it is settled. Fenced: only who holds a message settles it. Resend-safe: every enqueue has a lane
and a number. Checked: arguments are encoded and decoded strictly by who sends them, and decoded
again by who runs them. One script for up to 64 messages settles the last batch and fetches the
next. What a queue is for beyond that (limits, retries, priorities, delays, hooks, logs) is not
here: it is the yardstick, not a rival.
"""

# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import signal
import sys
import time
from typing import Any

import msgspec

from benchmarks.contenders import wire as wires
from benchmarks.contenders.message import ARGUMENTS
from benchmarks.ticks import tick

BATCH = 64
FETCH = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == false then return {} end
if #ARGV > 2 then redis.call('HDEL', KEYS[2], unpack(ARGV, 3)) end
local got = redis.call('LPOP', KEYS[3], ARGV[2])
if not got then redis.call('DEL', KEYS[4]) return {} end
local held = {}
for i, m in ipairs(got) do held[2 * i - 1], held[2 * i] = string.sub(m, 1, 26), m end
redis.call('HSET', KEYS[2], unpack(held))
if redis.call('LLEN', KEYS[3]) > 0 and redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('RPUSH', KEYS[4], '1')
end
return got
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
_TASKS = {b"noop": tick}
_process, _numbers = secrets.token_hex(5)[:9], itertools.count()
_lane, _seq = f"lane:{secrets.token_hex(8)}", itertools.count(1)
_SHA = hashlib.sha1(ENQUEUE.encode(), usedforsecurity=False).hexdigest()
_wires: dict[str, Any] = {}


def _messages(count: int) -> list[bytes]:
    start = f"{time.time_ns() // 1_000_000:011x}{_process}".encode()
    made = list[bytes]()
    for number in itertools.islice(_numbers, count):
        body = _encode(Mail(**ARGUMENTS))
        _decode(body)
        made.append(b"%b%06x noop %b" % (start, number, body))
    return made


def _command(count: int) -> tuple[str | bytes | int, ...]:
    return ("EVALSHA", _SHA, 3, _lane, "ready", "wake", next(_seq), *_messages(count))


def bulk(task: str, count: int) -> None:
    wire = _wires.get("sync")
    if wire is None:
        wire = _wires["sync"] = wires.connect()
        wire("SCRIPT", "LOAD", ENQUEUE)
    wire(*_command(count))


def one(task: str) -> None:
    bulk(task, 1)


async def aone(task: str) -> None:
    wire = _wires.get("async")
    if wire is None:
        wire = _wires["async"] = wires.aconnect()
        await wire("SCRIPT", "LOAD", ENQUEUE)
    await wire(*_command(1))


def child() -> None:
    wire, session = wires.connect(), secrets.token_hex(8)
    sha = wire("SCRIPT", "LOAD", FETCH)
    wire("ZADD", "sessions", int(time.time()) + 30, session)
    flight, done = f"flight:{session}", list[bytes]()
    while True:
        got = wire("EVALSHA", sha, 4, "sessions", flight, "ready", "wake", session, BATCH, *done)
        done.clear()
        if not got:
            wire("BLPOP", "wake", 1)
        for message in got:
            task, _, body = message[27:].partition(b" ")
            _decode(body)
            _TASKS[task]()
            done.append(message[:26])


def workers(run: Any) -> None:
    """A supervisor that only waits, and two children."""
    children = list[int]()
    for _ in range(2):
        if not (pid := os.fork()):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            run()
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
    workers(child)
