"""Pools and what the server sees of them: names, bounds, loops, threads, signals, descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.security.authority import Authority, free_port, speaking
from typedq.broker import Broker, operations, stats
from typedq.broker.client import MAX_CONNECTIONS
from typedq.broker.script import Operation
from typedq.embedded import OwnServer
from typedq.errors import EnqueueUncertain, ServerUnavailable
from typedq.worker.waiting import Waiter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.conftest import Place
    from tests.conftest import WaitUntil


@pytest.fixture
def server(private: OwnServer) -> OwnServer:
    return private


def names(place: Place) -> list[str]:
    """Of all connections but those of the tests' own client, which have none."""
    return sorted(client["name"] for client in place.redis.client_list() if client["name"])


def ping() -> Operation[Any]:
    return Operation("PING", [], [], lambda reply: reply)


def block(seconds: int) -> Operation[Any]:
    return Operation("BLPOP", ["{x}:nothing"], [seconds], lambda reply: reply)


# --- names ---------------------------------------------------------------------------------------


def test_connections_are_named_after_their_role(place: Place) -> None:
    place.broker.call(ping())
    assert names(place) == ["typedq-producer"]
    worker = Broker(place.url, place.namespace)
    with closing(Waiter(worker, [worker.keys.wake("mid")])) as waiter:
        waiter.wait(0.01)
        own = f"typedq-worker-{os.getpid()}"
        assert names(place) == ["typedq-producer", own, own]
    worker.close()
    named = Broker(f"{place.url}?client_name=shop-7", place.namespace)
    named.call(ping())
    asyncio.run(named.acall(ping()))
    assert "shop-7" in names(place)
    named.close()


def test_a_user_who_may_not_name_its_connections_has_none(place: Place) -> None:
    place.redis.execute_command("ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "-client")
    url = place.url.replace("//", "//mute:pw@")
    broker = Broker(url, place.namespace)
    broker.enqueue([place.outgoing()], place.document)
    asyncio.run(broker.aenqueue([place.outgoing()], place.document))
    assert len(place.ready()) == 2
    assert "mute" in {client["user"] for client in place.redis.client_list()}
    broker.close()
    place.redis.execute_command("ACL", "DELUSER", "mute")


# --- options of the URL --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "protocol=2",
        "protocol=3&health_check_interval=1",
        "socket_timeout=2&socket_connect_timeout=1.5&socket_keepalive=no&socket_read_size=1024",
        "retry_on_timeout=true&decode_responses=True&encoding=latin-1&max_connections=1",
    ],
)
def test_all_works_whatever_the_options(place: Place, options: str) -> None:
    """Also what is no script, whose replies have another shape in RESP 2."""
    broker = Broker(f"{place.url}?{options}", place.namespace)
    keys = broker.keys
    broker.enqueue([place.outgoing()], place.document)

    async def awaited() -> None:
        both = (broker.aenqueue([place.outgoing()], place.document) for _ in range(2))
        await asyncio.gather(*both)

    asyncio.run(awaited())
    assert len(place.ready()) == 3
    assert broker.call(operations.open(keys, ["s"], ["mid"], 30_000)) == 1
    assert [each.name for each in broker.call(stats.sessions(keys))] == ["s"]
    assert broker.call(stats.contracts(keys)).keys() == {place.contract}
    broker.call(operations.renew(keys, ["s"], 30_000, "sup", b"{}"))
    assert broker.call(stats.workers(keys)).keys() == {"sup"}
    assert broker.call(stats.survey(keys, ["mid"], [])).queues["mid"].ready == 3
    with closing(Waiter(broker, [keys.wake("mid")])) as waiter:
        assert waiter.wait(5.0) == 0
    broker.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_reply_is_waited_for_as_long_as_the_url_says(place: Place, is_async: bool) -> None:
    broker = Broker(f"{place.url}?socket_timeout=0.2", place.namespace)

    async def awaited() -> None:
        await broker.acall(ping())  # what times this one must not end with it
        await broker.acall(block(20))

    with pytest.raises(ServerUnavailable, match="timed out"):
        asyncio.run(awaited()) if is_async else broker.call(block(20))
    # What blocks on purpose is not cut short by it.
    with closing(Waiter(broker, [broker.keys.wake("mid")])) as waiter:
        waker = threading.Timer(0.6, place.redis.rpush, (place.keys.wake("mid"), "1"))
        waker.start()
        assert waiter.wait(10.0) == 0
        waker.join()


def test_idle_connections_are_checked_as_often_as_the_url_says(place: Place) -> None:
    broker = Broker(f"{place.url}?health_check_interval=1", place.namespace)
    broker.call(ping())
    [connection] = broker._pool._idle
    connection._redis.next_health_check = 0
    place.redis.config_resetstat()
    broker.call(stats.workers(broker.keys))
    assert place.redis.info("commandstats")["cmdstat_ping"]["calls"] == 1
    broker.close()


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "most"), [("", MAX_CONNECTIONS), ("?max_connections=3", 3)])
def test_idle_connections_of_blocking_calls_are_bounded(
    place: Place, wait_until: WaitUntil, more: str, most: int
) -> None:
    broker, together = Broker(place.url + more, place.namespace), threading.Barrier(30)

    def call(_: int) -> None:
        together.wait(20)
        broker.call(block(1))

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(call, range(30)))
    wait_until(lambda: len(names(place)) <= most)
    assert 0 < len(broker._pool._idle) <= most
    broker.close()
    wait_until(lambda: not names(place))


def test_a_server_without_a_connection_left_says_so(place: Place) -> None:
    before = place.redis.config_get("maxclients")["maxclients"]
    place.redis.config_set("maxclients", 1)
    try:
        broker = Broker(place.url, place.namespace, deadline=0.3)

        async def awaited() -> None:
            await broker.aenqueue([place.outgoing()], place.document)

        for attempt in (
            lambda: broker.enqueue([place.outgoing()], place.document),
            lambda: broker.call(ping()),
            lambda: asyncio.run(awaited()),
        ):
            with pytest.raises(ServerUnavailable, match="no free connection; raise its maxclients"):
                attempt()
    finally:
        place.redis.config_set("maxclients", before)


# --- threads, loops, signals, descriptors --------------------------------------------------------


def test_threads_with_loops_of_their_own_enqueue_each_message_once(place: Place) -> None:
    def run(_: int) -> list[str]:
        batch = [place.outgoing() for _ in range(25)]
        for out in batch:
            asyncio.run(place.broker.aenqueue([out], place.document))
        return [out.id for out in batch]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = [id for found in pool.map(run, range(8)) for id in found]
    finally:
        sys.setswitchinterval(before)
    assert place.everywhere() == dict.fromkeys(ids, 1)
    assert place.broker.lost_connections == 0


class Interrupted(BaseException):
    """Raised by a signal handler, as a soft timeout."""


def test_a_signal_between_request_and_reply_leaves_no_reply_to_the_next(place: Place) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    place.redis.delete("{x}:nothing")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(5):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                place.broker.call(block(20))
            place.redis.rpush("{x}:nothing", "late")
            assert place.broker.call(ping()) == b"PONG"
            place.redis.delete("{x}:nothing")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    """Take all file descriptors below `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * count:
        pytest.skip(f"no more than {hard} file descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * count, hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < count:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_file_descriptors_beyond_1024_are_waited_on_like_others(place: Place) -> None:
    with many_descriptors(1_100):
        broker = Broker(place.url, place.namespace)
        for _ in range(2):
            broker.enqueue([place.outgoing()], place.document)
            asyncio.run(broker.aenqueue([place.outgoing()], place.document))
        with closing(Waiter(broker, [broker.keys.wake("mid")])) as waiter:
            assert waiter._tokens._connection.fileno() if waiter.wait(5.0) == 0 else None
            assert waiter.wait(0.05) is None
            waiter.wake()
            assert waiter.wait(20.0) is None
            place.redis.rpush(place.keys.wake("mid"), "1")
            assert waiter.wait(5.0) == 0
            assert waiter._tokens.fileno() > 1_024
        broker.close()


def test_a_waiter_over_tls_misses_no_token(
    place: Place, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """What TLS has decrypted already, the socket does not show."""
    ours, port = Authority(tmp_path, "ours"), free_port()
    pem, key = ours.sign("client")
    files = f"ssl_ca_certs={ours.pem}&ssl_certfile={pem}&ssl_keyfile={key}"
    with speaking(ours, ours.sign("server"), port, tcp=True) as own:
        broker = Broker(f"rediss://localhost:{port}/0?{files}", "x")
        with redis.Redis.from_url(own.url) as eyes:
            waiters = [Waiter(broker, [broker.keys.wake("mid")], persistent=True) for _ in "ab"]
            for _ in range(100):
                eyes.rpush(broker.keys.wake("mid"), "1")
                assert 0 in [waiter.wait(0.2) for waiter in waiters]
            for waiter in waiters:
                waiter.close()
        broker.close()


# --- a server that goes away while nothing is asked ----------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_is_uncertain_if_the_server_died_while_the_connection_was_idle(
    namespace: str, place: Place, is_async: bool
) -> None:
    with OwnServer(tcp=True) as own:
        broker = Broker(own.url, namespace, deadline=0.4)

        async def run() -> None:
            await broker.aenqueue([place.outgoing()], place.document)
            own.kill()
            await broker.aenqueue([place.outgoing()], place.document)

        def blocking() -> None:
            broker.enqueue([place.outgoing()], place.document)
            own.kill()
            broker.enqueue([place.outgoing()], place.document)

        with pytest.raises(ServerUnavailable) as caught:
            asyncio.run(run()) if is_async else blocking()
        assert not isinstance(caught.value, EnqueueUncertain)
        own.start()
        broker.enqueue([place.outgoing()], place.document)
        assert broker.lost_connections
        broker.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_an_operation_on_a_connection_that_was_closed_while_idle_succeeds(
    place: Place, wait_until: WaitUntil, is_async: bool
) -> None:
    async def run() -> None:
        await place.broker.acall(ping())
        place.redis.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: not names(place))
        assert await place.broker.acall(ping()) == b"PONG"

    def blocking() -> None:
        place.broker.call(ping())
        place.redis.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: not names(place))
        assert place.broker.call(ping()) == b"PONG"

    asyncio.run(run()) if is_async else blocking()
    assert place.broker.lost_connections == 1
