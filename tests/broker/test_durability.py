"""Accepted only once a replica has it, or the disk: on real replicas, and where that fails."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.broker.conftest import Place
from tests.faults.proxy import Proxy
from tests.faults.topologies import client, port_of, replicated
from typedq import TypedQ
from typedq.broker import Broker
from typedq.broker.failures import Refused
from typedq.embedded import OwnServer, bundled
from typedq.errors import EnqueueUncertain, ServerRefused

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from typedq.broker.client import Durability

OLD = shutil.which("redis-server")
ALWAYS = ("--appendfsync", "always")
UNCONFIRMED = (
    r"no replica confirmed within 1 s: 1 message\(s\) are in the server's memory, and may be lost"
    r" \(first id \w{26}\); sending again may run them twice$"
)
NEEDS = "durability fsync needs Redis or Valkey 7.2, appendonly yes and appendfsync always"


@pytest.fixture(scope="module", params=filter(None, [str(bundled()), OLD]), ids=lambda p: p[-12:])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[OwnServer, OwnServer]]:
    """A primary and its replica, of each kind of server there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TYPEDQ_TEST_SERVER", request.param)
        with replicated() as servers:
            yield servers


class Senders:
    """Brokers of one namespace, and what lies on the server."""

    def __init__(self, server: OwnServer, namespace: str) -> None:
        self.place = Place(server, namespace)
        self.brokers = list[Broker]()

    def broker(self, durability: Durability, *, url: str = "", deadline: float = 1.0) -> Broker:
        made = Broker(
            url or self.place.url, self.place.namespace, deadline=deadline, durability=durability
        )
        self.brokers.append(made)
        return made

    def send(self, broker: Broker) -> str:
        out = self.place.outgoing()
        broker.enqueue([out], self.place.document)
        return out.id

    def asend(self, broker: Broker) -> str:
        out = self.place.outgoing()

        async def run() -> None:
            try:
                await broker.aenqueue([out], self.place.document)
            finally:
                await broker.aclose()

        asyncio.run(run())
        return out.id

    def close(self) -> None:
        for broker in self.brokers:
            broker.close()
        self.place.close()


@pytest.fixture
def senders(pair: tuple[OwnServer, OwnServer], namespace: str) -> Iterator[Senders]:
    made = Senders(pair[0], namespace)
    yield made
    made.close()


@pytest.fixture
def asleep(pair: tuple[OwnServer, OwnServer]) -> Iterator[Callable[[], None]]:
    """Put the replica to sleep; it is awake and in step again afterwards."""
    primary, replica = pair
    yield replica.pause
    replica.resume()
    assert client(port_of(primary)).wait(1, 10_000) == 1


def held_by(server: OwnServer, senders: Senders) -> list[str]:
    there = Place(server, senders.place.namespace)
    try:
        return there.ready()
    finally:
        there.close()


def test_what_is_accepted_is_on_the_replica(
    pair: tuple[OwnServer, OwnServer], senders: Senders
) -> None:
    broker = senders.broker("replica")
    for send in (senders.send, senders.asend, senders.send):
        id = send(broker)
        assert held_by(pair[1], senders)[-1] == id


@pytest.mark.parametrize("is_async", [False, True])
def test_a_replica_that_does_not_answer(
    senders: Senders, asleep: Callable[[], None], is_async: bool
) -> None:
    broker = senders.broker("replica")
    [first, send] = [senders.send(broker), senders.asend if is_async else senders.send]
    asleep()
    before = time.monotonic()
    with pytest.raises(EnqueueUncertain, match=UNCONFIRMED) as caught:
        send(broker)
    assert 0.9 < time.monotonic() - before < 3
    assert caught.value.unconfirmed == "replica"
    assert senders.place.ready() == [first, *caught.value.ids]


def test_memory_does_not_wait_for_a_replica(senders: Senders, asleep: Callable[[], None]) -> None:
    asleep()
    id = senders.send(senders.broker("memory"))
    assert senders.place.ready() == [id]


def test_a_resend_waits_for_what_another_connection_wrote(
    pair: tuple[OwnServer, OwnServer], senders: Senders, asleep: Callable[[], None]
) -> None:
    """WAIT is about its own connection: on the new one of a resend it would have nothing to do."""
    with Proxy(port_of(pair[0])) as proxy:
        broker = senders.broker("replica", url=proxy.url)
        first = senders.send(broker)
        proxy.drop_reply_to("EVALSHA")
        second = senders.send(broker)
        assert senders.place.ready() == [first, second]
        asleep()
        proxy.drop_reply_to("EVALSHA")
        with pytest.raises(EnqueueUncertain, match="no replica confirmed"):
            senders.send(broker)
        assert proxy.dropped == 2
        assert len(senders.place.ready()) == 3


def test_a_lost_confirmation_is_asked_for_again(
    pair: tuple[OwnServer, OwnServer], senders: Senders
) -> None:
    with Proxy(port_of(pair[0])) as proxy:
        broker = senders.broker("replica", url=proxy.url)
        first = senders.send(broker)
        proxy.drop_reply_to("WAIT")
        second = senders.send(broker)
        assert proxy.dropped == 1
        assert senders.place.ready() == [first, second]


def test_a_replica_that_wakes_up_in_time(
    pair: tuple[OwnServer, OwnServer], senders: Senders, asleep: Callable[[], None]
) -> None:
    broker = senders.broker("replica", deadline=20.0)
    senders.send(broker)
    asleep()
    timer = threading.Timer(1.5, pair[1].resume)
    timer.start()
    id = senders.send(broker)
    timer.join()
    assert senders.place.ready()[-1] == id == held_by(pair[1], senders)[-1]


def test_chunks_and_broadcasts_of_an_app(senders: Senders, asleep: Callable[[], None]) -> None:
    app = TypedQ(
        senders.place.namespace, url=senders.place.url, durability="replica", enqueue_deadline=1
    )

    @app.task
    def job(number: int) -> None: ...

    calls = [job.call(number) for number in range(4)]
    app.enqueue_many(calls, chunk=2)
    job.broadcast(1)

    asleep()
    with pytest.raises(EnqueueUncertain, match="2 message") as first:
        app.enqueue_many(calls, chunk=2)
    assert len(first.value.ids) == 2
    with pytest.raises(EnqueueUncertain, match=UNCONFIRMED):
        job.broadcast(2)
    assert senders.place.redis.xlen(senders.place.keys.broadcasts) == 2
    app.close()


def test_a_failover_that_lost_it_between_the_write_and_the_wait(
    pair: tuple[OwnServer, OwnServer], namespace: str, wait_until: WaitUntil
) -> None:
    """The resend by producer id and number finds nothing at the new primary: it is accepted."""
    with OwnServer(tcp=True) as alone, Proxy(port_of(alone)) as proxy:
        senders = Senders(alone, namespace)
        broker = senders.broker("replica", url=proxy.url, deadline=20.0)
        sent = list[str]()
        producer = threading.Thread(target=lambda: sent.append(senders.send(broker)))
        producer.start()
        wait_until(senders.place.ready)
        proxy.cut(port_of(pair[0]))
        alone.kill()
        producer.join()
        there = Senders(pair[0], namespace)
        assert there.place.ready() == held_by(pair[1], there) == sent
        assert len(sent) == 1
        senders.close()
        there.close()


def test_a_primary_that_is_demoted_while_it_waits(namespace: str, wait_until: WaitUntil) -> None:
    with OwnServer(tcp=True) as server:
        senders = Senders(server, namespace)
        broker = senders.broker("replica")
        caught = list[EnqueueUncertain]()

        def produce() -> None:
            with pytest.raises(EnqueueUncertain, match="no replica confirmed") as raised:
                senders.send(broker)
            caught.append(raised.value)

        producer = threading.Thread(target=produce)
        producer.start()
        wait_until(senders.place.ready)
        client(port_of(server)).execute_command("REPLICAOF", "127.0.0.1", 1)
        producer.join()
        assert caught
        assert isinstance(caught[0].__cause__, Refused)
        senders.close()


def test_a_server_that_refuses_without_a_replica(namespace: str) -> None:
    with OwnServer(args=("--min-replicas-to-write", "1"), tcp=True) as server:
        senders = Senders(server, namespace)
        for send in (senders.send, senders.asend):
            with pytest.raises(ServerRefused, match="Not enough good replicas to write"):
                send(senders.broker("replica"))
        assert senders.place.names() == set()
        senders.close()


def test_a_user_who_may_not_wait(pair: tuple[OwnServer, OwnServer], senders: Senders) -> None:
    admin = senders.place.redis
    admin.execute_command("ACL", "SETUSER", "hasty", "on", ">pw", "~*", "+@all", "-wait")
    hasty = senders.broker("replica", url=senders.place.url.replace("//", "//hasty:pw@"))
    for send in (senders.send, senders.asend):
        with pytest.raises(ServerRefused, match="this user may not do that; see the ACLs"):
            send(hasty)
    admin.execute_command("ACL", "DELUSER", "hasty")
    assert senders.place.ready() == []


# --- fsync --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synced() -> Iterator[OwnServer]:
    with OwnServer(args=ALWAYS, binary=bundled(), tcp=True) as server:
        yield server


@pytest.fixture
def writers(synced: OwnServer, namespace: str) -> Iterator[Senders]:
    made = Senders(synced, namespace)
    yield made
    for name, value in {"appendonly": "yes", "appendfsync": "always"}.items():
        made.place.redis.config_set(name, value)
    made.close()


def test_what_is_accepted_is_on_the_disk(namespace: str) -> None:
    with OwnServer(args=ALWAYS, binary=bundled(), tcp=True) as server:
        senders = Senders(server, namespace)
        broker = senders.broker("fsync")
        ids = [senders.send(broker), senders.asend(broker), senders.send(broker)]
        server.kill()
        server.start()
        assert senders.place.ready() == ids
        senders.close()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("appendonly", "no", "appendonly is disabled"), ("appendfsync", "everysec", "here it is ev")],
)
def test_a_server_that_does_not_sync(writers: Senders, name: str, value: str, why: str) -> None:
    writers.place.redis.config_set(name, value)
    broker = writers.broker("fsync")
    for send in (writers.send, writers.asend):
        with pytest.raises(ServerRefused, match=why) as caught:
            send(broker)
        assert caught.value.reason.startswith(NEEDS)
    assert writers.place.names() == set()


def test_an_append_only_file_that_is_switched_off_later(writers: Senders) -> None:
    broker = writers.broker("fsync")
    first = writers.send(broker)
    writers.place.redis.config_set("appendonly", "no")
    with pytest.raises(EnqueueUncertain, match=r"no fsync confirmed within 1 s") as caught:
        writers.send(broker)
    assert "appendonly is disabled" in str(caught.value.__cause__)
    assert writers.place.ready() == [first, *caught.value.ids]


def test_user_without_config_get_assumes_appendfsync_always(writers: Senders) -> None:
    admin = writers.place.redis
    admin.execute_command("ACL", "SETUSER", "plain", "on", ">pw", "~*", "+@all", "-config")
    plain = writers.broker("fsync", url=writers.place.url.replace("//", "//plain:pw@"))
    id = writers.send(plain)
    assert writers.place.ready() == [id]
    admin.execute_command("ACL", "DELUSER", "plain")


def test_a_server_that_does_not_tell_how_it_syncs_is_trusted(namespace: str) -> None:
    with OwnServer(args=("--rename-command", "CONFIG", ""), binary=bundled(), tcp=True) as server:
        senders = Senders(server, namespace)
        id = senders.send(senders.broker("fsync"))
        assert senders.place.ready() == [id]
        senders.close()


@pytest.mark.skipif(OLD is None, reason="needs a redis-server of 7.0")
def test_a_server_that_cannot_wait_for_its_disk(namespace: str) -> None:
    with OwnServer(args=ALWAYS, binary=OLD, tcp=True) as server:
        senders = Senders(server, namespace)
        if "valkey_version" in senders.place.redis.info("server") or (
            senders.place.redis.info("server")["redis_version"] >= "7.2"
        ):
            pytest.skip("this one can")
        for send in (senders.send, senders.asend):
            with pytest.raises(ServerRefused, match="unknown command 'WAITAOF'") as caught:
                send(senders.broker("fsync"))
            assert caught.value.reason.startswith(NEEDS)
        assert senders.place.names() == set()
        senders.close()
