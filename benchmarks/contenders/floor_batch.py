"""The unsafe batch floor: pops 100 at a time, acknowledges nothing, checks nothing."""

# ruff: noqa: ARG001 - every side has the same functions, and tasks that use no argument
from __future__ import annotations

from typing import Any

import msgspec

from benchmarks.contenders.floor_safe import workers
from benchmarks.contenders.message import ARGUMENTS
from benchmarks.contenders.wire import AsyncWire, Wire
from benchmarks.ticks import tick

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
_wires: dict[str, Any] = {}


def bulk(task: str, count: int) -> None:
    wire: Wire = _wires.get("sync") or _wires.setdefault("sync", Wire())
    wire("RPUSH", "ready", *(b"noop " + _encode(ARGUMENTS) for _ in range(count)))


def one(task: str) -> None:
    bulk(task, 1)


async def aone(task: str) -> None:
    wire: AsyncWire = _wires.get("async") or _wires.setdefault("async", AsyncWire())
    await wire("RPUSH", "ready", b"noop " + _encode(ARGUMENTS))


def child() -> None:
    wire = Wire()
    while True:
        got: list[bytes] = wire("LPOP", "ready", 100) or wire("BLPOP", "ready", 1) or []
        for message in got:
            if len(message) > 5:  # BLPOP answers the key, too
                _decode(message[5:])
                tick()


if __name__ == "__main__":
    workers(child)
