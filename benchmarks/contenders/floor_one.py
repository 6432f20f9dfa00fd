"""An unsafe floor, one message at a time: RPUSH and BLPOP with nothing else."""

from __future__ import annotations

import msgspec

from benchmarks.contenders.floor import run_worker
from benchmarks.contenders.floor_batch import aenqueue, enqueue
from benchmarks.contenders.floor_batch import enqueue_many as fill
from benchmarks.contenders.floor_connection import Client
from benchmarks.runs import record_run

__all__ = ["aenqueue", "enqueue", "fill"]
_decode = msgspec.json.Decoder().decode


def run_child() -> None:
    client = Client()
    while True:
        if reply := client("BLPOP", "ready", 1):
            _decode(reply[1][5:])
            record_run()


if __name__ == "__main__":
    run_worker(run_child)
