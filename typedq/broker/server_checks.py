"""Check that the configuration of a server suits a queue: requests, and findings from replies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from typedq.broker.script import Operation, as_map, number, text

Level = Literal["ok", "warning", "problem"]
Facts = Mapping[str, str]
_NONE: Facts = {}

_FIX_EVICTION = "CONFIG SET maxmemory-policy noeviction, and in its configuration file"
_FIX_PERSISTENCE = "CONFIG SET appendonly yes, and in its configuration file"


class Finding(NamedTuple):
    """What one check found, and what to do about it."""

    check: str
    level: Level
    found: str
    fix: str = ""


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def info(*sections: str) -> Operation[Facts]:
    """Return sections of INFO as name -> value."""

    def parse(reply: bytes) -> Facts:
        pairs = (line.partition(":") for line in text(reply).splitlines())
        return {name: value for name, colon, value in pairs if colon}

    return Operation("INFO", [], sections, parse)


def config(*names: str) -> Operation[Facts]:
    """Return settings of the server as name -> value."""

    def parse(reply: Any) -> Facts:
        return {text(name): text(value) for name, value in as_map(reply).items()}

    return Operation("CONFIG", [], ["GET", *names], parse)


def clock() -> Operation[float]:
    """Return the server's time in seconds since the epoch."""
    return Operation("TIME", [], [], lambda reply: int(reply[0]) + int(reply[1]) / 1e6)


def key_type(key: str) -> Operation[str]:
    """Return the type of a key, "none" if it does not exist."""
    return Operation("TYPE", [key], [], text)


def examine(info: Facts, config: Facts = _NONE, durability: str = "memory") -> Iterator[Finding]:
    """Yield the findings on a server.

    config: without the settings that could not be read; durability: what the app asks for
    """
    yield from _version(info)
    yield from _persistence(info, config)
    yield from _durability(durability, info, config)
    yield from eviction(info)
    yield from _memory(info)


def version(info: Facts) -> tuple[str, str]:
    """Return name and version of the server."""
    name = "valkey" if "valkey_version" in info else "redis"
    return name, info.get(f"{name}_version", "")


class Vulnerability(NamedTuple):
    """Known vulnerabilities of one kind of server with the same history.

    `since`: the first release affected; `fixed`: the release of each series that fixed them
    """

    names: list[str]
    since: tuple[int, ...]
    fixed: list[tuple[int, ...]]

    def affects(self, release: tuple[int, ...]) -> bool:
        """Return True if a release has them; series after the last affected one never had them."""
        return self.since <= release < (self.fixed_in(release) or self.fixed[-1])

    def fixed_in(self, release: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the release of the same series that fixed them, if it has one."""
        return next((each for each in self.fixed if each[:2] == release[:2]), None)


@cache
def vulnerabilities() -> tuple[str, Mapping[str, list[Vulnerability]]]:
    """Return the date of the list, and the vulnerabilities by server, newest first."""
    import tomllib

    file = Path(__file__).parent / "vulnerabilities.toml"
    table: dict[str, Any] = tomllib.loads(file.read_text())
    as_of = str(table.pop("as_of"))
    return as_of, {
        server: [
            Vulnerability(names.split(), _release(since), [*map(_release, fixed.split())])
            for names, since, fixed in rows
        ]
        for server, rows in table.items()
    }


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _version(info: Facts) -> Iterator[Finding]:
    name, number = version(info)
    release, (as_of, known) = _release(number), vulnerabilities()
    found = f"{name} {number or 'of an unknown version'}"
    affecting = [each for each in known[name] if each.affects(release)]
    if not release:
        yield Finding("version", "warning", found, "check that it is an up-to-date release")
    elif affecting:
        names = [name for each in affecting for name in each.names]
        fixes = [each.fixed_in(release) for each in affecting]
        last = [max(filter(None, fixes))] if all(fixes) else affecting[0].fixed
        last = [each for each in last if each > release]
        fix = f"upgrade to {' or '.join('.'.join(map(str, v)) for v in last)}, or later"
        fix += ", unless your distribution fixed it under this number"
        # Distributions patch the last release of a series without changing its number.
        level: Level = "problem" if any(fixes) else "warning"
        yield Finding("version", level, f"{found} is affected by {listed(names, 4)}", fix)
    else:
        count = sum(len(each.names) for each in known[name])
        none = f"affected by none of {count} vulnerabilities known on {as_of}"
        yield Finding("version", "ok", f"{found}, {none}")


def _persistence(info: Facts, config: Facts) -> Iterator[Finding]:
    fsync, save = config.get("appendfsync"), config.get("save")
    level: Level = "warning"
    if info.get("aof_enabled") == "1":
        if info.get("aof_last_write_status", "ok") != "ok":
            found, fix = "it could not write its append-only file", "free space on its disk"
            yield Finding("persistence", "problem", found, fix)
        elif fsync == "no":
            found = "append-only file without fsync: a power cut loses about 30 s"
            yield Finding("persistence", level, found, "CONFIG SET appendfsync everysec")
        else:
            lost = {"always": "nothing is lost", "everysec": "a power cut loses 2 s at most"}
            loss = lost.get(fsync or "", "its appendfsync could not be read")
            yield Finding("persistence", "ok", f"append-only file: {loss}")
    elif info.get("rdb_last_bgsave_status", "ok") != "ok" and save != "":
        found = "its last snapshot failed; it may refuse every write"
        yield Finding("persistence", "problem", found, "free space on its disk, then: BGSAVE")
    elif save == "":
        found = "neither append-only file nor snapshots: a restart loses every message"
        yield Finding("persistence", "problem", found, _FIX_PERSISTENCE)
    else:
        found = "no append-only file: a restart loses all messages since the last snapshot"
        yield Finding("persistence", level, found, _FIX_PERSISTENCE)


def _durability(asked: str, info: Facts, config: Facts) -> Iterator[Finding]:
    """Check that the server can confirm the durability that the app asks for."""
    if asked == "replica":
        online = sum("state=online" in value for name, value in info.items() if name[:5] == "slave")
        fix = "connect a replica; until then every enqueue fails at its deadline"
        level: Level = "ok" if online else "problem"
        yield Finding("durability", level, f"replica; {online} online", fix)
    elif asked == "fsync":
        synced = info.get("aof_enabled") == "1" and config.get("appendfsync", "always") == "always"
        able = version(info)[0] == "valkey" or _release(version(info)[1]) >= (7, 2)
        found = "fsync; the server " + ("confirms it" if synced and able else "cannot confirm it")
        fix = "Redis or Valkey 7.2, and CONFIG SET appendonly yes appendfsync always"
        yield Finding("durability", "ok" if synced and able else "problem", found, fix)


def eviction(info: Facts) -> Iterator[Finding]:
    """Check the eviction policy alone."""
    policy = info.get("maxmemory_policy", "unknown")
    if policy in ("noeviction", "unknown"):
        yield Finding("eviction", "ok" if policy == "noeviction" else "warning", policy)
    else:
        found = f"{policy}: when memory is short, the server deletes messages silently"
        yield Finding("eviction", "problem", found, _FIX_EVICTION)


def _memory(info: Facts) -> Iterator[Finding]:
    used, limit = (number(info.get(n, "0").encode()) for n in ("used_memory", "maxmemory"))
    share = used / limit if limit else 0.0
    level: Level = "problem" if share > 0.9 else "warning" if share > 0.75 else "ok"
    if not limit:
        fix = "set maxmemory below the host's memory, or the kernel may kill the server"
        yield Finding("memory", "warning", f"{used / 1e6:,.0f} MB used, no maxmemory", fix)
    else:
        full = "drain queues or raise maxmemory; a full server refuses to enqueue"
        found = f"{used / 1e6:,.0f} MB of {limit / 1e6:,.0f} MB used ({share:.0%})"
        yield Finding("memory", level, found, "" if level == "ok" else full)
