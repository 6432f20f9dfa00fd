"""The wire: replies of every size and in pieces, and every way in which a reply does not come."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot

from tests.security.authority import Authority
from typedq.addresses import parse_url
from typedq.broker import connecting
from typedq.broker.async_link import AsyncLink
from typedq.broker.link import Link
from typedq.broker.wire import Lost, NotSent, Refused
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil

HELLO = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n8.0.0\r\n"
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
                    peer.recv(4096)
                    peer.sendall(HELLO)
                    talk(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        thread.join()


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
    """A link, asked."""

    def __init__(self, url: str, deadline: float = 10.0) -> None:
        self.link = Link(parse_url(url), "{x}", deadline)

    def ask(self, *command: str | bytes | int) -> Any:
        return self.link.ask(command)

    def close(self) -> None:
        self.link.close()


class Awaited:
    """The other kind, on a loop of its own."""

    def __init__(self, url: str, deadline: float = 10.0) -> None:
        self.link = AsyncLink(parse_url(url), "{x}", deadline)
        self.runner = asyncio.Runner()

    def ask(self, *command: str | bytes | int) -> Any:
        async def asked() -> Any:
            return await self.link.ask(command)

        return self.runner.run(asked())

    def close(self) -> None:
        async def closed() -> None:
            self.link.close()

        self.runner.run(closed())
        self.runner.close()


Kind = type[Sync] | type[Awaited]
both = pytest.mark.parametrize("kind", [Sync, Awaited])


@contextmanager
def asking(kind: Kind, url: str, deadline: float = 10.0) -> Iterator[Sync | Awaited]:
    one = kind(url, deadline)
    yield one
    one.close()


@both
def test_ten_megabytes_there_and_back(kind: Kind, server: OwnServer, namespace: str) -> None:
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
def test_nobody_listens(kind: Kind) -> None:
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
        (says(b"+OK\r\n+and another\r\n"), "more than it was asked"),
        (silent, "timed out"),
        (halting, "timed out"),
    ],
    ids=["half", "nothing", "garbage", "too much", "late", "late in the middle"],
)
def test_a_connection_that_is_out_of_step_is_never_used_again(
    kind: Kind, talk: Talk, told: str
) -> None:
    with speaker(talk, says(b"+fresh\r\n")) as url, asking(kind, url, 0.5) as one:
        with pytest.raises(Lost, match=told):
            one.ask("X")
        assert one.ask("X") == b"fresh"


@both
@pytest.mark.parametrize("greeting", [b"+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"", b":1"])
def test_who_greets_otherwise_was_asked_nothing(kind: Kind, greeting: bytes) -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        not_taken = pytest.raises(NotSent, match=rf"^127\.0\.0\.1:{port}: ")
        with asking(kind, f"redis://127.0.0.1:{port}/0") as one, not_taken:
            one.ask("X")
        thread.join()


def test_what_is_said_unasked_is_never_an_answer() -> None:
    def talk(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"+one\r\n")
        asked.wait(10)
        peer.sendall(b"+unasked\r\n")
        silent(peer)

    asked = threading.Event()

    async def main(url: str) -> None:
        link = AsyncLink(parse_url(url), "{x}", 5.0)
        assert await link.ask(("X",)) == b"one"
        asked.set()
        async with asyncio.timeout(10):
            while not link._wire._lost:  # noqa: ASYNC110 - the wire tells nobody of it
                await asyncio.sleep(0)
        with pytest.raises(Lost, match="more than it was asked"):
            await link.ask(("X",))
        assert await link.ask(("X",)) == b"fresh"
        link.close()

    with speaker(talk, says(b"+fresh\r\n")) as url:
        asyncio.run(main(url))


def test_a_cancelled_request_closes(server: OwnServer, namespace: str) -> None:
    async def main() -> None:
        link = AsyncLink(parse_url(server.url), "{x}", 5.0)
        first = await link.ask(("CLIENT", "ID"))
        blocked = asyncio.create_task(link.ask(("BLPOP", namespace, 4)))
        await asyncio.sleep(0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        assert await link.ask(("CLIENT", "ID")) > first
        link.close()

    asyncio.run(main())


def test_a_connection_left_open_says_nothing(server: OwnServer, wait_until: WaitUntil) -> None:
    eyes = Link(parse_url(server.url), "{x}", 5.0)
    ring: list[Any] = [Link(parse_url(server.url), "{x}", 5.0)]
    ring[0].itself = ring
    ring[0].connect()
    name = b"id=%d " % ring[0].id
    del ring
    gc.collect()
    wait_until(lambda: name not in eyes.ask(("CLIENT", "LIST")))
    eyes.close()


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "no-such-host.invalid"])
def test_a_host_that_cannot_be_is_no_connection(host: str) -> None:
    for kind in (Sync, Awaited):
        with asking(kind, f"redis://{host}:1/0") as one, pytest.raises(NotSent, match="^" + host):
            one.ask("X")


def test_the_slot_of_a_namespace() -> None:
    slots = b"*1\r\n*3\r\n:%d\r\n:%d\r\n*2\r\n$0\r\n\r\n:7\r\n"
    for name in ("one", "x", "a-very.long_name" * 9):
        slot = key_slot(b"{%s}:ready:default" % name.encode())
        with speaker(says(slots % (slot, slot))) as url:
            address = parse_url(url.replace("redis://", "redis+cluster://").removesuffix("/0"))
            assert connecting.locate(address, f"{{{name}}}") == ("127.0.0.1", 7)


def test_only_the_authorities_that_are_named_are_trusted(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    tls = connecting.tls_of(parse_url(f"rediss://h?ssl_ca_certs={ours.pem}"))
    assert tls is not None
    assert len(tls.get_ca_certs()) == 1
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = connecting.tls_of(parse_url("rediss://h?ssl_cert_reqs=none"))
    assert lax is not None
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_a_reply_of_several_tls_records_arrives_whole(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    pem, key = ours.sign("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)

    def serve(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as peer:
            peer.recv(4096)
            peer.sendall(HELLO)
            peer.recv(4096)
            peer.sendall(b"$%d\r\n%b\r\n" % (len(big), big))
            silent(peer)

    big = b"0123456789" * 10_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"rediss://localhost:{listener.getsockname()[1]}/0?ssl_ca_certs={ours.pem}"
        with asking(Awaited, url) as one:
            assert one.ask("X") == big
        thread.join()


def test_an_old_server_that_quotes_the_login_is_not_quoted() -> None:
    told = "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `me`, `s3cret`, "
    with pytest.raises(connecting.Unsupported, match="too old") as caught:
        connecting.welcome(Refused(told))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_the_client_library_is_not_imported() -> None:
    code = "import sys, typedq, typedq.broker.client; print('redis' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
