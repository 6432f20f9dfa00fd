"""The unsafe floor one by one: RPUSH and BLPOP with nothing else."""

from __future__ import annotations

import msgspec

from benchmarks.contenders.floor_batch import aone, one
from benchmarks.contenders.floor_batch import bulk as fill
from benchmarks.contenders.floor_safe import workers
from benchmarks.contenders.wire import Wire
from benchmarks.ticks import tick

__all__ = ["aone", "fill", "one"]
_decode = msgspec.json.Decoder().decode


def child() -> None:
    wire = Wire()
    while True:
        if got := wire("BLPOP", "ready", 1):
            _decode(got[1][5:])
            tick()


if __name__ == "__main__":
    workers(child)
