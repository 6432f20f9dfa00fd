"""What tells whether a server is fit to hold messages: how it is asked, and how it is judged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from typedq.broker.script import Move, number, text

Level = Literal["ok", "warning", "problem"]
Facts = Mapping[str, str]
_NONE: Facts = {}

# Ways for who may run scripts to run code on the server: the releases that closed them, by series.
# As of October 2025; a series that is older than all of these was given up, and stays open.
CVES: Mapping[str, Mapping[str, Sequence[tuple[int, int, int]]]] = {
    "CVE-2025-49844": {
        "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
        "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
    },
    "CVE-2024-46981": {
        "redis": ((6, 2, 17), (7, 2, 7), (7, 4, 2)),
        "valkey": ((7, 2, 8), (8, 0, 2)),
    },
    "CVE-2024-31449": {
        "redis": ((6, 2, 16), (7, 2, 6), (7, 4, 1)),
        "valkey": ((7, 2, 7), (8, 0, 1)),
    },
}
_LOST_ON_EVICTION = "CONFIG SET maxmemory-policy noeviction, and in its configuration file"
_KEEP = "CONFIG SET appendonly yes, and in its configuration file"


class Finding(NamedTuple):
    """What one check found, and what to do about it."""

    check: str
    level: Level
    found: str
    fix: str = ""


def info(*sections: str) -> Move[Facts]:
    """What the server says of itself: name -> value."""

    def parse(reply: bytes) -> Facts:
        pairs = (line.partition(":") for line in text(reply).splitlines())
        return {name: value for name, colon, value in pairs if colon}

    return Move("INFO", [], sections, parse)


def config(*names: str) -> Move[Facts]:
    """Settings of the server: name -> value."""

    def parse(reply: dict[bytes, bytes]) -> Facts:
        return {text(name): text(value) for name, value in reply.items()}

    return Move("CONFIG", [], ["GET", *names], parse)


def clock() -> Move[float]:
    """The server's time, in seconds since the epoch."""
    return Move("TIME", [], [], lambda reply: int(reply[0]) + int(reply[1]) / 1e6)


def examine(info: Facts, config: Facts = _NONE) -> Iterator[Finding]:
    """Judge a server; a setting that could not be asked for is missing in `config`."""
    yield from _version(info)
    yield from _persistence(info, config)
    yield from eviction(info)
    yield from _memory(info)


def version(info: Facts) -> tuple[str, str]:
    """Name and version of the server."""
    name = "valkey" if "valkey_version" in info else "redis"
    return name, info.get(f"{name}_version", "")


def _version(info: Facts) -> Iterator[Finding]:
    name, told = version(info)
    numbers = tuple(map(int, re.findall(r"\d+", told)[:3]))
    found = f"{name} {told or 'of an unknown version'}"
    open_ = [cve for cve, fixed in CVES.items() if _is_open(numbers, fixed[name])]
    if not numbers:
        yield Finding("version", "warning", found, "see by hand that it is an up-to-date release")
    elif open_:
        closed = ", ".join(".".join(map(str, v)) for v in next(iter(CVES.values()))[name])
        fix = f"upgrade to {closed} or later, unless your distribution mended it under this number"
        # A series that was given up lives on in distributions, which mend it and keep the number.
        kept_up = any(numbers[:2] == each[:2] for fixed in CVES.values() for each in fixed[name])
        level: Level = "problem" if kept_up else "warning"
        yield Finding("version", level, f"{found} is open to {', '.join(open_)}", fix)
    else:
        yield Finding("version", "ok", f"{found}, none of {len(CVES)} known holes is open")


def _is_open(found: tuple[int, ...], fixed: Sequence[tuple[int, int, int]]) -> bool:
    same = [each for each in fixed if each[:2] == found[:2]]
    return found < (same[0] if same else fixed[-1])


def _persistence(info: Facts, config: Facts) -> Iterator[Finding]:
    fsync, save = config.get("appendfsync"), config.get("save")
    level: Level = "warning"
    if info.get("aof_enabled") == "1":
        if info.get("aof_last_write_status", "ok") != "ok":
            found, fix = "it could not write its append-only file", "make room on its disk"
            yield Finding("persistence", "problem", found, fix)
        elif fsync == "no":
            found = "append-only file, written when the system likes: a power cut loses about 30 s"
            yield Finding("persistence", level, found, "CONFIG SET appendfsync everysec")
        else:
            lost = {"always": "nothing is lost", "everysec": "a power cut loses 2 s at most"}
            told = lost.get(fsync or "", "how often it is synced could not be asked")
            yield Finding("persistence", "ok", f"append-only file: {told}")
    elif save == "":
        found = "neither append-only file nor snapshots: a restart loses every message"
        yield Finding("persistence", "problem", found, _KEEP)
    else:
        found = "no append-only file: a restart loses what was accepted since the last snapshot"
        yield Finding("persistence", level, found, _KEEP)


def eviction(info: Facts) -> Iterator[Finding]:
    """Judge the eviction policy alone."""
    policy = info.get("maxmemory_policy", "unknown")
    if policy in ("noeviction", "unknown"):
        yield Finding("eviction", "ok" if policy == "noeviction" else "warning", policy)
    else:
        found = f"{policy}: when memory is short, the server deletes messages without a word"
        yield Finding("eviction", "problem", found, _LOST_ON_EVICTION)


def _memory(info: Facts) -> Iterator[Finding]:
    used, most = (number(info.get(n, "0").encode()) for n in ("used_memory", "maxmemory"))
    share = used / most if most else 0.0
    level: Level = "problem" if share > 0.9 else "warning" if share > 0.75 else "ok"
    if not most:
        fix = "set it below what the machine has: enqueue is then refused before the kernel kills"
        yield Finding("memory", "warning", f"{used / 1e6:,.0f} MB used, no maxmemory", fix)
    else:
        fix = (
            "" if level == "ok" else "drain queues, or raise maxmemory: full, it refuses to enqueue"
        )
        found = f"{used / 1e6:,.0f} MB of {most / 1e6:,.0f} MB used ({share:.0%})"
        yield Finding("memory", level, found, fix)
