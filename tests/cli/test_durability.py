"""What `typedq doctor` says of an app that asks for more than memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.cli.conftest import Place, Shop
from tests.faults.topologies import replicated
from typedq.broker.server_checks import examine
from typedq.embedded import OwnServer, bundled


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[OwnServer, OwnServer]]:
    with replicated() as servers:
        yield servers


def finding(place: Place, server: OwnServer, asked: str, code: int = 0) -> dict[str, str] | None:
    env = {"TYPEDQ_URL": server.url, "TYPEDQ_APP": "shop:app", "TYPEDQ_DURABILITY": asked}
    told = Shop(place, env).json("doctor", code=code)["findings"]
    return next((each for each in told if each["check"] == "durability"), None)


def test_replicas_are_looked_for_where_they_are_asked_for(
    place: Place, pair: tuple[OwnServer, OwnServer], server: OwnServer
) -> None:
    assert finding(place, pair[0], "memory") is None
    alone, attended = finding(place, server, "replica", 1), finding(place, pair[0], "replica")
    assert attended
    assert (attended["level"], attended["found"]) == ("ok", "replica; 1 online")
    assert alone
    assert (alone["level"], alone["found"]) == ("problem", "replica; 0 online")
    assert alone["fix"].startswith("connect a replica; until then every enqueue fails")


def test_a_file_that_is_synced_is_looked_for_where_it_is_asked_for(place: Place) -> None:
    with OwnServer(binary=bundled()) as own, redis.Redis.from_url(own.url) as client:
        lax = finding(place, own, "fsync", 1)
        client.config_set("appendfsync", "always")
        strict = finding(place, own, "fsync")
        client.config_set("appendonly", "no")
        off = finding(place, own, "fsync", 1)
    assert strict
    assert (strict["level"], strict["found"]) == ("ok", "fsync; the server confirms it")
    for each in (lax, off):
        assert each
        assert each["found"] == "fsync; the server cannot confirm it"
        assert (
            each["fix"] == "Redis or Valkey 7.2, and CONFIG SET appendonly yes appendfsync always"
        )


@pytest.mark.parametrize(("told", "level"), [("7.0.15", "problem"), ("7.2.0", "ok")])
def test_a_server_of_before_waitaof(told: str, level: str) -> None:
    info = {"redis_version": told, "aof_enabled": "1"}
    [found] = [each for each in examine(info, {}, "fsync") if each.check == "durability"]
    assert found.level == level
