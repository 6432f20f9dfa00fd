"""When the server cannot or will not: an error that says what to do, and never the password."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from typedq.broker import Broker, operations, settlements, stats
from typedq.embedded import OwnServer
from typedq.errors import ServerError, ServerRefused, ServerUnavailable

if TYPE_CHECKING:
    from tests.broker.conftest import Place
    from tests.conftest import WaitUntil

SECRET = "h0rse-battery"
HELLO = b"%%3\r\n$6\r\nserver\r\n$%d\r\n%b\r\n$7\r\nversion\r\n$%d\r\n%b\r\n$5\r\nproto\r\n:3\r\n"


@pytest.fixture
def server(private: OwnServer) -> OwnServer:
    return private


def at(url: str, user: str) -> str:
    return url.replace("redis://", f"redis://{user}@")


def refused(place: Place, url: str, message: str, kind: type[ServerError] = ServerRefused) -> None:
    """Enqueue and another move, sync and awaited, fail alike, with this message."""
    broker = Broker(url, place.namespace, deadline=0.5)
    batch = [place.outgoing()]

    async def awaited(enqueue: bool) -> None:
        if enqueue:
            await broker.aenqueue(batch, place.document)
        else:
            await broker.acall(operations.open(broker.keys, ["s"], ["mid"], 1))

    for attempt in (
        lambda: broker.enqueue(batch, place.document),
        lambda: broker.call(operations.open(broker.keys, ["s"], ["mid"], 1)),
        lambda: asyncio.run(awaited(enqueue=True)),
        lambda: asyncio.run(awaited(enqueue=False)),
    ):
        with pytest.raises(kind, match=message) as caught:
            attempt()
        assert type(caught.value) is kind
        assert caught.value.url == broker.url
        assert str(caught.value).startswith(broker.url + ": ")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    broker.close()


def test_enqueue_without_a_server_raises_server_unavailable(place: Place) -> None:
    advice = r"no answer from the server \(.+\); is it running, and is the URL right\?$"
    url = f"redis://user:{SECRET}@127.0.0.1:1/0"
    refused(place, url, advice, ServerUnavailable)
    refused(place, "unix:///nowhere/at/all", advice, ServerUnavailable)
    refused(place, f"redis://:{SECRET}@no-such-host.invalid:6379", advice, ServerUnavailable)


def test_wrong_password(place: Place) -> None:
    place.redis.acl_setuser("anne", enabled=True, passwords=["+right"], categories=["+@all"])
    advice = "wrong or missing user name or password in the URL"
    refused(place, at(place.url, f"anne:{SECRET}"), advice)
    refused(place, at(place.url, f"nobody:{SECRET}"), advice)


def test_missing_password(place: Place) -> None:
    place.redis.config_set("requirepass", SECRET)
    try:
        refused(place, place.url, "wrong or missing user name or password in the URL")
    finally:
        place.redis.config_set("requirepass", "")


def test_enqueue_without_permission_raises_server_refused(place: Place) -> None:
    place.redis.acl_setuser(
        "reader", enabled=True, passwords=[f"+{SECRET}"], categories=["+@connection"]
    )
    refused(place, at(place.url, f"reader:{SECRET}"), "this user may not do that; see the ACLs")


def test_a_read_only_replica(place: Place) -> None:
    with OwnServer(args=("--replicaof", "127.0.0.1 1"), tcp=True) as replica:
        refused(place, replica.url, "is a read-only replica; use the URL of the primary")


@contextmanager
def impostor(greeting: bytes) -> Iterator[str]:
    """Answers every command with one greeting: a server of a version that is hard to install."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65_536):
                self.request.sendall(greeting)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.server_address[1]}/0"
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("name", "version", "oldest"),
    [(b"redis", b"6.2.14", "7.0"), (b"redis", b"5.0.0", "7.0"), (b"valkey", b"7.1.9", "7.2")],
)
def test_a_server_too_old(place: Place, name: bytes, version: bytes, oldest: str) -> None:
    greeting = HELLO % (len(name), name, len(version), version)
    word = name.decode()
    message = f"{word} {version.decode()} is too old: typedq needs {word} {oldest} or newer$"
    with impostor(greeting) as url:
        refused(place, url, message)


def test_server_without_hello_is_refused_as_too_old(place: Place) -> None:
    with impostor(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n") as url:
        refused(place, url, r"too old: typedq needs redis 7\.0 or valkey 7\.2, or newer")


def test_out_of_memory_refuses_the_producer_and_not_the_worker(place: Place) -> None:
    place.open("s")
    ids = place.fill(3)
    place.fetch("s", 2)
    before = place.snapshot()
    place.redis.config_set("maxmemory", 1)
    try:
        url, keys = place.url, place.keys
        with pytest.raises(ServerRefused, match="out of memory; raise maxmemory or drain queues"):
            place.fill(1)
        broker = Broker(url, place.namespace, deadline=0.5)
        with pytest.raises(ServerRefused, match="out of memory"):
            asyncio.run(broker.aenqueue([place.outgoing()], place.document))
        with pytest.raises(ServerRefused, match="out of memory"):
            place(stats.requeue(keys, place.queues, ids))
        assert place.snapshot() == before
        settle = settlements.Retry(ids[0].encode(), "mid", 1, 60_000)
        bury = settlements.DeadLetter(ids[1].encode(), b"{}")
        assert place.work("s", 1, settle, bury).settled == 2
        assert place(operations.renew(keys, ["s"], 30_000, "sup", b"{}"))[1] == []
        place.tick()
        assert place(operations.replace_session(keys, "s", "t", place.queues, 30_000)).kept
        assert place(operations.recover_session(keys, "t", place.queues, owner=True)).requeued == 1
        place(stats.survey(keys, place.queues, []))
        place(stats.delete(keys, [ids[1]]))
        assert place.everywhere() == {ids[0]: 1, ids[2]: 1}
    finally:
        place.redis.config_set("maxmemory", 0)
    place.fill(1)


def test_loading_is_waited_for_and_then_named(place: Place, wait_until: WaitUntil) -> None:
    for n in range(4):
        place.fill(500, delay_ms=60_000 + n)
    pipe = place.redis.pipeline()
    for n in range(2_000):
        pipe.set(f"filler:{n}", "x" * 50)
    pipe.execute()
    [short, long] = [Broker(place.url, place.namespace, deadline=d) for d in (0.5, 10.0)]
    place.redis.config_set("key-load-delay", 500)
    reload = threading.Thread(target=lambda: place.redis.execute_command("DEBUG", "RELOAD"))
    reload.start()

    def loading() -> bool:
        probe: Any = redis.Redis.from_url(place.url)
        try:
            probe.ping()
        except redis.BusyLoadingError:
            return True
        finally:
            probe.close()
        return False

    wait_until(loading)
    with pytest.raises(ServerUnavailable, match="loading the dataset"):
        short.enqueue([place.outgoing()], place.document)
    out = place.outgoing()
    long.enqueue([out], place.document)
    reload.join()
    place.redis.config_set("key-load-delay", 0)
    assert place.ready() == [out.id]


def test_a_script_error_is_a_refusal(place: Place) -> None:
    place.redis.set(place.keys.ready("mid"), "not a list")
    with pytest.raises(ServerRefused, match=r"WRONGTYPE|wrong kind of value"):
        place.fill(1)
