"""A memory cgroup for a worker, below a directory that the user names in FAULTS_CGROUP.

The test needs consent, not only root. The directory must have the memory controller and allow new
groups: /sys/fs/cgroup on a machine of your own, or a delegated slice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.processes import wait_until

GIVEN, JOINED = "FAULTS_CGROUP", "FAULTS_JOINS"
LIMITS = ("memory.max", "memory.limit_in_bytes")
NO_SWAP = ("memory.swap.max", "memory.swappiness")
KILLS = ("memory.events", "memory.oom_control")


@contextmanager
def limited(name: str, limit: int) -> Iterator[Path | None]:
    """Create a group of `limit` bytes. Yield None without FAULTS_CGROUP or without such a limit."""
    given = os.environ.get(GIVEN)
    if not given:
        yield None
        return
    group = Path(given) / name
    group.mkdir()
    try:
        for files, value in ((LIMITS, limit), (NO_SWAP, 0)):
            for file in (group / file for file in files):
                if file.exists():
                    file.write_text(str(value))
        yield group if any((group / file).exists() for file in LIMITS) else None
    finally:
        wait_until(lambda: _is_gone(group))


def _is_gone(group: Path) -> bool:
    with suppress(OSError):  # the kernel still removes dead processes
        group.rmdir()
    return not group.exists()


def kills(group: Path) -> int:
    """Return how many processes of the group the kernel killed for memory."""
    lines = [
        line.split()
        for file in (group / file for file in KILLS)
        if file.exists()
        for line in file.read_text().splitlines()
    ]
    return sum(int(count) for name, count in lines if name == "oom_kill")


def join() -> None:
    """Join the group that the environment names, before any fork."""
    if group := os.environ.get(JOINED):
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
