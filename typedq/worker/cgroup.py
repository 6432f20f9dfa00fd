"""What the kernel says of this process's memory: of its cgroups, versions 1 and 2, or the host."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")


class _Version(NamedTuple):
    """Where a version is mounted, and how it names its files; `cache` is a line of memory.stat."""

    mount: str
    limit: str
    use: str
    cache: str
    kills: str


_V1 = _Version(
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
    "memory.oom_control",
)
_V2 = _Version("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "memory.events")


def used_percent(root: Path = _ROOT) -> float:
    """Memory in use, in percent of the smallest limit that holds this process, its host's too."""
    import psutil

    host, (version, groups) = psutil.virtual_memory(), _groups(root)
    limits = [(_number(group / version.limit) or host.total, group) for group in groups]
    limit, group = min(limits, key=lambda pair: pair[0])
    use = _number(group / version.use)
    if limit >= host.total or use is None:
        return host.percent
    # Files that were read once fill any limit, and are dropped before anybody is killed for it.
    return 100.0 * (use - (_number(group / "memory.stat", version.cache) or 0)) / limit


def oom_kills(root: Path = _ROOT) -> int:
    """How many processes of its cgroup, without one of its host, the kernel ended for memory."""
    version, groups = _groups(root)
    for file in (*(group / version.kills for group in groups), root / "proc/vmstat"):
        if (count := _number(file, "oom_kill")) is not None:
            return count
    return 0


def _groups(root: Path) -> tuple[_Version, list[Path]]:
    """The group of this process, and those above it; some may not be mounted here."""
    told = root / "proc/self/cgroup"
    fields = [f.split(":", 2) for f in told.read_text().splitlines()] if told.exists() else []
    paths = {name: path for _, names, path in fields for name in names.split(",")}
    version = _V1 if "memory" in paths else _V2
    mount = root / version.mount
    own = mount / paths.get("memory", paths.get("", "")).lstrip("/")
    return version, [group for group in (own, *own.parents) if group.is_relative_to(mount)]


def _number(file: Path, name: str = "") -> int | None:
    """The number in a file, or in its line of that name; None: it has none, or says "max"."""
    try:
        words = (line.rpartition(" ") for line in file.read_text().splitlines())
        return int({key: value for key, _, value in words}[name])
    except (OSError, ValueError, KeyError):
        return None
