"""Check the configuration of the server, and that live workers can read the waiting messages."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

from typedq import registry
from typedq.admin.commands import with_app
from typedq.admin.messages import age
from typedq.admin.overview import alive, overview
from typedq.app import TypedQ
from typedq.broker import acl, server_checks, stats
from typedq.broker.server_checks import Finding, Level, listed
from typedq.errors import ServerRefused
from typedq.message import PROTOCOL

_ACLS = "give each role a user of its own: docs/security.md"
_START, _COMPARE_ALL = "typedq worker", "typedq check-schemas --live"
# Types by attribute of Keys; the others are hashes. The keys of queues are added below.
_SETS = dict.fromkeys(("sessions", "dead"), "zset") | dict.fromkeys(
    ("lease_extended", "paused"), "set"
)
_STREAMS = dict.fromkeys(("broadcasts", "cancellations"), "stream")
TYPES = _SETS | _STREAMS | {"last_tick": "string", "supervisors": "list"}


def examine(app: TypedQ, seen: Mapping[str, Any] | None = None) -> Iterator[Finding]:
    """Yield all findings; a check that the server refuses is a warning.

    seen: an `overview` of now, if there is one. Raises ServerUnavailable.
    """
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "server": lambda: _server(app),
        "clock": lambda: _clock(app),
        "acl": lambda: _acl(app),
        "keys": lambda: _keys(app),
        "workers": lambda: _workers(app, seen or overview(app)),
    }
    for name, check in checks.items():
        try:
            for finding in check():
                yield finding._replace(fix=with_app(app, finding.fix))
        except ServerRefused as error:
            found = f"not checked: {error.reason}"
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
    return check_connection(statistics.median(trips), statistics.median(offsets))


def check_connection(trip_s: float, offset_s: float) -> Iterator[Finding]:
    """Check the round trip to the server and the offset of its clock, both in seconds."""
    level: Level = "ok" if abs(offset_s) < 1 else "warning" if abs(offset_s) < 60 else "problem"
    found = f"the server's clock is {offset_s:+.3f} s off this machine's"
    yield Finding("clock", level, found, "run NTP on both: an ETA is due by the server's clock")
    fix = "run closer to the server: each enqueue and each batch of a worker is a round trip"
    level = "warning" if trip_s > 0.005 else "ok"
    yield Finding("round trip", level, f"{trip_s * 1000:.2f} ms (p50)", fix)


def _acl(app: TypedQ) -> Iterator[Finding]:
    broker, queue = app.broker, app.settings.default_queue
    try:
        user = broker.call(acl.whoami())
        missing_by_role = {
            role: [
                " ".join(words[:2])
                for words in acl.required_commands(broker.keys, role, queue)
                if not broker.call(acl.is_allowed(user, *words))
            ]
            for role in get_args(acl.Role)
        }
        is_admin = broker.call(acl.is_allowed(user, "FLUSHALL"))
    except ServerRefused:
        yield Finding("acl", "ok", "this user may not read its own ACL, so it is not an admin")
        return
    able = [role for role, missing in missing_by_role.items() if not missing]
    if is_admin:
        found = f"{user} may run any command, even FLUSHALL"
        yield Finding("acl", "warning", found, _ACLS)
    elif not able:
        found = f"{user} may not run commands of a producer: {listed(missing_by_role['producer'])}"
        yield Finding("acl", "problem", found, _ACLS)
    else:
        yield Finding("acl", "ok", f"{user} may act as: {', '.join(able)}")


def _keys(app: TypedQ) -> Iterator[Finding]:
    keys = app.broker.keys
    wanted = {key: TYPES.get(name, "hash") for name, key in vars(keys).items() if name != "tag"}
    for queue in app.settings.queues:
        wanted |= zip(keys.queue_keys([queue.name]), ("list", "zset", "list"), strict=True)
    found = {key: app.broker.call(server_checks.key_type(key)) for key in wanted}
    wrong = {key: kind for key, kind in found.items() if kind not in ("none", wanted[key])}
    for key, kind in wrong.items():
        fix = f"another program wrote it: rename its key, then DEL {key}"
        yield Finding("keys", "problem", f"{key} is a {kind}; expected a {wanted[key]}", fix)
    if not wrong:
        yield Finding("keys", "ok", "every key has the expected type")


def _workers(app: TypedQ, seen: Mapping[str, Any]) -> Iterator[Finding]:
    sessions = app.broker.call(stats.sessions(app.broker.keys))
    expired = sum(
        s.expires_ms < app.broker.call(server_checks.clock()) * 1000 - 5000 for s in sessions
    )
    found = f"{expired} of {len(sessions)} expired and not yet recovered; start a worker"
    level: Level = "problem" if expired else "ok"
    yield Finding("sessions", level, found if expired else f"{len(sessions)} alive", _START)
    for contract, reason in sorted(seen["invalid_schemas"].items()):
        found = f"the schema published for {contract} is invalid: {reason}"
        yield Finding("registry", "warning", found, registry.repair_of(app.broker, contract))
    if unchecked := seen["left_out"]["schemas"]:
        yield Finding("registry", "warning", f"{unchecked:,} published schemas were not checked")
    yield from check_waiting(seen)


def check_waiting(seen: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that live workers serve and can read the messages that `typedq info` shows."""
    living, gone = alive(seen), [worker for worker in seen["workers"] if not worker["alive"]]
    level: Level = "ok" if living else "problem" if seen["waiting"] > 0 else "warning"
    yield Finding("workers", level, f"{len(living)} alive", _START)
    for worker in gone:
        found = f"{worker['host']}:{worker['pid']} was last seen {age(worker['seen_s'])} ago"
        yield Finding(
            "workers", "warning", found, "see why it died; it is removed from the list after 1 h"
        )
    yield from check_protocol(living)
    yield from _queues(seen["queues"], living)
    yield from _contracts(seen, bool(living))
    yield from _cron(seen["cron"], bool(living))
    yield from _croniter(living)
    if seen["dead"]:
        yield Finding("dead letters", "warning", f"{seen['dead']:,}", "typedq dead list")


def check_protocol(workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Check that live workers know the enqueue protocol of this version."""
    # Workers that do not say it are of a version that knew only the first.
    strange = [w for w in workers if PROTOCOL not in (w.get("protocols") or (1,))]
    for worker in strange:
        found = "{host}:{pid} knows the enqueue protocols {0}, and this typedq sends {1}".format(
            ", ".join(map(str, worker["protocols"])), PROTOCOL, **worker
        )
        yield Finding("protocol", "problem", found, "run the same typedq there and here")
    if workers and not strange:
        yield Finding("protocol", "ok", f"live workers know enqueue protocol {PROTOCOL}")


def _queues(queues: Iterable[Mapping[str, Any]], living: Sequence[Any]) -> Iterator[Finding]:
    served = {name for worker in living for name in worker["queues"]}
    filled = [queue for queue in queues if queue["oldest_s"] is not None]
    for queue in sorted(filled, key=lambda queue: -queue["oldest_s"]):
        name, found = queue["name"], f"waits {age(queue['oldest_s'])} in {queue['name']}"
        level: Level = "warning" if queue["oldest_s"] > 300 else "ok"
        if queue["paused"]:
            yield Finding("oldest", "warning", f"{found}, which is paused", f"typedq resume {name}")
        elif living and name not in served:
            found += ", which no live worker serves"
            yield Finding("oldest", "problem", found, f"{_START} -Q {name}")
        else:
            yield Finding(
                "oldest", level, found, "start more workers or make tasks faster; see typedq info"
            )
    if not filled:
        yield Finding("oldest", "ok", "no message waits")


def _contracts(seen: Mapping[str, Any], served: bool) -> Iterator[Finding]:
    unread = [each for each in seen["contracts"] if each["unreadable"] > 0]
    for each in unread:
        who, fix = "can read them", _COMPARE_ALL
        if each["read_by"]:  # elsewhere
            who, fix = "of their queue reads them", "typedq parked list --groups"
        what = "{unreadable:,} message(s) of {task}@{fingerprint}: no live worker".format(**each)
        level: Level = "problem" if served else "warning"
        yield Finding("contracts", level, f"{what} {who}", fix)
    if (left_out := seen["left_out"])["contracts"]:
        found = "no time to compare {contracts:,} contract(s) of {messages:,} message(s)"
        yield Finding("contracts", "warning", found.format(**left_out), _COMPARE_ALL)
    elif not unread:
        yield Finding("contracts", "ok", "live workers can read all waiting messages")


def _cron(entries: Iterable[Mapping[str, Any]], served: bool) -> Iterator[Finding]:
    for each in entries:
        found, fix = f"{each['name']} is paused since {each['paused_since']}", "typedq cron resume"
        if each["paused"]:
            yield Finding("cron", "warning", found, f"{fix} {each['name']}")
    idle = [each["name"] for each in entries if not each["paused"] and not each["fired_by"]]
    if served and idle:
        found = f"no live worker fires {listed(idle)}"
        fix = "start a worker of the version that declares them, without --no-cron"
        yield Finding("cron", "warning", found, fix)


def _croniter(workers: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Check that all workers compute the slots of cron entries by the same rules."""
    by_major = dict[int, list[str]]()
    for worker in workers:
        if major := worker.get("croniter"):
            by_major.setdefault(major, []).append("{host}:{pid}".format(**worker))
    if len(by_major) > 1:
        found = "; ".join(
            f"croniter {major} on {listed(names)}" for major, names in sorted(by_major.items())
        )
        fix = "install one major version; they read some expressions in two ways: docs/cron.md"
        yield Finding("croniter", "warning", found, fix)
