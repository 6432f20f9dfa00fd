"""What `typedq doctor` asks, and how it judges the answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

from typedq.app import TypedQ
from typedq.broker import acl, server_checks, stats
from typedq.broker.server_checks import Finding, Level
from typedq.cli.console import age
from typedq.cli.info import look
from typedq.errors import ServerRefused

_ACLS = "give each role a user of its own: docs/security.md"
_START = "typedq worker"
# Of the keys of a namespace by their attribute; all others are hashes, those of a queue are beside.
_SETS = dict.fromkeys(("sessions", "dead"), "zset") | dict.fromkeys(("pardoned", "paused"), "set")
_TYPES = _SETS | {"last_tick": "string", "broadcasts": "stream", "supervisors": "list"}


def examine(app: TypedQ) -> Iterator[Finding]:
    """Ask, and judge; what the server refuses to tell is a warning. Raises ServerUnavailable."""
    for check in (_server, _clock, _rights, _keys, _work):
        try:
            yield from check(app)
        except ServerRefused as error:
            name, found = check.__name__.strip("_"), f"not checked: {error.reason}"
            yield Finding(name, "warning", found, _ACLS if "this user" in found else "")


def _server(app: TypedQ) -> Iterator[Finding]:
    facts = app.broker.call(server_checks.info("server", "memory", "persistence", "replication"))
    config: Mapping[str, str] = {}
    with suppress(ServerRefused):
        config = app.broker.call(server_checks.config("appendfsync", "save"))
    return server_checks.examine(facts, config, app.settings.durability)


def _clock(app: TypedQ) -> Iterator[Finding]:
    trips, offsets = list[float](), list[float]()
    for _ in range(20):
        sent, before = time.time(), time.monotonic()
        there = app.broker.call(server_checks.clock())
        trips.append(time.monotonic() - before)
        offsets.append(there - sent - trips[-1] / 2)
    return way(statistics.median(trips), statistics.median(offsets))


def way(trip_s: float, offset_s: float) -> Iterator[Finding]:
    """Judge the way to the server: how long it takes, and how far the clocks are apart."""
    level: Level = "ok" if abs(offset_s) < 1 else "warning" if abs(offset_s) < 60 else "problem"
    found = f"the server's is {offset_s:+.3f} s off ours"
    yield Finding("clock", level, found, "keep both by NTP: an eta is due by the server's clock")
    fix = "move closer: a worker asks once a batch, a producer once an enqueue"
    level = "warning" if trip_s > 0.005 else "ok"
    yield Finding("round trip", level, f"{trip_s * 1000:.2f} ms (p50)", fix)


def _rights(app: TypedQ) -> Iterator[Finding]:
    broker, queue = app.broker, app.settings.default_queue
    try:
        user = broker.call(acl.whoami())
        lacking = {
            role: [
                " ".join(words[:2])
                for words in acl.needs(broker.keys, role, queue)
                if not broker.call(acl.may(user, *words))
            ]
            for role in get_args(acl.PeriodicJob)
        }
        reckless = broker.call(acl.may(user, "FLUSHALL"))
    except ServerRefused:
        yield Finding("acl", "ok", "this user may not ask what it may do: no admin, then")
        return
    able = [role for role, missing in lacking.items() if not missing]
    if reckless:
        found = f"{user} may do anything, even FLUSHALL"
        yield Finding("acl", "warning", found, _ACLS)
    elif not able:
        missing = ", ".join(lacking["producer"][:5])
        yield Finding("acl", "problem", f"{user} is not even a producer: no {missing}", _ACLS)
    else:
        yield Finding("acl", "ok", f"{user} can be {', '.join(able)}")


def _keys(app: TypedQ) -> Iterator[Finding]:
    keys = app.broker.keys
    wanted = {key: _TYPES.get(name, "hash") for name, key in vars(keys).items() if name != "tag"}
    for queue in app.settings.queues:
        wanted |= zip(keys.lines([queue.name]), ("list", "zset", "list"), strict=True)
    found = {key: app.broker.call(server_checks.kind(key)) for key in wanted}
    wrong = {key: kind for key, kind in found.items() if kind not in ("none", wanted[key])}
    for key, kind in wrong.items():
        fix = f"whoever wrote it needs another name; then DEL {key}"
        yield Finding("keys", "problem", f"{key} is a {kind}, where a {wanted[key]} is due", fix)
    if not wrong:
        yield Finding("keys", "ok", "each is of its type")


def _work(app: TypedQ) -> Iterator[Finding]:
    sessions = app.broker.call(stats.sessions(app.broker.keys))
    expired = sum(
        s.expires_ms < app.broker.call(server_checks.clock()) * 1000 - 5000 for s in sessions
    )
    found = f"{expired} of {len(sessions)} ended without a word, and nobody took over what they had"
    level: Level = "problem" if expired else "ok"
    yield Finding("sessions", level, found if expired else f"{len(sessions)} alive", _START)
    yield from waiting(look(app), fresh_s=2 * app.settings.lease)


def waiting(seen: Mapping[str, Any], *, fresh_s: float) -> Iterator[Finding]:
    """Judge what `typedq info` tells: the workers, and who gets what waits done."""
    living = [w for w in seen["workers"] if (w["seen_s"] or 0) <= fresh_s]
    gone = [w for w in seen["workers"] if w not in living]
    level: Level = "ok" if living else "problem" if seen["waiting"] > 0 else "warning"
    yield Finding("workers", level, f"{len(living)} alive", _START)
    for worker in gone:
        found = f"{worker['host']}:{worker['pid']} was last seen {age(worker['seen_s'])} ago"
        yield Finding("workers", "warning", found, "see why it died; it is forgotten after 1 h")
    yield from _queues(seen["queues"], living)
    yield from _contracts(seen["contracts"], bool(living))
    if seen["dead"]:
        yield Finding("dead letters", "warning", f"{seen['dead']:,}", "typedq dead list")


def _queues(queues: Iterable[Mapping[str, Any]], living: Sequence[Any]) -> Iterator[Finding]:
    served = {name for worker in living for name in worker["queues"]}
    filled = [queue for queue in queues if queue["oldest_s"] is not None]
    for queue in sorted(filled, key=lambda queue: -queue["oldest_s"]):
        name, found = queue["name"], f"{age(queue['oldest_s'])} in {queue['name']}"
        level: Level = "warning" if queue["oldest_s"] > 300 else "ok"
        if queue["paused"]:
            yield Finding("oldest", "warning", f"{found}, which is paused", f"typedq resume {name}")
        elif living and name not in served:
            found += ", which no live worker serves"
            yield Finding("oldest", "problem", found, f"{_START} -Q {name}")
        else:
            yield Finding("oldest", level, found, "more workers, or faster tasks: see typedq info")
    if not filled:
        yield Finding("oldest", "ok", "nothing waits")


def _contracts(contracts: Iterable[Mapping[str, Any]], served: bool) -> Iterator[Finding]:
    unread = [each for each in contracts if each["waiting"] > 0 and not each["read_by"]]
    for each in unread:
        found = "{waiting:,} of {task}@{fingerprint}: no live worker reads them".format(**each)
        level: Level = "problem" if served else "warning"
        yield Finding("contracts", level, found, "typedq check-schemas --live")
    if not unread:
        yield Finding("contracts", "ok", "all that waits can be read")
