"""What `typedq doctor` finds, on servers that are ill in one way each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.cli.conftest import Place, Shop
from typedq.broker import moves
from typedq.broker.health import CVES, examine
from typedq.cli.doctor import waiting
from typedq.localserver import OwnServer

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery
    from tests.conftest import WaitUntil


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


@pytest.mark.parametrize(
    ("info", "level", "told"),
    [
        ({"redis_version": "7.2.10"}, "problem", "open to CVE-2025-49844"),
        ({"redis_version": "7.2.11"}, "ok", "none of"),
        ({"redis_version": "8.4.0"}, "ok", "none of"),
        ({"redis_version": "7.0.15"}, "warning", "CVE-2024-46981"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.3"}, "problem", "valkey 8.1.3"),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, "ok", "valkey 9.0.0"),
        ({"redis_version": "8.0.2"}, "problem", "open to CVE-2025-49844"),
        ({}, "warning", "unknown version"),
    ],
)
def test_known_holes_by_version(info: dict[str, str], level: str, told: str) -> None:
    found = next(each for each in examine(info) if each.check == "version")
    assert found.level == level
    assert told in found.found
    assert "CVE-2024-46981" not in found.found or level == "warning"
    assert all(list(v) == sorted(v) for fixed in CVES.values() for v in fixed.values())


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
