"""How a task records that it ran: a count and two times in shared memory, one record per thread.

It costs about 0.1 us a task, the same for every contender: no request to a server, no file written.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = "BENCH_RUNS"  # environment variable: where a worker keeps its records
_RECORD = struct.Struct("qqq")
_local: Any = threading.local()


def record_run() -> None:
    """Count one run in this thread, and note its time (monotonic, ns)."""
    try:
        record = _local.record
    except AttributeError:
        record = _local.record = _open()
        record[2] = time.monotonic_ns()
    record[1] = time.monotonic_ns()
    record[0] += 1


def _open() -> memoryview:
    path = Path(os.environ[DIRECTORY]) / f"{os.getpid()}-{threading.get_native_id()}"
    with path.open("wb+") as file:
        file.truncate(_RECORD.size)
        return memoryview(mmap.mmap(file.fileno(), _RECORD.size)).cast("q")


class Runs(NamedTuple):
    """How many tasks ran; when the last one and the first one did (monotonic, ns)."""

    ran: int
    last_ns: int
    first_ns: int


class RunRecords:
    """All records of one worker."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._maps: dict[Path, mmap.mmap] = {}

    def read(self) -> Runs:
        """Add up the records of all threads."""
        for path in self._directory.iterdir():
            if path not in self._maps and path.stat().st_size == _RECORD.size:
                with path.open("rb") as file:
                    self._maps[path] = mmap.mmap(
                        file.fileno(), _RECORD.size, access=mmap.ACCESS_READ
                    )
        records = [_RECORD.unpack(memory[:]) for memory in self._maps.values()]
        counts, lasts, firsts = zip(*[r for r in records if r[0]] or [(0, 0, 0)], strict=True)
        return Runs(sum(counts), max(lasts), min(firsts))
