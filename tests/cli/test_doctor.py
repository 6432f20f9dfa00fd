"""What `typedq doctor` finds, on servers that are ill in one way each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.cli.conftest import Place, Shop
from typedq.broker import moves
from typedq.broker.health import examine, holes
from typedq.cli.doctor import waiting
from typedq.localserver import OwnServer

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery
    from tests.conftest import WaitUntil
    from typedq.broker.health import Finding


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
        *("version", "persistence", "eviction", "memory", "clock", "round trip", "acl"),
        *("workers", "oldest", "contracts", "sessions"),
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
def test_an_ill_server(
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
        ("redis", (7, 2, 15), "problem", "redis 7.2.15 is open to CVE-2026-81934", "to 7.2.16, or"),
        ("redis", (7, 2, 16), "ok", "open to none of 30 holes known on 2026-", ""),
        ("redis", (8, 0, 2), "problem", "CVE-2026-81934", "to 8.2.9 or 8.4.6"),
        ("redis", (8, 0, 6), "warning", "CVE-2026-81934", "to 8.2.9 or 8.4.6"),
        ("redis", (8, 8, 1), "problem", "open to CVE-2026-81934", "to 8.8.2, or later"),
        ("redis", (9, 0, 0), "ok", "open to none of", ""),
        ("valkey", (9, 0, 0), "problem", "and 4 more", "to 9.0.5, or later"),
        ("valkey", (9, 0, 2), "problem", "CVE-2026-56684", "to 9.0.5, or later"),
        ("valkey", (9, 1, 1), "problem", "open to GHSA-fq2f-crmw-q97r", "to 9.1.2, or later"),
        ("valkey", (9, 1, 2), "ok", "open to none of 21 holes known on 2026-", ""),
        ("valkey", (), "warning", "valkey of an unknown version", "see by hand"),
    ],
)
def test_known_holes_by_version(
    server: str, release: tuple[int, ...], level: str, told: str, fix: str
) -> None:
    found = judged(server, *release)
    assert found.level == level
    assert told in found.found
    assert fix in found.fix


def test_a_hole_is_open_from_one_release_until_another() -> None:
    _, known = holes()
    assert set(known) == {"redis", "valkey"}
    for rows in known.values():
        for hole in rows:
            assert hole.closed == sorted(hole.closed)
            assert len({each[:2] for each in hole.closed}) == len(hole.closed)
            assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-\w{4}){3}", n) for n in hole.names)
            for major, minor, patch in hole.closed:
                assert not hole.is_open((major, minor, patch))
                assert not hole.is_open((major, minor, patch + 1))
                assert hole.is_open((major, minor, patch - 1))
            if hole.since:
                *series, patch = hole.since
                assert hole.is_open(hole.since)
                assert not hole.is_open((*series, patch - 1))
    (empty_requests,) = [h for h in known["valkey"] if "CVE-2026-27623" in h.names]
    affected = [p for p in range(5) if empty_requests.is_open((9, 0, p))]
    assert affected == [0, 1, 2]
    assert not empty_requests.is_open((8, 1, 5))


def test_an_append_only_file_that_cannot_be_written() -> None:
    info = {"aof_enabled": "1", "aof_last_write_status": "err"}
    found = next(each for each in examine(info) if each.check == "persistence")
    assert (found.level, found.fix) == ("problem", "make room on its disk")


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
    assert found["contracts"]["found"] == f"3 of {contract}: no live worker reads them"
    assert (found["dead letters"]["level"], found["dead letters"]["found"]) == ("warning", "2")
    keys = cemetery.broker.keys
    cemetery.broker.call(moves.open(keys, ["ended"], ["low"], -10_000))
    assert findings(shop, code=1)["sessions"]["level"] == "problem"


def seen(**more: Any) -> dict[str, Any]:
    queue = {"name": "low", "oldest_s": None, "paused": False}
    return {"workers": [], "queues": [queue], "contracts": [], "waiting": 0, "dead": 0, **more}


def worker(seen_s: float, *queues: str) -> dict[str, Any]:
    return {"host": "h", "pid": 7, "seen_s": seen_s, "queues": queues}


@pytest.mark.parametrize(
    ("facts", "check", "level", "told"),
    [
        (seen(workers=[worker(90, "low")]), "workers", "warning", "h:7 was last seen 90 s ago"),
        (
            seen(
                workers=[worker(1, "high")],
                queues=[{"name": "low", "oldest_s": 9.0, "paused": False}],
            ),
            *("oldest", "problem", "9.0 s in low, which no live worker serves"),
        ),
        (
            seen(queues=[{"name": "low", "oldest_s": 9.0, "paused": True}]),
            *("oldest", "warning", "9.0 s in low, which is paused"),
        ),
        (
            seen(
                workers=[worker(1, "low")],
                queues=[{"name": "low", "oldest_s": 999.0, "paused": False}],
            ),
            *("oldest", "warning", "17 min in low"),
        ),
    ],
)
def test_what_waits_and_who_works(facts: Any, check: str, level: str, told: str) -> None:
    found = [each for each in waiting(facts, fresh_s=60) if each.check == check]
    assert (level, told) in [(each.level, each.found) for each in found]


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
        wait_until(lambda: "deletes messages without a word" in shop.log)
        worker.terminate()
        worker.wait()
    assert shop.log.count("eviction policy") == 1
