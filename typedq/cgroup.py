"""What the kernel lets this process use: by its cgroups, versions 1 and 2, or by its host."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import psutil

_ROOT = Path("/")
_PROCESSES = re.compile(r"(\d{1,4})|cores(?:\*(\d{1,3}))?", re.ASCII)


class _Version(NamedTuple):
    """The files of a cgroup version; `cache` is a line of memory.stat."""

    limit: str
    use: str
    cache: str
    kills: str


_V1 = _Version(
    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control"
)
_V2 = _Version("memory.max", "memory.current", "inactive_file", "memory.events")


def parse_processes(text: str) -> int | None:
    """Return a number of processes, from 1; the text is "4", "cores" or "cores*2"."""
    found = _PROCESSES.fullmatch(text.replace(" ", ""))
    return (found and (int(found[1]) if found[1] else usable_cores() * int(found[2] or 1))) or None


def usable_cores(root: Path = _ROOT) -> int:
    """Return how many cores this process may keep busy: its CPU quota rounded up, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    is_v1, groups = _groups(root, "cpu")
    quotas = [quota for group in groups if (quota := _cpu_quota(group, is_v1=is_v1)) is not None]
    return max(1, min(cores or 1, *map(math.ceil, quotas)) if quotas else cores or 1)


def _cpu_quota(group: Path, *, is_v1: bool) -> float | None:
    """Return the quota of one group in cores; None if it has none."""
    try:
        if is_v1:
            quota, period = (
                (group / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        else:
            quota, period = (group / "cpu.max").read_text().split()
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def used_percent(root: Path = _ROOT) -> float:
    """Return the memory in use, in percent of the smallest limit of this process and its host."""
    host, (is_v1, groups) = psutil.virtual_memory(), _groups(root, "memory")
    version = _V1 if is_v1 else _V2
    limits = [(_number(group / version.limit) or host.total, group) for group in groups]
    limit, group = min(limits, key=lambda pair: pair[0])
    use = _number(group / version.use)
    if limit >= host.total or use is None:
        return host.percent
    # Files that were read once fill any limit, and are dropped before anybody is killed for it.
    return 100.0 * (use - (_number(group / "memory.stat", version.cache) or 0)) / limit


def oom_kills(root: Path = _ROOT) -> int:
    """Return how many processes of its cgroup, else of its host, the kernel killed for memory."""
    is_v1, groups = _groups(root, "memory")
    version = _V1 if is_v1 else _V2
    for file in (*(group / version.kills for group in groups), root / "proc/vmstat"):
        if (count := _number(file, "oom_kill")) is not None:
            return count
    return 0


def _groups(root: Path, controller: str) -> tuple[bool, list[Path]]:
    """Return (is version 1, the group of this process and those above it); some may not exist."""
    listing = root / "proc/self/cgroup"
    try:
        lines = [line.split(":", 2) for line in listing.read_text().splitlines()]
        paths = {name: path for _, names, path in lines for name in names.split(",")}
    except (OSError, ValueError):
        paths = {}
    mount = root / "sys/fs/cgroup"
    if is_v1 := controller in paths:
        mount /= controller
    own = mount / paths.get(controller, paths.get("", "")).lstrip("/")
    return is_v1, [group for group in (own, *own.parents) if group.is_relative_to(mount)]


def _number(file: Path, name: str = "") -> int | None:
    """Return the number in a file, or in its line of that name; None for "max" or no number."""
    try:
        words = (line.rpartition(" ") for line in file.read_text().splitlines())
        return int({key: value for key, _, value in words}[name])
    except (OSError, ValueError, KeyError):
        return None
