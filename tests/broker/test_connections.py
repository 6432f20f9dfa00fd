"""Connections: replies of every size and in pieces, and every way in which no reply comes."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import select
import socket
import ssl
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from redis.crc import key_slot

from tests.security.authority import Authority
from typedq.addresses import parse_url
from typedq.broker import redis_py
from typedq.broker.async_connections import AsyncConnection
from typedq.broker.connections import Connection, packed
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import Lost, NotSent, Refused
from typedq.broker.script import Operation, command, script, text
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil

HELLO = (
    b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n8.0.0\r\n$5\r\nproto\r\n:3\r\n"
)
Talk = Callable[[socket.socket], None]


@contextmanager
def speaker(*talks: Talk) -> Iterator[str]:
    """A raw server: its first connection is the first talk's, after the answer to HELLO."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def serve() -> None:
            for talk in talks:
                peer, _ = listener.accept()
                stack.enter_context(peer)
                with suppress(OSError):
                    greet(peer)
                    talk(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        thread.join()


def greet(peer: socket.socket) -> None:
    """Answer the handshake: HELLO, and CLIENT SETNAME."""
    for reply in (HELLO, b"+OK\r\n"):
        peer.recv(4096)
        peer.sendall(reply)


def says(*pieces: bytes) -> Talk:
    """Answers one request in these pieces, each when the one before was sent, and hangs up."""

    def talk(peer: socket.socket) -> None:
        peer.recv(4096)
        for piece in pieces:
            peer.sendall(piece)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass

    return talk


def silent(peer: socket.socket) -> None:
    while peer.recv(4096):
        pass


def halting(peer: socket.socket) -> None:
    peer.recv(4096)
    peer.sendall(b"$100\r\nhalf")
    silent(peer)


class Sync:
    """A connection, asked as the pool would."""

    def __init__(self, url: str, deadline: float = 10.0) -> None:
        self.connection = Connection(Endpoint(parse_url(url), "{x}", deadline))

    def ask(self, *words: Any) -> Any:
        self.connection.close_if_stale()
        return self.connection.execute(command(*words))

    def fileno(self) -> int:
        return self.connection.fileno()

    def close(self) -> None:
        self.connection.close()


class Awaited:
    """The other kind, on a loop of its own."""

    def __init__(self, url: str, deadline: float = 10.0) -> None:
        self.connection = AsyncConnection(Endpoint(parse_url(url), "{x}", deadline))
        self.runner = asyncio.Runner()

    def ask(self, *words: Any) -> Any:
        async def asked() -> Any:
            await self.connection.close_if_stale()
            return await self.connection.execute(command(*words))

        return self.runner.run(asked())

    def fileno(self) -> int:
        return int(self.connection._redis._writer.get_extra_info("socket").fileno())

    def close(self) -> None:
        async def closed() -> None:
            self.connection.close()
            await asyncio.sleep(0)

        self.runner.run(closed())
        self.runner.close()


Kind = type[Sync] | type[Awaited]
both = pytest.mark.parametrize("kind", [Sync, Awaited])


@contextmanager
def asking(kind: Kind, url: str, deadline: float = 10.0) -> Iterator[Sync | Awaited]:
    one = kind(url, deadline)
    try:
        yield one
    finally:
        one.close()


@both
def test_reply_of_ten_megabytes_arrives_whole(
    kind: Kind, server: OwnServer, namespace: str
) -> None:
    big = b"0123456789" * (1 << 20)
    with asking(kind, server.url) as one:
        assert one.ask("SET", namespace, big) == b"OK"
        assert one.ask("GET", namespace) == big
        assert one.ask("LRANGE", namespace + "none", 0, -1) == []
        assert one.ask("GET", namespace + "none") is None
        assert one.ask("EVAL", "redis.setresp(3); return false", 0) is False
        one.ask("DEL", namespace)


@both
def test_a_refusal_leaves_the_connection_as_it_is(kind: Kind, server: OwnServer) -> None:
    with asking(kind, server.url) as one:
        before = one.ask("CLIENT", "ID")
        with pytest.raises(Refused, match=r"^ERR unknown command") as caught:
            one.ask("NONSENSE")
        assert caught.value.code == "ERR"
        assert one.ask("CLIENT", "ID") == before


@both
def test_the_database_of_the_url_is_selected(kind: Kind, private: OwnServer) -> None:
    tcp = private.url.removesuffix("/0")
    for url in (f"{tcp}/3", f"unix://{private.directory}/s?db=3"):
        with asking(kind, url) as one:
            assert b" db=3 " in one.ask("CLIENT", "INFO")
    out_of_range = pytest.raises(Refused, match="DB index is out of range")
    with asking(kind, f"{tcp}/99") as one, out_of_range:
        one.ask("PING")


@both
def test_a_reply_in_pieces_is_one(kind: Kind) -> None:
    reply = b"*2\r\n$5\r\nhello\r\n:7\r\n"
    with speaker(says(*(bytes([byte]) for byte in reply))) as url, asking(kind, url) as one:
        assert one.ask("X") == [b"hello", 7]


@both
def test_connect_without_a_listener_raises_not_sent(kind: Kind) -> None:
    refused = pytest.raises(NotSent, match=rf"^127\.0\.0\.1:1: .*{errno.ECONNREFUSED}")
    with asking(kind, "redis://127.0.0.1:1/0") as one, refused:
        one.ask("X")
    absent = pytest.raises(NotSent, match=r"^/nowhere/at/all: .*No such file")
    with asking(kind, "unix:///nowhere/at/all") as one, absent:
        one.ask("X")


@both
@pytest.mark.parametrize(
    ("talk", "told"),
    [
        (says(b"$100\r\nhalf"), "closed by server"),
        (says(), "closed by server"),
        (says(b"HTTP/1.1 400 Bad Request\r\n"), "Protocol error"),
        (silent, "timed out"),
        (halting, "timed out"),
    ],
    ids=["half", "nothing", "garbage", "late", "late in the middle"],
)
def test_a_connection_that_is_out_of_step_is_never_used_again(
    kind: Kind, talk: Talk, told: str
) -> None:
    with speaker(talk, says(b"+fresh\r\n")) as url, asking(kind, url, 0.5) as one:
        with pytest.raises(Lost, match=told):
            one.ask("X")
        assert one.ask("X") == b"fresh"


@both
def test_a_command_that_is_never_read_is_late_as_well(kind: Kind) -> None:
    given_up = threading.Event()

    def deaf(_: socket.socket) -> None:
        given_up.wait(10)

    with speaker(deaf, says(b"+fresh\r\n")) as url, asking(kind, url, 0.5) as one:
        with pytest.raises(Lost, match="timed out"):
            one.ask("X", bytes(64 << 20))
        given_up.set()
        assert one.ask("X") == b"fresh"


def test_a_reply_that_came_while_the_loop_was_blocked_is_the_last_of_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_blocked = threading.Event()

    def patient(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"+there\r\n")
        peer.recv(4096)
        is_blocked.wait(10)
        peer.sendall(b"+here\r\n")
        silent(peer)

    async def asked() -> None:
        loop = asyncio.get_running_loop()
        assert await connection.execute(command("X")) == b"there"
        reply = loop.create_task(connection.execute(command("X")))
        await asyncio.sleep(0)
        is_blocked.set()
        select.select([redis_py.async_socket(connection._redis)], [], [], 10)
        monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 60)
        assert await reply == b"here"

    with asyncio.Runner() as runner:
        with speaker(patient) as url:
            connection = AsyncConnection(Endpoint(parse_url(url), "{x}", 5.0))
            runner.run(asked())
        with pytest.raises(NotSent):  # not opened by redis-py, which knows no other place
            runner.run(connection.execute(command("X")))


def test_the_context_variables_of_who_asked_are_not_kept() -> None:
    class Request: ...

    request = contextvars.ContextVar[Request]("request")
    made = weakref.WeakSet[Request]()

    async def asked() -> None:
        request.set(one := Request())
        made.add(one)
        await connection.execute(command("X"))

    async def ask() -> None:
        await connection.execute(command("X"))
        connection._is_watched = False  # as after an idle time
        await asyncio.create_task(asked())
        await asyncio.sleep(0)
        gc.collect()
        assert not made

    def answering(peer: socket.socket) -> None:
        while peer.recv(4096):
            peer.sendall(b"+here\r\n")

    with asyncio.Runner() as runner, speaker(answering) as url:
        connection = AsyncConnection(Endpoint(parse_url(url), "{x}", 5.0))
        runner.run(ask())
        connection.close()
        runner.run(asyncio.sleep(0))


@both
@pytest.mark.parametrize("greeting", [b"+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"", b":1"])
def test_connect_to_a_server_with_another_greeting_raises_not_sent(
    kind: Kind, greeting: bytes
) -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        not_taken = pytest.raises(NotSent, match=rf"^127\.0\.0\.1:{port}: ")
        with asking(kind, f"redis://127.0.0.1:{port}/0") as one, not_taken:
            one.ask("X")
        thread.join()


@both
def test_a_surplus_reply_is_never_an_answer(kind: Kind) -> None:
    """Whether it came with the reply before, or later."""
    with (
        speaker(says(b"+one\r\n+unasked\r\n"), says(b"+fresh\r\n")) as url,
        asking(kind, url) as one,
    ):
        assert one.ask("X") == b"one"
        assert one.ask("X") == b"fresh"


@both
def test_a_reply_that_comes_unasked_is_never_an_answer(kind: Kind) -> None:
    def talk(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"+one\r\n")
        asked.wait(10)
        peer.sendall(b"+unasked\r\n")
        silent(peer)

    asked = threading.Event()
    with speaker(talk, says(b"+fresh\r\n")) as url, asking(kind, url) as one:
        assert one.ask("X") == b"one"
        asked.set()
        select.select([one.fileno()], [], [], 10)
        assert one.ask("X") == b"fresh"


@both
def test_an_idle_connection_that_the_server_closed_is_replaced_before_anything_is_sent(
    kind: Kind, server: OwnServer
) -> None:
    with asking(kind, server.url) as one, asking(Sync, server.url) as other:
        before = one.ask("CLIENT", "ID")
        assert other.ask("CLIENT", "KILL", "ID", before) == 1
        select.select([one.fileno()], [], [], 10)
        assert one.ask("CLIENT", "ID") > before
        assert one.connection._endpoint.losses == 1


def test_a_cancelled_request_closes(server: OwnServer, namespace: str) -> None:
    async def main() -> None:
        connection = AsyncConnection(Endpoint(parse_url(server.url), "{x}", 5.0))
        first = await connection.execute(command("CLIENT", "ID"))
        blocked = asyncio.create_task(connection.execute(command("BLPOP", namespace, 4)))
        await asyncio.sleep(0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        await connection.close_if_stale()
        assert await connection.execute(command("CLIENT", "ID")) > first
        connection.close()

    asyncio.run(main())


def test_a_connection_left_open_says_nothing(server: OwnServer, wait_until: WaitUntil) -> None:
    eyes = Sync(server.url)
    ring: list[Any] = [Sync(server.url)]
    ring[0].itself = ring
    name = b"id=%d " % ring[0].ask("CLIENT", "ID")
    del ring
    gc.collect()
    wait_until(lambda: name not in eyes.ask("CLIENT", "LIST"))
    eyes.close()


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "no-such-host.invalid"])
def test_connect_to_an_invalid_host_raises_not_sent(host: str) -> None:
    for kind in (Sync, Awaited):
        with asking(kind, f"redis://{host}:1/0") as one, pytest.raises(NotSent, match="^" + host):
            one.ask("X")


def test_the_slot_of_a_namespace() -> None:
    slots = b"*1\r\n*3\r\n:%d\r\n:%d\r\n*2\r\n$0\r\n\r\n:7\r\n"
    for name in ("one", "x", "a-very.long_name" * 9):
        slot = key_slot(b"{%s}:ready:default" % name.encode())
        with speaker(says(slots % (slot, slot))) as url:
            address = parse_url(url.replace("redis://", "redis+cluster://").removesuffix("/0"))
            assert Endpoint(address, f"{{{name}}}", 5.0).locate(None) == ("127.0.0.1", 7)


def test_only_the_authorities_that_are_named_are_trusted(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    for given in ({"ssl_ca_certs": ours.pem}, {"ssl_ca_data": ours.pem.read_text()}):
        tls = redis_py.tls_context(given)
        assert len(tls.get_ca_certs()) == 1
        assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = redis_py.tls_context({"ssl_cert_reqs": "none"})
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_a_reply_of_several_tls_records_arrives_whole(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    pem, key = ours.sign("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)

    def serve(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as peer:
            greet(peer)
            peer.recv(4096)
            peer.sendall(b"$%d\r\n%b\r\n" % (len(big), big))
            silent(peer)

    big = b"0123456789" * 10_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        url = f"rediss://localhost:{listener.getsockname()[1]}/0?ssl_ca_certs={ours.pem}"
        with asking(Awaited, url) as one:
            assert one.ask("X") == big
        thread.join()


@both
@pytest.mark.parametrize(
    "reply",
    [
        b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `me`, `s3cret`, ",
        b"-ERR unsupported by this proxy: hello 3 AUTH me s3cret",
        b"-DENIED s3cret is no password",
        b"-WRONGPASS s3cret",
    ],
)
def test_a_server_that_quotes_the_login_is_not_quoted(kind: Kind, reply: bytes) -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(reply + b"\r\n")
            silent(peer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        url = f"redis://me:s3cret@127.0.0.1:{listener.getsockname()[1]}/0"
        with asking(kind, url) as one, pytest.raises(Refused) as caught:
            one.ask("X")
        thread.join()
    shown, error = "", caught.value
    while error is not None:
        shown += "".join(traceback.format_exception(error)) + repr(vars(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    assert "s3cret" not in shown


@pytest.mark.parametrize("count", [0, 1, 4, 9, 10, 100])
def test_a_repeated_operation_is_packed_as_any_other(count: int) -> None:
    for number in range(2):
        args = [f"{number} {place}" * place for place in range(count)]
        one = Operation(script("enqueue"), ("a", "b"), args, text)
        assert packed(structs.replace(one, repeated=True)) == packed(one)
