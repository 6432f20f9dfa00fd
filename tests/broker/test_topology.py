"""Servers that move about: a Cluster whose slots migrate, a primary that Sentinel replaces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.crc import key_slot

from tests.faults import topologies
from tests.faults.topologies import move_slot, port_of
from typedq.broker import Broker, Destination, OutgoingMessage, operations, stats
from typedq.embedded import OwnServer
from typedq.errors import ServerUnavailable
from typedq.message import encode_message, new_ids

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil

CONTRACT = "t@0123456789abcdef"


def messages(count: int) -> list[OutgoingMessage]:
    return [
        OutgoingMessage(
            id,
            Destination("default", CONTRACT),
            encode_message(id=id, contract=CONTRACT, queue="default", options=b"-", body=b"{}"),
        )
        for id in new_ids(count)
    ]


def document(_: str) -> bytes:
    return b"{}"


def ready(broker: Broker) -> int:
    return broker.call(stats.survey(broker.keys, ["default"], [])).queues["default"].ready


@pytest.fixture
def nodes(wait_until: WaitUntil) -> Iterator[list[OwnServer]]:
    """Two masters that share the slots."""
    with ExitStack() as stack:
        args = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
        servers = [stack.enter_context(OwnServer(args=args, tcp=True)) for _ in range(2)]
        clients: list[Any] = [redis.Redis.from_url(server.url) for server in servers]
        for client, slots in zip(clients, ((0, 8000), (8001, 16383)), strict=True):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port_of(servers[1]))
        for client in clients:

            def is_up(client: Any = client) -> bool:
                return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")

            wait_until(is_up)
        yield servers
        for client in clients:
            client.close()


def test_namespaces_spread_over_a_cluster(nodes: list[OwnServer]) -> None:
    for namespace in ("one", "two", "three", "four"):
        broker = Broker(f"redis+cluster://127.0.0.1:{port_of(nodes[0])}", namespace)
        broker.enqueue(messages(3), document)

        async def more(broker: Broker = broker) -> None:
            await broker.aenqueue(messages(2), document)
            await broker.aclose()

        asyncio.run(more())
        assert ready(broker) == 5
        broker.close()
    sizes = [redis.Redis.from_url(node.url).dbsize() for node in nodes]
    assert all(sizes)


def test_a_slot_that_moved_is_followed(nodes: list[OwnServer]) -> None:
    broker = Broker(f"redis+cluster://127.0.0.1:{port_of(nodes[1])}", "one")
    broker.enqueue(messages(3), document)
    slot = key_slot(b"{one}")
    source, target = nodes if slot <= 8000 else reversed(nodes)
    move_slot(slot, source, target, lambda: None)
    broker.enqueue(messages(2), document)
    assert ready(broker) == 5
    assert redis.Redis.from_url(source.url).dbsize() == 0
    broker.close()


def test_a_node_of_a_cluster_asks_for_credentials_as_a_single_server(
    nodes: list[OwnServer],
) -> None:
    for node in nodes:
        with redis.Redis.from_url(node.url) as client:
            client.execute_command("ACL", "SETUSER", "shop", "on", ">t0ken", "~*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "-@all", "+acl")
    asked_in = list[asyncio.AbstractEventLoop]()

    async def credentials() -> tuple[str, str]:
        asked_in.append(asyncio.get_running_loop())
        return "shop", "t0ken"

    url = f"redis+cluster://127.0.0.1:{port_of(nodes[0])}"
    broker = Broker(url, "one", credentials=credentials)

    async def more() -> asyncio.AbstractEventLoop:
        asked_in.clear()
        await broker.aenqueue(messages(2), document)
        return asyncio.get_running_loop()

    broker.enqueue(messages(3), document)
    loop = asyncio.run(more())
    assert {*asked_in} == {loop}, "a provider may have things that belong to its loop"
    assert ready(broker) == 5
    broker.close()


def test_a_failover_is_followed(tmp_path: Path, wait_until: WaitUntil) -> None:
    with topologies.sentinels(tmp_path) as (url, primary, replica):
        broker = Broker(url, "failover", deadline=25)
        broker.enqueue(messages(3), document)
        other: Any = redis.Redis.from_url(replica.url)
        wait_until(lambda: other.llen("{failover}:ready:default") == 3)
        primary.kill()
        broker.enqueue(messages(2), document)
        assert other.llen("{failover}:ready:default") == 5
        assert broker.call(operations.open(broker.keys, ["s"], ["default"], 30_000)) == 1
        broker.close()
        other.close()


def test_sentinels_that_do_not_know_the_service_are_named(
    tmp_path: Path, private: OwnServer
) -> None:
    with topologies.one_sentinel(tmp_path, private) as (url, _):
        broker = Broker(url.replace("/jobs/", "/mail/"), "x", deadline=1)
        with pytest.raises(ServerUnavailable, match="knows no service 'mail'"):
            broker.enqueue(messages(1), document)
