"""Every script touches the keys it declares and no other, on a Cluster and under an ACL.

A Cluster refuses undeclared keys of other slots. All keys of a namespace are in one slot, so each
move is also made by a user who may touch its declared keys only. Both nets are tested first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import redis

from typedq.broker import Operation, cron, operations, parking, search, settlements, stats
from typedq.broker.script import Script
from typedq.embedded import OwnServer
from typedq.errors import ServerRefused

if TYPE_CHECKING:
    from tests.broker.conftest import Place

T = TypeVar("T")


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnServer]:
    with OwnServer(args=("--cluster-enabled", "yes"), tcp=True) as server:
        client: Any = redis.Redis.from_url(server.url)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            pass
        yield server
        client.close()


@pytest.fixture
def server(cluster: OwnServer) -> OwnServer:
    return cluster


def as_anybody(place: Place, move: Operation[T]) -> T:
    return place(move)


def declared_only(place: Place, move: Operation[T]) -> T:
    return place.declared_only(move)


def intruder(other: str) -> Operation[Any]:
    source = "#!lua\nredis.call('GET', KEYS[1])\nreturn redis.call('GET', ARGV[1])"
    return Operation(
        Script("intruder", source, "0" * 40), ["{y}:declared"], [other], lambda reply: reply
    )


def test_a_key_of_another_slot_is_refused(place: Place) -> None:
    with pytest.raises(ServerRefused, match="do not hash to the same slot"):
        place(intruder("{z}:x"))


def test_an_undeclared_key_of_the_same_slot_is_refused(place: Place) -> None:
    assert place(intruder("{y}:x")) is None
    with pytest.raises(redis.ResponseError, match=r"ACL failure|can't access"):
        declared_only(place, intruder("{y}:x"))


def every_move(place: Place) -> Iterator[Callable[[], Operation[Any]]]:
    """A walk through every move and most branches of each."""
    keys, queues = place.keys, place.queues
    batch = [place.outgoing(queue) for queue in queues for _ in range(4)]
    batch += [place.outgoing("mid", unique=("t:k", 60_000)) for _ in range(2)]
    batch += [place.outgoing("mid", delay_ms=60_000), place.outgoing("low", eta_ms=5)]
    ids = [out.id.encode() for out in batch]
    schemas = {place.contract: b"{}"}
    settle: list[settlements.Settlement] = [
        settlements.Ack(place.contract.encode(), ids[:1]),
        settlements.Retry(ids[1], "high", 1, 0),
        settlements.Retry(ids[2], "high", 1, 99),
        settlements.DeadLetter(ids[3], b"{}"),
        settlements.Release(ids[4], "mid"),
    ]
    fates: dict[bytes, operations.Fate] = {ids[0]: "done", ids[1]: "crash", ids[4]: "back"}
    bounds = operations.DeadBounds(count=0)
    yield lambda: operations.enqueue(keys, "producer", 1, batch, {})
    yield lambda: operations.enqueue(keys, "producer", 1, batch, schemas)
    yield lambda: operations.enqueue(keys, "producer", 1, batch, schemas)
    yield lambda: operations.enqueue(keys, "producer", 2, [place.outgoing("mid")], {})
    yield lambda: operations.open(keys, ["a", "b"], queues, 30_000)
    yield lambda: operations.wake_worker(keys.wake("_own"))
    yield lambda: settlements.settle_and_fetch(keys, "a", queues, max_messages=9)
    yield lambda: settlements.settle_and_fetch(
        keys, "a", queues, settle=settle, max_messages=9, token="low"
    )
    yield lambda: stats.requeue(keys, queues, [ids[3].decode()])
    yield lambda: settlements.settle_and_fetch(keys, "b", queues, max_messages=1, bounds=bounds)
    yield lambda: operations.renew(keys, ["a", "ended"], 30_000, "sup", b'{"pid":1}')
    yield lambda: operations.tick(keys, queues, grace_ms=1, lease_ms=1)
    yield lambda: operations.replace_session(keys, "a", "c", queues, 30_000)
    yield lambda: operations.recover_session(
        keys, "c", queues, owner=True, fates=fates, crashes=1, bounds=bounds
    )
    yield lambda: operations.tick(keys, queues, grace_ms=1, lease_ms=1)
    yield lambda: stats.survey(keys, queues, ["a", "b"])
    group = parking.Group("low", place.contract)
    aside = [parking.Parked(group, out.id.encode()) for out in batch]
    yield lambda: operations.open(keys, ["d"], queues, 30_000)
    yield lambda: settlements.settle_and_fetch(keys, "d", queues, max_messages=99)
    yield lambda: parking.park(keys, "d", aside, bounds)
    yield lambda: parking.unpark(keys, "d", group, 1)
    yield lambda: parking.release(keys, group, "ready", bounds=bounds)
    yield lambda: parking.delayed_stats(keys, queues, [group])
    places = search.Places(["d"], queues, [group])
    yield lambda: operations.enqueue(keys, "lane", 2, batch, {})
    yield lambda: settlements.settle_and_fetch(keys, "d", queues, max_messages=1)
    for id in (b"0" * 26, *ids):
        yield partial(search.find, keys, id.decode(), places)
        yield partial(search.cancel, keys, id.decode(), places)
    yield lambda: search.session_queues(keys)
    yield lambda: search.cancellations(keys, "")
    yield lambda: search.cancellations(keys, "0-0")
    yield lambda: stats.purge(keys, "low")
    began = [cron.Firing("entry"), cron.Firing("entry", 5, batch[0])]
    yield lambda: cron.cron(keys, began, schemas)
    told = place.outgoing()
    yield lambda: cron.broadcast(keys, "told", 1, [told], schemas)
    yield lambda: cron.deliver(keys, "_own", cron.BroadcastCursor("0-0"))
    yield lambda: cron.last_slots(keys)
    yield lambda: cron.switch_cron(keys, "entry", "pause")
    yield lambda: cron.switch_cron(keys, "entry", "resume")
    yield lambda: cron.paused_cron(keys)
    yield lambda: cron.abandon(keys, "_own")
    yield lambda: stats.delete_worker(keys, "sup")
    yield lambda: stats.sessions(keys)
    yield lambda: stats.list_dead(keys)
    yield lambda: stats.read_dead(keys, ["x"])
    yield lambda: stats.died_at(keys, "x")
    yield lambda: stats.delete(keys, ["x"])


@pytest.mark.parametrize("way", [as_anybody, declared_only])
def test_every_script_touches_declared_keys_only(
    place: Place, way: Callable[[Place, Operation[Any]], Any]
) -> None:
    made: set[str] = set()
    for build in every_move(place):
        move = build()
        way(place, move)
        made.add(move.script if isinstance(move.script, str) else move.script.name)
    lua = files("typedq.broker") / "lua"
    scripts = {entry.name.removesuffix(".lua") for entry in lua.iterdir() if entry.is_file()}
    assert made == scripts | {
        "ZRANGE",
        "ZSCORE",
        "HMGET",
        "HGETALL",
        "HDEL",
        "UNLINK",
        "XRANGE",
        "XREVRANGE",
    }
