"""Servers that move about: a Cluster whose slots migrate, a primary that Sentinel replaces."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.crc import key_slot

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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def sentinels(tmp_path: Path, wait_until: WaitUntil) -> Iterator[tuple[str, list[OwnServer]]]:
    """Three Sentinels that watch a primary with one replica; yields the URL and both servers."""
    with ExitStack() as stack:
        primary = stack.enter_context(OwnServer(tcp=True))
        replicaof = ("--replicaof", f"127.0.0.1 {port_of(primary)}")
        replica = stack.enter_context(OwnServer(args=replicaof, tcp=True))
        ports = [free_port() for _ in range(3)]
        for port in ports:
            config = tmp_path / f"{port}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\nprotected-mode no\n"
                f"dir {tmp_path}\nlogfile {tmp_path}/{port}.log\n"
                f"sentinel monitor jobs 127.0.0.1 {port_of(primary)} 2\n"
                "sentinel down-after-milliseconds jobs 500\n"
                "sentinel failover-timeout jobs 3000\n"
            )
            process = subprocess.Popen([primary.binary, str(config), "--sentinel"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        for port in ports:
            client: Any = stack.enter_context(redis.Redis(port=port, decode_responses=True))

            def sees_all(client: Any = client) -> bool:
                try:
                    state: dict[Any, Any] = client.execute_command("SENTINEL", "MASTER", "jobs")
                except redis.ConnectionError:
                    return False
                found = {k: int(v) for k, v in state.items() if k.startswith("num-")}
                return found["num-other-sentinels"] == 2 and found["num-slaves"] == 1

            wait_until(sees_all, 20)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"redis+sentinel://{hosts}/jobs/0", [primary, replica]


def test_a_failover_is_followed(
    sentinels: tuple[str, list[OwnServer]], wait_until: WaitUntil
) -> None:
    url, (primary, replica) = sentinels
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
    sentinels: tuple[str, list[OwnServer]],
) -> None:
    url, _ = sentinels
    with pytest.raises(ServerUnavailable, match="knows no service 'mail'"):
        Broker(url.replace("/jobs/", "/mail/"), "x", deadline=1).enqueue(messages(1), document)
