"""`typedq doctor`: whether the server is fit for the job, and what waits there gets done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import typer

from typedq.app import TypedQ
from typedq.cli.application import HERE, AppArgument, AppDir, AppOption, AsJson, load
from typedq.cli.console import Loud, age, console, table, tell_json
from typedq.errors import ServerRefused

if TYPE_CHECKING:
    from typedq.broker.health import Finding, Level

ROUND_TRIPS = 20
_ACLS = "give each role a user of its own: docs/security.md"
_START = "typedq worker"


def doctor(
    place: AppArgument = None, app: AppOption = None, app_dir: AppDir = HERE, json: AsJson = False
) -> None:
    """Examine the server and what waits on it; exit code 1 if there is a problem."""
    loaded = load(app, app_dir, place)
    found = list(examine(loaded))
    bad = any(finding.level == "problem" for finding in found)
    if json:
        facts = [finding._asdict() for finding in found]
        tell_json({"url": loaded.broker.url, "healthy": not bad, "findings": facts})
    else:
        rows = [(f.check, f.level if f.level == "ok" else Loud(f.level), f.found) for f in found]
        console().print(table("check, level, found", rows))
        todo = [(f.check, f.fix) for f in found if f.level != "ok" and f.fix]
        if todo:
            console().print("", table("check, what to do", todo))
    raise typer.Exit(1 if bad else 0)


def examine(app: TypedQ) -> Iterator[Finding]:
    """Ask, and judge; what this user may not ask is a warning. Raises ServerError."""
    from typedq.broker import health, views
    from typedq.broker.health import Finding
    from typedq.cli.info import look

    broker = app.broker
    try:
        facts = broker.call(health.info("server", "memory", "persistence"))
    except ServerRefused as error:
        yield Finding("server", "warning", f"it may not be asked: {error.reason}", "allow INFO")
    else:
        try:
            config = broker.call(health.config("appendfsync", "save"))
        except ServerRefused:
            config = dict[str, str]()
        yield from health.examine(facts, config)
    yield from _clock(app)
    yield from _rights(app)
    seen = look(app)
    yield from waiting(seen, fresh_s=2 * app.settings.lease)
    sessions = broker.call(views.sessions(broker.keys))
    expired = sum(s.expires_ms < broker.call(health.clock()) * 1000 - 5000 for s in sessions)
    found = f"{expired} of {len(sessions)} ended without a word, and nobody took over what they had"
    level: Level = "problem" if expired else "ok"
    yield Finding("sessions", level, found if expired else f"{len(sessions)} alive", _START)


def _clock(app: TypedQ) -> Iterator[Finding]:
    from typedq.broker.health import Finding, clock

    trips, offsets = list[float](), list[float]()
    for _ in range(ROUND_TRIPS):
        sent, before = time.time(), time.monotonic()
        there = app.broker.call(clock())
        trips.append(time.monotonic() - before)
        offsets.append(there - sent - trips[-1] / 2)
    trip, offset = statistics.median(trips), statistics.median(offsets)
    level: Level = "ok" if abs(offset) < 1 else "warning" if abs(offset) < 60 else "problem"
    found = f"the server's is {offset:+.3f} s off ours"
    yield Finding("clock", level, found, "keep both by NTP: an eta is due by the server's clock")
    slow = trip > 0.005
    fix = "move closer: a worker asks once a batch, a producer once an enqueue"
    yield Finding("round trip", "warning" if slow else "ok", f"{trip * 1000:.2f} ms (p50)", fix)


def _rights(app: TypedQ) -> Iterator[Finding]:
    from typedq.broker import rights
    from typedq.broker.health import Finding

    broker, queue = app.broker, app.settings.default_queue
    try:
        user = broker.call(rights.whoami())
        lacking = {
            role: [
                " ".join(words[:2])
                for words in rights.needs(broker.keys, role, queue)
                if not broker.call(rights.may(user, *words))
            ]
            for role in get_args(rights.Role)
        }
        reckless = broker.call(rights.may(user, "FLUSHALL"))
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


def waiting(seen: Mapping[str, Any], *, fresh_s: float) -> Iterator[Finding]:
    """Judge what `typedq info` tells: the workers, and who gets what waits done."""
    from typedq.broker.health import Finding

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
    from typedq.broker.health import Finding

    oldest = max(queues, key=lambda queue: queue["oldest_s"] or 0)
    name, seconds = oldest["name"], oldest["oldest_s"] or 0
    found = f"{age(seconds)} in {name}" if seconds else "nothing waits"
    if oldest["paused"]:
        yield Finding("oldest", "warning", f"{found}, which is paused", f"typedq resume {name}")
    elif seconds and living and not any(name in worker["queues"] for worker in living):
        fix = f"{_START} -Q {name}"
        yield Finding("oldest", "problem", f"{found}, which no live worker serves", fix)
    else:
        level: Level = "warning" if seconds > 300 else "ok"
        yield Finding("oldest", level, found, "more workers, or faster tasks: see typedq info")


def _contracts(contracts: Iterable[Mapping[str, Any]], served: bool) -> Iterator[Finding]:
    from typedq.broker.health import Finding

    unread = [each for each in contracts if each["waiting"] > 0 and not each["read_by"]]
    for each in unread if served else ():
        found = "{waiting:,} of {task}@{fingerprint}: no live worker reads them".format(**each)
        yield Finding("contracts", "problem", found, "typedq check-schemas --live")
    if not unread:
        yield Finding("contracts", "ok", "all that waits can be read")
