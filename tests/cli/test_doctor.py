"""What `typedq doctor` finds, on servers that are ill in one way each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.cli.conftest import Place, Shop
from tests.faults.on_server import FAKETIME
from typedq.admin.doctor import TYPES, check_connection, check_waiting
from typedq.broker import Keys, operations, stats
from typedq.broker.server_checks import examine, vulnerabilities
from typedq.embedded import OwnServer, bundled

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery
    from tests.conftest import WaitUntil
    from typedq.broker.server_checks import Finding


@pytest.fixture(scope="module")
def patient() -> Iterator[OwnServer]:
    with OwnServer(tcp=True) as own:
        yield own


@pytest.fixture
def ill(place: Place, patient: OwnServer) -> Iterator[tuple[Shop, Any]]:
    """An app on a server of its own, and a way to make that server ill."""
    with redis.Redis.from_url(patient.url) as client:
        was = {name: str(client.config_get(name)[name] or "") for name in SETTINGS}
        yield Shop(place, {"TYPEDQ_URL": patient.url, "TYPEDQ_APP": "shop:app"}), client
        for name, value in was.items():
            client.config_set(name, value)


ACLS = "give each role a user of its own: docs/security.md"
SETTINGS = ("maxmemory", "maxmemory-policy", "appendonly", "save", "appendfsync")


def findings(shop: Shop, code: int = 0) -> dict[str, dict[str, str]]:
    told = shop.json("doctor", code=code)
    assert told["healthy"] == (code == 0)
    return {each["check"]: each for each in told["findings"]}


def test_a_healthy_server_with_a_worker(
    ill: tuple[Shop, Any], wait_until: WaitUntil, patient: OwnServer
) -> None:
    shop, client = ill
    client.config_set("maxmemory", "1gb")
    with shop.start("worker", "-c", "1") as worker:
        wait_until(lambda: "worker started" in shop.log)
        wait_until(lambda: findings(shop)["workers"]["found"] == "1 alive")
        found = findings(shop)
        worker.terminate()
        worker.wait()
    levels = {check: each["level"] for check, each in found.items()}
    # What stands open to everybody, or is as old as a distribution's, is not this app's illness.
    assert {*levels.items()} - {("version", "warning")} <= {
        *dict.fromkeys(levels, "ok").items(),
        ("acl", "warning"),
    }
    assert set(levels) == {
        *("version", "persistence", "eviction", "memory", "clock", "round trip", "acl", "keys"),
        *("workers", "protocol", "oldest", "contracts", "sessions"),
    }
    assert "even FLUSHALL" in found["acl"]["found"]


@pytest.mark.parametrize(
    ("settings", "check", "level", "told"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "eviction", "problem", "deletes messages"),
        ({"maxmemory-policy": "volatile-ttl"}, "eviction", "problem", "deletes messages"),
        ({"appendonly": "no", "save": ""}, "persistence", "problem", "loses every message"),
        ({"appendonly": "no", "save": "900 1"}, "persistence", "warning", "last snapshot"),
        ({"appendfsync": "no"}, "persistence", "warning", "power cut"),
        ({"appendfsync": "always"}, "persistence", "ok", "nothing is lost"),
        ({"maxmemory": "1"}, "memory", "problem", "MB used ("),
        ({"maxmemory": "0"}, "memory", "warning", "no maxmemory"),
    ],
)
def test_doctor_on_a_misconfigured_server_reports_the_problem(
    ill: tuple[Shop, Any], settings: dict[str, str], check: str, level: str, told: str
) -> None:
    shop, client = ill
    for name, value in settings.items():
        client.config_set(name, value)
    found = findings(shop, code=int(level == "problem"))[check]
    assert (found["level"], bool(found["fix"]) or level == "ok") == (level, True)
    assert told in found["found"]
    page = shop.out("doctor", code=int(level == "problem"))
    assert told in page
    assert level == "ok" or found["fix"] in page


def judged(server: str, *release: int) -> Finding:
    """What is said of a release; Valkey also tells which Redis it takes after."""
    told = ".".join(map(str, release))
    info = {"redis_version": "7.2.4", f"{server}_version": told}
    return next(each for each in examine(info) if each.check == "version")


@pytest.mark.parametrize(
    ("server", "release", "level", "told", "fix"),
    [
        ("redis", (7, 0, 8), "problem", "and 19 more", "7.2.16 or 7.4.11 or 8.2.9"),
        # As old as it is, a distribution may have mended it: 7.0 has no later release.
        ("redis", (7, 0, 15), "warning", "CVE-2026-81934, CVE-2026-25243", "7.2.16 or 7.4.11"),
        (
            "redis",
            (7, 2, 15),
            "problem",
            "redis 7.2.15 is affected by CVE-2026-81934",
            "to 7.2.16, or",
        ),
        ("redis", (7, 2, 16), "ok", "affected by none of 30 vulnerabilities known on 2026-", ""),
        ("redis", (8, 0, 2), "problem", "CVE-2026-81934", "to 8.2.9 or 8.4.6"),
        ("redis", (8, 0, 6), "warning", "CVE-2026-81934", "to 8.2.9 or 8.4.6"),
        ("redis", (8, 8, 1), "problem", "affected by CVE-2026-81934", "to 8.8.2, or later"),
        ("redis", (9, 0, 0), "ok", "affected by none of", ""),
        ("valkey", (9, 0, 0), "problem", "and 4 more", "to 9.0.5, or later"),
        ("valkey", (9, 0, 2), "problem", "CVE-2026-56684", "to 9.0.5, or later"),
        ("valkey", (9, 1, 1), "problem", "affected by GHSA-fq2f-crmw-q97r", "to 9.1.2, or later"),
        ("valkey", (9, 1, 2), "ok", "affected by none of 21 vulnerabilities known on 2026-", ""),
        (
            "valkey",
            (),
            "warning",
            "valkey of an unknown version",
            "check that it is an up-to-date release",
        ),
    ],
)
def test_known_vulnerabilities_by_version(
    server: str, release: tuple[int, ...], level: str, told: str, fix: str
) -> None:
    found = judged(server, *release)
    assert found.level == level
    assert told in found.found
    assert fix in found.fix


def test_a_vulnerability_affects_one_release_until_another() -> None:
    _, known = vulnerabilities()
    assert set(known) == {"redis", "valkey"}
    for rows in known.values():
        for known_one in rows:
            assert known_one.fixed == sorted(known_one.fixed)
            assert len({each[:2] for each in known_one.fixed}) == len(known_one.fixed)
            assert all(
                re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-\w{4}){3}", n) for n in known_one.names
            )
            for major, minor, patch in known_one.fixed:
                assert not known_one.affects((major, minor, patch))
                assert not known_one.affects((major, minor, patch + 1))
                assert known_one.affects((major, minor, patch - 1))
            if known_one.since:
                *series, patch = known_one.since
                assert known_one.affects(known_one.since)
                assert not known_one.affects((*series, patch - 1))
    (empty_requests,) = [h for h in known["valkey"] if "CVE-2026-27623" in h.names]
    affected = [p for p in range(5) if empty_requests.affects((9, 0, p))]
    assert affected == [0, 1, 2]
    assert not empty_requests.affects((8, 1, 5))


def test_an_append_only_file_that_cannot_be_written() -> None:
    info = {"aof_enabled": "1", "aof_last_write_status": "err"}
    found = next(each for each in examine(info) if each.check == "persistence")
    assert (found.level, found.fix) == ("problem", "free space on its disk")


@pytest.mark.parametrize(
    ("info", "config", "level"),
    [
        ({"rdb_last_bgsave_status": "err"}, {"save": "900 1"}, "problem"),
        ({"rdb_last_bgsave_status": "err"}, {}, "problem"),  # CONFIG may not be asked
        ({"rdb_last_bgsave_status": "ok"}, {"save": "900 1"}, "warning"),
        ({"rdb_last_bgsave_status": "err"}, {"save": ""}, "problem"),
    ],
)
def test_a_snapshot_that_failed(info: dict[str, str], config: dict[str, str], level: str) -> None:
    found = next(each for each in examine(info, config) if each.check == "persistence")
    assert found.level == level
    save = config.get("save", "unknown")
    failed = "its last snapshot failed; it may refuse every write"
    assert (found.found == failed) == (info["rdb_last_bgsave_status"] == "err" and bool(save))


@pytest.mark.parametrize(
    ("trip_s", "offset_s", "trip", "clock"),
    [
        (
            0.0004,
            0.1,
            ("ok", "0.40 ms (p50)"),
            ("ok", "the server's clock is +0.100 s off this machine's"),
        ),
        (
            0.005,
            0.999,
            ("ok", "5.00 ms (p50)"),
            ("ok", "the server's clock is +0.999 s off this machine's"),
        ),
        (
            0.006,
            -1.0,
            ("warning", "6.00 ms"),
            ("warning", "the server's clock is -1.000 s off this machine's"),
        ),
        (
            0.1,
            59.0,
            ("warning", "100.00 ms"),
            ("warning", "the server's clock is +59.000 s off this machine's"),
        ),
        (
            0.1,
            -60.0,
            ("warning", "100.00 ms"),
            ("problem", "the server's clock is -60.000 s off this machine's"),
        ),
    ],
)
def test_a_server_far_away_or_with_another_idea_of_the_time(
    trip_s: float, offset_s: float, trip: tuple[str, str], clock: tuple[str, str]
) -> None:
    found = {each.check: each for each in check_connection(trip_s, offset_s)}
    assert (found["round trip"].level, found["clock"].level) == (trip[0], clock[0])
    assert found["round trip"].found.startswith(trip[1])
    assert found["clock"].found == clock[1]
    assert "run closer to the server" in found["round trip"].fix
    assert "NTP" in found["clock"].fix


def test_a_server_whose_clock_is_wrong(place: Place) -> None:
    if not Path(FAKETIME).exists():
        pytest.skip("needs libfaketime (Debian package faketime)")
    wrapper = place[0] / "server"
    wrapper.write_text(
        f"#!/bin/sh\nexport LD_PRELOAD={FAKETIME} FAKETIME=-90s FAKETIME_DONT_FAKE_MONOTONIC=1\n"
        f'exec {bundled()} "$@"\n'  # the other's allocator does not bear it
    )
    wrapper.chmod(0o700)
    with OwnServer(binary=wrapper) as late:
        shop = Shop(place, {"TYPEDQ_URL": late.url, "TYPEDQ_APP": "shop:app"})
        clock = findings(shop, code=1)["clock"]
    assert clock["level"] == "problem"
    assert re.fullmatch(
        r"the server's clock is -(89\.|90\.)\d+ s off this machine's", clock["found"]
    )


def test_doctor_with_keys_of_the_expected_types_reports_none(ill: tuple[Shop, Any]) -> None:
    shop, client = ill
    keys = Keys(shop.namespace)
    client.sadd(keys.lease_extended, "session")
    client.sadd(keys.paused, keys.ready("low"))
    client.xadd(keys.broadcasts, {"n": 1, "m": "x"})
    client.rpush(keys.supervisors, "1")
    assert findings(shop)["keys"]["found"] == "every key has the expected type"
    client.delete(keys.lease_extended, keys.paused, keys.broadcasts, keys.supervisors)


def test_every_key_is_expected_with_the_type_that_the_protocol_gives_it() -> None:
    pages = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    names = {"zset": "sorted set"}
    for attribute, key in vars(Keys("shop")).items():
        if attribute != "tag":
            kind = TYPES.get(attribute, "hash")
            row = f"| `{key.removeprefix('{shop}:')}` | {names.get(kind, kind)} |"
            assert row in pages


def test_keys_that_another_program_took(ill: tuple[Shop, Any]) -> None:
    shop, client = ill
    keys = Keys(shop.namespace)
    names = [name for attribute, name in vars(keys).items() if attribute != "tag"]
    names += keys.queue_keys(["high"])
    right = {"found": "every key has the expected type"}
    assert findings(shop)["keys"].items() >= right.items()
    for name in names:
        if client.type(name) == b"none":
            client.set(name, "x") if name != keys.last_tick else client.lpush(name, "x")
    told = shop.json("doctor", code=1)["findings"]
    found = {each["found"].split()[0]: each for each in told if each["check"] == "keys"}
    assert set(found) == set(names)
    assert found[keys.paused]["found"] == f"{keys.paused} is a string; expected a set"
    assert found[keys.last_tick]["found"] == f"{keys.last_tick} is a list; expected a string"
    assert found[keys.sessions]["fix"].endswith(f"then DEL {keys.sessions}")
    # What cannot be judged for it is said to be so, and the rest is judged.
    (work,) = [each for each in told if each["check"] == "workers"]
    assert work["found"].startswith("not checked: a key has another type")
    assert {"version", "eviction", "clock"} <= {each["check"] for each in told}
    client.delete(*names)


def test_doctor_without_permission_reports_what_was_not_checked(ill: tuple[Shop, Any]) -> None:
    shop, client = ill
    client.config_set("maxmemory", "1gb")
    client.execute_command("ACL", "SETUSER", "timid", "reset", "on", ">x", "~*", "+time", "+select")
    client.execute_command(
        "ACL", "SETUSER", "nosy", "reset", "on", ">x", "~*", "+time", "+info", "+acl"
    )
    shop.env["TYPEDQ_URL"] = shop.env["TYPEDQ_URL"].replace("://", "://timid:x@")
    found = findings(shop)
    for check, command in (("server", "info"), ("keys", "type"), ("workers", "zrange")):
        assert (found[check]["level"], found[check]["fix"]) == ("warning", ACLS)
        assert found[check]["found"].startswith("not checked: this user may not do that")
        assert f"'{command}'" in found[check]["found"]
    assert found["acl"]["found"] == "this user may not read its own ACL, so it is not an admin"
    assert (found["clock"]["level"], found["round trip"]["level"]) == ("ok", "ok")
    shop.env["TYPEDQ_URL"] = shop.env["TYPEDQ_URL"].replace("timid", "nosy")
    found = findings(shop, code=1)
    assert found["acl"]["found"].startswith("nosy may not run commands of a producer: EVALSHA")
    assert (found["acl"]["level"], found["acl"]["fix"]) == ("problem", ACLS)
    assert found["persistence"]["found"].endswith("its appendfsync could not be read")
    for user in ("timid", "nosy"):
        client.execute_command("ACL", "DELUSER", user)


def test_commands_name_the_app_as_the_user_gave_it(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.bury("fail")
    fixes = {name: found["fix"] for name, found in findings(shop).items()}
    assert (fixes["workers"], fixes["dead letters"]) == ("typedq worker", "typedq dead list")
    told = shop.json("doctor", "-A", "shop:app")["findings"]
    fixes = {found["check"]: found["fix"] for found in told}
    assert fixes["workers"] == "typedq worker shop:app"
    assert fixes["dead letters"] == "typedq dead list -A shop:app"
    assert fixes["memory"].startswith("set maxmemory below")


def test_what_waits_without_a_worker_is_a_problem(shop: Shop) -> None:
    shop.out("enqueue", "fail")
    found = findings(shop, code=1)
    assert (found["workers"]["level"], found["workers"]["fix"]) == ("problem", "typedq worker")
    assert "in low" in found["oldest"]["found"]


def test_messages_that_nobody_reads_dead_ones_and_dead_sessions(
    shop: Shop, cemetery: Cemetery, wait_until: WaitUntil
) -> None:
    contract = cemetery.park("legacy", 3)
    cemetery.bury("fail", 2)
    with shop.start("worker", "-c", "1", "-Q", "high") as worker:
        wait_until(lambda: shop.json("info")["workers"])
        found = findings(shop, code=1)
        worker.terminate()
        worker.wait()
    assert (
        found["contracts"]["found"] == f"3 message(s) of {contract}: no live worker can read them"
    )
    assert (found["dead letters"]["level"], found["dead letters"]["found"]) == ("warning", "2")
    keys = cemetery.broker.keys
    cemetery.broker.call(operations.open(keys, ["ended"], ["low"], -10_000))
    assert findings(shop, code=1)["sessions"]["level"] == "problem"


def test_a_published_schema_that_is_none_is_named(shop: Shop, cemetery: Cemetery) -> None:
    broker, id = cemetery.broker, "send_email@0123456789abcdef"
    broker.call(stats.publish(broker.keys, {id: b'{"anyOf": 5}'}))
    reason = "at #: anyOf has a value that it cannot have"
    assert shop.json("info")["invalid_schemas"] == {id: reason}
    assert f"the schema published for {id} is invalid: {reason}\n" in shop.out("info")
    found = findings(shop)["registry"]
    assert found["level"] == "warning"
    assert found["found"] == f"the schema published for {id} is invalid: {reason}"
    assert found["fix"].startswith(f"HDEL {broker.keys.contracts} {id}, and let a producer")


def test_info_names_the_first_of_many_invalid_schemas(shop: Shop, cemetery: Cemetery) -> None:
    broker = cemetery.broker
    ids = [f"send_email@{number:016x}" for number in range(12)]
    broker.call(stats.publish(broker.keys, dict.fromkeys(ids, b"{")))
    told = shop.out("info")
    assert [id for id in ids if f"published for {id} is invalid" in told] == ids[:5]
    assert "and 7 more invalid schemas; see typedq doctor\n" in told


def seen(**more: Any) -> dict[str, Any]:
    queue = {"name": "low", "oldest_s": None, "paused": False}
    quiet: dict[str, Any] = {"contracts": [], "cron": [], "waiting": 0, "dead": 0}
    quiet["left_out"] = {"contracts": 0, "messages": 0, "schemas": 0}
    return {"workers": [], "queues": [queue], **quiet, **more}


def worker(seen_s: float, *queues: str) -> dict[str, Any]:
    return {"host": "h", "pid": 7, "seen_s": seen_s, "alive": seen_s <= 60, "queues": queues}


@pytest.mark.parametrize(
    ("facts", "check", "level", "told"),
    [
        (seen(workers=[worker(90, "low")]), "workers", "warning", "h:7 was last seen 90 s ago"),
        (
            seen(
                workers=[worker(1, "high")],
                queues=[{"name": "low", "oldest_s": 9.0, "paused": False}],
            ),
            *("oldest", "problem", "waits 9.0 s in low, which no live worker serves"),
        ),
        (
            seen(queues=[{"name": "low", "oldest_s": 9.0, "paused": True}]),
            *("oldest", "warning", "waits 9.0 s in low, which is paused"),
        ),
        (
            seen(
                workers=[worker(1, "low")],
                queues=[{"name": "low", "oldest_s": 999.0, "paused": False}],
            ),
            *("oldest", "warning", "waits 17 min in low"),
        ),
    ],
)
def test_what_waits_and_who_works(facts: Any, check: str, level: str, told: str) -> None:
    found = [each for each in check_waiting(facts) if each.check == check]
    assert (level, told) in [(each.level, each.found) for each in found]


def test_every_queue_is_judged() -> None:
    """The one that waits longest, though paused, does not hide what nobody serves."""
    queues = [
        {"name": "low", "oldest_s": 999.0, "paused": True},
        {"name": "mid", "oldest_s": 9.0, "paused": False},
        {"name": "high", "oldest_s": 0.0, "paused": False},
    ]
    found = check_waiting(seen(workers=[worker(1, "high")], queues=queues))
    told = [(each.level, each.found) for each in found if each.check == "oldest"]
    assert told == [
        ("warning", "waits 17 min in low, which is paused"),
        ("problem", "waits 9.0 s in mid, which no live worker serves"),
        ("ok", "waits 0.0 s in high"),
    ]


@pytest.mark.parametrize(("workers", "level"), [([], "warning"), ([1], "problem")])
def test_a_contract_that_nobody_reads(workers: list[float], level: str) -> None:
    unread = {"unreadable": 1200, "read_by": [], "task": "t", "fingerprint": "0f"}
    read = unread | {"unreadable": 0, "read_by": ["w"]}
    facts = seen(workers=[worker(s, "low") for s in workers], contracts=[unread, read])
    (found,) = [each for each in check_waiting(facts) if each.check == "contracts"]
    assert (found.level, found.fix) == (level, "typedq check-schemas --live")
    assert found.found == "1,200 message(s) of t@0f: no live worker can read them"


def test_a_worker_that_does_not_know_this_protocol_is_named() -> None:
    workers = [worker(1, "high") | {"protocols": known} for known in ((), (1,), (2, 3))]
    facts = seen(workers=workers)
    found = [each for each in check_waiting(facts) if each.check == "protocol"]
    assert [each.level for each in found] == ["problem"]
    assert found[0].found == "h:7 knows the enqueue protocols 2, 3, and this typedq sends 1"
    facts = seen(workers=workers[:2])
    (fine,) = [each for each in check_waiting(facts) if each.check == "protocol"]
    assert fine.level == "ok"


def test_workers_with_two_major_versions_of_croniter_are_named() -> None:
    workers = [worker(1, "low") | {"pid": n, "croniter": n} for n in (6, 7, None)]
    facts = seen(workers=[*workers, worker(99, "low") | {"croniter": 8}])
    (found,) = [each for each in check_waiting(facts) if each.check == "croniter"]
    assert (found.level, found.found) == ("warning", "croniter 6 on h:6; croniter 7 on h:7")
    assert "install one major version" in found.fix
    alike = seen(workers=[workers[0], *workers[2:]])
    assert not [each for each in check_waiting(alike) if each.check == "croniter"]


def test_a_server_that_is_not_there_cannot_be_checked(place: Place) -> None:
    nowhere = Shop(place, {"TYPEDQ_URL": "redis://127.0.0.1:1", "TYPEDQ_APP": "shop:app"})
    before = time.monotonic()
    assert "is it running, and is the URL right?" in nowhere.error("doctor")
    assert time.monotonic() - before < 5


def test_a_worker_says_at_start_that_the_server_evicts(
    ill: tuple[Shop, Any], wait_until: WaitUntil
) -> None:
    shop, client = ill
    client.config_set("maxmemory-policy", "allkeys-lru")
    with shop.start("worker", "-c", "1") as worker:
        wait_until(lambda: "deletes messages silently" in shop.log)
        worker.terminate()
        worker.wait()
    assert shop.log.count("eviction policy") == 1
