"""What tells whether a server is fit to hold messages: how it is asked, and how it is judged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from typedq.broker.script import Operation, number, text

Level = Literal["ok", "warning", "problem"]
Facts = Mapping[str, str]
_NONE: Facts = {}

_LOST_ON_EVICTION = "CONFIG SET maxmemory-policy noeviction, and in its configuration file"
_KEEP = "CONFIG SET appendonly yes, and in its configuration file"


class Finding(NamedTuple):
    """What one check found, and what to do about it."""

    check: str
    level: Level
    found: str
    fix: str = ""


def info(*sections: str) -> Operation[Facts]:
    """What the server says of itself: name -> value."""

    def parse(reply: bytes) -> Facts:
        pairs = (line.partition(":") for line in text(reply).splitlines())
        return {name: value for name, colon, value in pairs if colon}

    return Operation("INFO", [], sections, parse)


def config(*names: str) -> Operation[Facts]:
    """Settings of the server: name -> value."""

    def parse(reply: dict[bytes, bytes]) -> Facts:
        return {text(name): text(value) for name, value in reply.items()}

    return Operation("CONFIG", [], ["GET", *names], parse)


def clock() -> Operation[float]:
    """The server's time, in seconds since the epoch."""
    return Operation("TIME", [], [], lambda reply: int(reply[0]) + int(reply[1]) / 1e6)


def kind(key: str) -> Operation[str]:
    """The type of a key; "none" where there is no such key."""
    return Operation("TYPE", [key], [], text)


def examine(info: Facts, config: Facts = _NONE, asked: str = "memory") -> Iterator[Finding]:
    """Judge a server; what could not be asked for is missing in `config`; asked: durability."""
    yield from _version(info)
    yield from _persistence(info, config)
    yield from _durability(asked, info, config)
    yield from eviction(info)
    yield from _memory(info)


def version(info: Facts) -> tuple[str, str]:
    """Name and version of the server."""
    name = "valkey" if "valkey_version" in info else "redis"
    return name, info.get(f"{name}_version", "")


class Hole(NamedTuple):
    """Known holes of one kind of server: open from `since` on, `closed` by a release a series."""

    names: list[str]
    since: tuple[int, ...]
    closed: list[tuple[int, ...]]

    def is_open(self, found: tuple[int, ...]) -> bool:
        """Whether a release has them; a series later than all that had them never did."""
        return self.since <= found < (self.closer(found) or self.closed[-1])

    def closer(self, found: tuple[int, ...]) -> tuple[int, ...] | None:
        """The release of the same series that closed them, if it has one."""
        return next((each for each in self.closed if each[:2] == found[:2]), None)


@cache
def holes() -> tuple[str, Mapping[str, list[Hole]]]:
    """The day on which this was all that was known, and by server what it was, newest first."""
    import tomllib

    table: dict[str, Any] = tomllib.loads((Path(__file__).parent / "holes.toml").read_text())
    as_of = str(table.pop("as_of"))
    return as_of, {
        server: [Hole(n.split(), _release(s), [*map(_release, c.split())]) for n, s, c in rows]
        for server, rows in table.items()
    }


def _release(told: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", told)[:3]))


def _version(info: Facts) -> Iterator[Finding]:
    name, told = version(info)
    release, (as_of, known) = _release(told), holes()
    found = f"{name} {told or 'of an unknown version'}"
    open_ = [hole for hole in known[name] if hole.is_open(release)]
    if not release:
        yield Finding("version", "warning", found, "see by hand that it is an up-to-date release")
    elif open_:
        names = [each for hole in open_ for each in hole.names]
        told = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
        closers = [hole.closer(release) for hole in open_]
        last = [max(filter(None, closers))] if all(closers) else open_[0].closed
        last = [each for each in last if each > release]
        fix = f"upgrade to {' or '.join('.'.join(map(str, v)) for v in last)}, or later"
        fix += ", unless your distribution mended it under this number"
        # The last release of a series lives on in distributions, which mend it and keep the number.
        level: Level = "problem" if any(closers) else "warning"
        yield Finding("version", level, f"{found} is open to {told}", fix)
    else:
        count = sum(len(hole.names) for hole in known[name])
        yield Finding("version", "ok", f"{found}, open to none of {count} holes known on {as_of}")


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
    elif info.get("rdb_last_bgsave_status", "ok") != "ok" and save != "":
        found = "its last snapshot failed, so that it may refuse every write"
        yield Finding("persistence", "problem", found, "make room on its disk, then: BGSAVE")
    elif save == "":
        found = "neither append-only file nor snapshots: a restart loses every message"
        yield Finding("persistence", "problem", found, _KEEP)
    else:
        found = "no append-only file: a restart loses what was accepted since the last snapshot"
        yield Finding("persistence", level, found, _KEEP)


def _durability(asked: str, info: Facts, config: Facts) -> Iterator[Finding]:
    """Judge whether the server can confirm what the app asks for."""
    if asked == "replica":
        online = sum("state=online" in told for name, told in info.items() if name[:5] == "slave")
        fix = "connect a replica: until then every enqueue fails at its deadline"
        level: Level = "ok" if online else "problem"
        yield Finding("durability", level, f"replica, and {online} are online", fix)
    elif asked == "fsync":
        synced = info.get("aof_enabled") == "1" and config.get("appendfsync", "always") == "always"
        able = version(info)[0] == "valkey" or _release(version(info)[1]) >= (7, 2)
        found = "fsync, and the server " + ("syncs" if synced and able else "cannot confirm it")
        fix = "Redis or Valkey 7.2, and CONFIG SET appendonly yes appendfsync always"
        yield Finding("durability", "ok" if synced and able else "problem", found, fix)


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
        fix = "set one below what the machine has: then enqueue is refused before the kernel kills"
        yield Finding("memory", "warning", f"{used / 1e6:,.0f} MB used, no maxmemory", fix)
    else:
        fix = (
            "" if level == "ok" else "drain queues, or raise maxmemory: full, it refuses to enqueue"
        )
        found = f"{used / 1e6:,.0f} MB of {most / 1e6:,.0f} MB used ({share:.0%})"
        yield Finding("memory", level, found, fix)
