"""Each answer that says "not here" or "not now": it is waited out, and nothing is doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.crc import key_slot

from tests.broker.test_topology import document, messages, nodes, ready
from tests.faults.topologies import client, move_slot, one_sentinel, port_of
from typedq.broker import Broker
from typedq.broker.failures import Refused
from typedq.broker.script import command
from typedq.embedded import OwnServer
from typedq.worker.waiting import Waiter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil

__all__ = ["nodes"]
NAME = "one"


def told(server: OwnServer, answer: str) -> int:
    """How often it has answered so."""
    with closing(redis.Redis.from_url(server.url)) as eyes:
        stats: Any = eyes.info("errorstats")
        return int(stats.get(f"errorstat_{answer}", {"count": 0})["count"])


def place(nodes: list[OwnServer]) -> tuple[int, OwnServer, OwnServer]:
    """The slot of the namespace, who serves it, and the other one."""
    slot = key_slot(b"{%s}" % NAME.encode())
    return (slot, *nodes) if slot <= 8000 else (slot, *reversed(nodes))  # type: ignore[return-value]


class Producers:
    """One that is connected, one that never was, and a coroutine: each enqueues two messages."""

    def __init__(self, url: str) -> None:
        self.known, self.fresh, self.awaited = (Broker(url, NAME) for _ in range(3))
        self.known.enqueue(messages(3), document)
        self._pool = ThreadPoolExecutor(3)
        self._sent: list[Future[Any]] = []

    def begin(self) -> None:
        """Enqueue, each in a thread of its own."""

        async def more() -> None:
            await self.awaited.aenqueue(messages(2), document)
            await self.awaited.aclose()

        self._sent = [
            self._pool.submit(self.known.enqueue, messages(2), document),
            self._pool.submit(self.fresh.enqueue, messages(2), document),
            self._pool.submit(lambda: asyncio.run(more())),
        ]

    def end(self) -> None:
        """All have returned, and every message is there once."""
        for sent in self._sent:
            sent.result(15)
        assert ready(self.known) == 3 + 3 * 2
        assert ready(self.fresh) == 3 + 3 * 2


@contextmanager
def producers(url: str) -> Iterator[Producers]:
    those = Producers(url)
    try:
        yield those
        those.end()
    finally:
        those._pool.shutdown()
        those.known.close()
        those.fresh.close()


@pytest.mark.parametrize("answer", ["ASK", "TRYAGAIN"])
def test_while_a_slot_is_half_moved_an_enqueue_waits(
    nodes: list[OwnServer], wait_until: WaitUntil, answer: str
) -> None:
    slot, source, target = place(nodes)
    left = [client(port_of(source)).execute_command]
    with producers(f"redis+cluster://127.0.0.1:{port_of(nodes[0])}") as those:
        all_keys = left[0]("CLUSTER", "COUNTKEYSINSLOT", slot)
        begun = list[int]()

        def between() -> None:
            keys = left[0]("CLUSTER", "COUNTKEYSINSLOT", slot)
            if not begun and keys == (0 if answer == "ASK" else all_keys - 2):
                begun.append(keys)
                those.begin()
                wait_until(lambda: told(source, answer) >= 4)

        move_slot(slot, source, target, between)
        assert begun


@pytest.mark.slow
def test_a_cluster_that_is_down_is_waited_for(
    nodes: list[OwnServer], wait_until: WaitUntil
) -> None:
    _, source, other = place(nodes)
    with producers(f"redis+cluster://127.0.0.1:{port_of(source)}") as those:
        other.kill()
        hand = client(port_of(source))
        wait_until(lambda: "state:fail" in hand.execute_command("CLUSTER", "INFO"))
        those.begin()
        wait_until(lambda: told(source, "CLUSTERDOWN") >= 4)
        other.start()


def test_a_sentinel_that_still_names_a_replica_is_asked_again(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(OwnServer(tcp=True))
        replicaof = ("--replicaof", f"127.0.0.1 {port_of(primary)}")
        replica = stack.enter_context(OwnServer(args=replicaof, tcp=True))
        url, name_it = stack.enter_context(one_sentinel(tmp_path, primary))
        with producers(url) as those:
            name_it(replica)
            client(port_of(primary)).client_kill_filter(_type="normal")
            those.begin()
            wait_until(lambda: told(replica, "READONLY") >= 4)
            name_it(primary)


@pytest.mark.slow
def test_a_server_that_loads_is_waited_for(wait_until: WaitUntil) -> None:
    slowly = ("--key-load-delay", "300")
    with OwnServer(args=slowly) as server, producers(server.url) as those:
        eyes = redis.Redis.from_url(server.url)
        for _ in range(6):
            eyes.mset({f"filler{n}": n for n in range(10)})
        with eyes.pipeline(transaction=False) as pipe:
            for n in range(6_000):
                pipe.set(f"filler{n}", n)
            pipe.execute()

        def begin_while_it_loads() -> None:
            wait_until(lambda: is_loading(server))
            those.begin()

        server.kill()
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(begin_while_it_loads)
            server.start()
            begun.result()
        eyes.close()


def is_loading(server: OwnServer) -> bool:
    with closing(redis.Redis.from_url(server.url)) as eyes:
        try:
            eyes.ping()
        except redis.BusyLoadingError:
            return True
        except redis.ConnectionError:
            return False
    return False


def test_who_blocks_on_a_slot_that_moves_blocks_where_it_is_then(
    nodes: list[OwnServer], wait_until: WaitUntil
) -> None:
    slot, source, target = place(nodes)
    broker = Broker(f"redis+cluster://127.0.0.1:{port_of(nodes[0])}", NAME)
    waiter = Waiter(broker, [broker.keys.wake("default")])
    with closing(waiter), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waiter.wait, 20.0)
        wait_until(lambda: client(port_of(source)).info("clients")["blocked_clients"] == 1)
        move_slot(slot, source, target, lambda: None)
        assert waiting.result(5) is None
        waiting = pool.submit(waiter.wait, 20.0)
        wait_until(lambda: client(port_of(target)).info("clients")["blocked_clients"] == 1)
        broker.enqueue(messages(1), document)
        assert waiting.result(5) == 0
    broker.close()


def test_who_blocks_on_a_primary_that_steps_down_is_unblocked(wait_until: WaitUntil) -> None:
    with OwnServer(tcp=True) as server, OwnServer(tcp=True) as other:
        broker, hand = Broker(server.url, NAME), client(port_of(server))
        wake = broker.keys.wake("default")
        link, waiter = broker.connection(), Waiter(broker, [wake])
        with closing(link), closing(waiter), ThreadPoolExecutor(1) as pool:
            link.send(command("BLPOP", wake, 20))
            waiting = pool.submit(waiter.wait, 20.0)
            wait_until(lambda: hand.info("clients")["blocked_clients"] == 2)
            hand.replicaof("127.0.0.1", port_of(other))
            with pytest.raises(Refused, match=r"^UNBLOCKED"):
                link.read()
            assert waiting.result(5) is None
            hand.replicaof("NO", "ONE")
            waiting = pool.submit(waiter.wait, 20.0)
            wait_until(lambda: hand.info("clients")["blocked_clients"] == 1)
            broker.enqueue(messages(1), document)
            assert waiting.result(5) == 0
        broker.close()
