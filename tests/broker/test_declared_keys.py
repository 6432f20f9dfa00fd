"""Every script touches the keys it declares and no other, on a Cluster and under an ACL.

A Cluster refuses undeclared keys of other slots. All keys of a namespace are in one slot, so each
move is also made by a user who may touch its declared keys only. Both nets are tested first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import redis

from typedq.broker import Move, moves, parking, schedule, settlements, views
from typedq.broker.script import Script
from typedq.errors import ServerRefused
from typedq.localserver import OwnServer

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


def as_anybody(place: Place, move: Move[T]) -> T:
    return place(move)


def declared_only(place: Place, move: Move[T]) -> T:
    """Make a move as a user who may touch its declared keys and no other."""
    place.redis.acl_setuser(
        "probe", enabled=True, nopass=True, reset_keys=True, keys=move.keys, categories=["+@all"]
    )
    host, port = place.url.removeprefix("redis://").removesuffix("/0").split(":")
    probe: Any = redis.Redis(host=host, port=int(port), username="probe", password="x", protocol=3)
    try:
        return move.parse(ask(probe, move.by_source()))
    finally:
        probe.close()


def ask(client: Any, command: tuple[Any, ...]) -> Any:
    """Send a command past the client's own idea of what its reply means."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def intruder(other: str) -> Move[Any]:
    source = "#!lua\nredis.call('GET', KEYS[1])\nreturn redis.call('GET', ARGV[1])"
    return Move(
        Script("intruder", source, "0" * 40), ["{y}:declared"], [other], lambda reply: reply
    )


def test_a_key_of_another_slot_is_refused(place: Place) -> None:
    with pytest.raises(ServerRefused, match="do not hash to the same slot"):
        place(intruder("{z}:x"))


def test_an_undeclared_key_of_the_same_slot_is_refused(place: Place) -> None:
    assert place(intruder("{y}:x")) is None
    with pytest.raises(redis.ResponseError, match=r"ACL failure|can't access"):
        declared_only(place, intruder("{y}:x"))


def every_move(place: Place) -> Iterator[Callable[[], Move[Any]]]:
    """A walk through every move and most branches of each."""
    keys, queues = place.keys, place.queues
    batch = [place.outgoing(queue) for queue in queues for _ in range(4)]
    batch += [place.outgoing("mid", delay_ms=60_000), place.outgoing("low", eta_ms=5)]
    ids = [out.id.encode() for out in batch]
    schemas = {place.contract: b"{}"}
    settle: list[settlements.Settlement] = [
        settlements.Ack(place.contract.encode(), ids[:1]),
        settlements.Again(ids[1], "high", 1, 0),
        settlements.Again(ids[2], "high", 1, 99),
        settlements.Bury(ids[3], b"{}"),
        settlements.Back(ids[4], "mid"),
    ]
    fates: dict[bytes, moves.Fate] = {ids[0]: "done", ids[1]: "crash", ids[4]: "back"}
    bounds = moves.DeadBounds(count=0)
    yield lambda: moves.enqueue(keys, "lane", 1, batch, {})
    yield lambda: moves.enqueue(keys, "lane", 1, batch, schemas)
    yield lambda: moves.enqueue(keys, "lane", 1, batch, schemas)
    yield lambda: moves.open(keys, ["a", "b"], queues, 30_000)
    yield lambda: moves.look(keys, "a", queues, 1)
    yield lambda: moves.call_back(keys.wake("_own"))
    yield lambda: moves.work(keys, "a", queues, want=9)
    yield lambda: moves.work(keys, "a", queues, settle=settle, want=9, token="low")
    yield lambda: views.revive(keys, queues, [ids[3].decode()])
    yield lambda: moves.work(keys, "b", queues, want=1, bounds=bounds)
    yield lambda: moves.renew(keys, ["a", "ended"], 30_000, "sup", b"{}")
    yield lambda: moves.tick(keys, queues, grace_ms=1, lease_ms=1)
    yield lambda: moves.rotate(keys, "a", "c", queues, 30_000)
    yield lambda: moves.reap(keys, "c", queues, owner=True, fates=fates, crashes=1, bounds=bounds)
    yield lambda: moves.tick(keys, queues, grace_ms=1, lease_ms=1)
    yield lambda: views.survey(keys, queues, ["a", "b"])
    group = parking.Group("low", place.contract)
    aside = [parking.Parked(group, out.id.encode()) for out in batch]
    yield lambda: moves.open(keys, ["d"], queues, 30_000)
    yield lambda: moves.work(keys, "d", queues, want=99)
    yield lambda: parking.park(keys, "d", aside, bounds)
    yield lambda: parking.unpark(keys, "d", group, 1)
    yield lambda: parking.release(keys, group, "ready", bounds=bounds)
    yield lambda: parking.extent(keys, queues, [group])
    yield lambda: views.purge(keys, "low")
    began = [schedule.Firing("entry"), schedule.Firing("entry", 5, batch[0])]
    yield lambda: schedule.cron(keys, began, schemas)
    told = place.outgoing()
    yield lambda: schedule.broadcast(keys, "told", 1, told, schemas)
    yield lambda: schedule.deliver(keys, "_own", schedule.Heard("0-0"))
    yield lambda: schedule.last_slots(keys)
    yield lambda: schedule.abandon(keys, "_own")
    yield lambda: views.sessions(keys)
    yield lambda: views.graves(keys)
    yield lambda: views.letters(keys, ["x"])
    yield lambda: views.forget(keys, ["x"])


@pytest.mark.parametrize("way", [as_anybody, declared_only])
def test_every_script_touches_declared_keys_only(
    place: Place, way: Callable[[Place, Move[Any]], Any]
) -> None:
    made: set[str] = set()
    for build in every_move(place):
        move = build()
        way(place, move)
        made.add(move.script if isinstance(move.script, str) else move.script.name)
    lua = files("typedq.broker") / "lua"
    scripts = {entry.name.removesuffix(".lua") for entry in lua.iterdir() if entry.is_file()}
    assert made == scripts | {"ZRANGE", "HMGET", "HGETALL", "UNLINK"}
