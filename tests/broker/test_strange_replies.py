"""Replies that no script of typedq gives: an error of ours, and nothing repeats for ever."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.broker.conftest import Place
from tests.broker.test_connections import HELLO
from typedq.broker import Broker, operations
from typedq.errors import EnqueueUncertain, ServerError, ServerRefused, ServerUnavailable

MEANINGLESS = {
    "a number": b":1\r\n",
    "nothing": b"_\r\n",
    "a status": b"+OK\r\n",
    "no words": b"*0\r\n",
    "another word": b"*1\r\n$5\r\nhello\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "not text": b"*1\r\n$2\r\n\xff\xfe\r\n",
    "an error inside": b"*1\r\n-ERR x\r\n",
    "unknown contracts without a name": b"*1\r\n$7\r\nunknown\r\n",
    "a contract that stays unknown": b"*2\r\n$7\r\nunknown\r\n$1\r\nc\r\n",
}


@contextmanager
def answering(*replies: bytes, to: bytes = b"EVAL") -> Iterator[tuple[str, Callable[[], int]]]:
    """A server that gives these replies to scripts, the last one for ever; its count of clients.

    to: another command that is answered so
    """
    left, clients = list(replies), list[int]()

    class Talk(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            clients.append(1)
            while data := self.request.recv(1 << 20):
                if to in data:
                    self.request.sendall(left.pop(0) if left[1:] else left[0])
                else:
                    self.request.sendall(HELLO if b"HELLO" in data else b"+OK\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.server_address[1]}", lambda: len(clients)
        finally:
            listener.shutdown()
            thread.join()


def attempts(broker: Broker) -> list[Callable[[], object]]:
    batch = [Place.outgoing()]

    async def awaited() -> None:
        await broker.aenqueue(batch, Place.document)

    return [
        lambda: broker.enqueue(batch, Place.document),
        lambda: asyncio.run(awaited()),
    ]


@pytest.mark.parametrize("reply", MEANINGLESS.values(), ids=MEANINGLESS)
def test_a_reply_without_meaning_leaves_an_enqueue_uncertain(reply: bytes) -> None:
    with answering(reply) as (url, _):
        broker = Broker(url, "x", deadline=0.1)
        for attempt in attempts(broker):
            with pytest.raises(EnqueueUncertain):
                attempt()
        broker.close()


def test_a_reply_without_meaning_is_no_result() -> None:
    with answering(b"+OK\r\n") as (url, _):
        broker = Broker(url, "x", deadline=0.1)
        with pytest.raises(ServerUnavailable, match="its reply is not one of typedq's scripts"):
            broker.call(operations.open(broker.keys, ["s"], ["mid"], 1))
        broker.close()


def test_a_producer_id_that_is_new_and_always_seen_ends_at_the_deadline() -> None:
    with answering(b"*1\r\n$4\r\nseen\r\n", b"*1\r\n$4\r\nseen\r\n", b":0\r\n") as (url, _):
        broker = Broker(url, "x", deadline=0.1)
        with pytest.raises(EnqueueUncertain):
            attempts(broker)[0]()
        broker.close()


@pytest.mark.parametrize(
    ("reply", "advice", "kind"),
    [
        ("BUSY a script", "a script blocks it; end that one with SCRIPT KILL", ServerUnavailable),
        ("LOADING", "it still reads its data from disk; try again later", ServerUnavailable),
        ("CLUSTERDOWN", r"a node of a Cluster; use redis\+cluster://", ServerRefused),
        ("ASK 1 127.0.0.1:1", r"a node of a Cluster; use redis\+cluster://", ServerRefused),
    ],
)
def test_a_refusal_says_what_to_do(reply: str, advice: str, kind: type[ServerError]) -> None:
    with answering(b"-%b\r\n" % reply.encode()) as (url, _):
        broker = Broker(url, "x", deadline=0.1)
        for attempt in attempts(broker):
            with pytest.raises(kind, match=advice):
                attempt()
        broker.close()


def test_a_script_that_blocks_the_server_is_waited_for() -> None:
    with answering(b"-BUSY a script\r\n", b"*1\r\n$8\r\naccepted\r\n") as (url, _):
        for n in (0, 1):
            broker = Broker(url, "x", deadline=5)
            attempts(broker)[n]()
            broker.close()


def test_after_a_failover_behind_one_name_the_next_call_connects_anew() -> None:
    with answering(b"-READONLY a replica\r\n", b"*1\r\n$8\r\naccepted\r\n") as (url, clients):
        broker = Broker(url, "x", deadline=5)
        attempt = attempts(broker)[0]
        with pytest.raises(ServerRefused, match="read-only replica"):
            attempt()
        attempt()
        assert clients() == 2
        broker.close()


def test_a_coroutine_that_waits_for_a_connection_waits_within_its_deadline() -> None:
    """Not one deadline after the other, as many as there are turns at the connections."""
    with answering(b"") as (url, clients):  # it never replies
        broker = Broker(f"{url}?max_connections=1", "x", deadline=0.2)

        async def all_of_them() -> list[object]:
            awaited = (broker.aenqueue([Place.outgoing()], Place.document) for _ in range(20))
            return await asyncio.gather(*awaited, return_exceptions=True)

        first, *others = asyncio.run(all_of_them())
        assert isinstance(first, EnqueueUncertain)
        assert {type(each) for each in others} == {ServerUnavailable}
        assert clients() <= 2
        broker.close()
