"""Clients that are slow, silent, or many: each is cut off, and others are served meanwhile."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import WaitUntil
from tests.dashboard.conftest import Shop, served
from typedq.cli import slow_clients
from typedq.cli.slow_clients import BoundedConnection
from typedq.dashboard import asgi

GET = b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n"
POST = (
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n"
)


@pytest.fixture
def url(shop: Shop) -> Iterator[str]:
    site = asgi(shop.app, token="correct-horse-battery-staple")
    with served(site, http=BoundedConnection) as found:
        yield found


def connect(url: str) -> socket.socket:
    about = urlsplit(url)
    return socket.create_connection((str(about.hostname), int(about.port or 0)), timeout=20)


def viewer(url: str) -> HTTPConnection:
    about = urlsplit(url)
    return HTTPConnection(str(about.hostname), about.port, timeout=20)


def is_served(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/login", timeout=20) as answer:
        return "<form" in answer.read().decode()


def trickle(client: socket.socket, text: bytes) -> bool:
    """Send a byte whenever nothing came for a while; return True once the server has ended it."""
    client.settimeout(0.02)
    for byte in text:
        try:
            client.sendall(bytes([byte]))
            if not client.recv(1 << 16):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def has_ended(client: socket.socket) -> bool:
    """Wait for the end of a connection, 20 s at most."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b"GET /" + b"x" * 1_000),
        (GET, b"X-Header: " + b"x" * 1_000),
        (POST, b"token=" + b"x" * 1_000),
        (GET + b"\r\n", b"GET /" + b"x" * 1_000),  # the second request of its connection
    ],
    ids=["line", "header", "body", "second"],
)
def test_a_client_that_sends_slowly_is_cut_off(
    url: str, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr(slow_clients, "REQUEST_S", 0.5)
    with connect(url) as client:
        client.sendall(first)
        assert trickle(client, then)
    monkeypatch.undo()
    assert is_served(url)


@pytest.mark.parametrize("first", [b"", b"GET", GET, POST], ids=["none", "line", "header", "body"])
def test_a_client_that_sends_nothing_more_is_cut_off(
    url: str, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr(slow_clients, "REQUEST_S", 0.3)
    with connect(url) as client:
        client.sendall(first)
        assert has_ended(client)


def test_a_client_that_does_not_read_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "REQUEST_S", 0.5)
    with connect(url) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # More answers than all buffers hold; uvicorn stops reading, so this fills them, too.
        with pytest.raises(ConnectionError):
            client.sendall((GET + b"\r\n") * 1_000_000)
    monkeypatch.undo()
    assert is_served(url)


def test_many_silent_clients_keep_nobody_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "MAX_CONNECTIONS", 20)
    with ExitStack() as silent, closing(viewer(url)) as answered:
        answered.connect()
        first = answered.sock
        clients = list[socket.socket]()
        for _ in range(3):
            clients += [silent.enter_context(connect(url)) for _ in range(15)]
            assert is_served(url)  # by a connection behind them, so all of them have been accepted
            # A viewer that is answered again and again is never the one that is closed.
            answered.request("GET", "/static/style.css")
            assert answered.getresponse().read()
            assert answered.sock is first
        assert all(has_ended(client) for client in clients[:20])


def test_the_time_begins_anew_with_each_answer(shop: Shop, wait_until: WaitUntil) -> None:
    made = list[BoundedConnection]()

    class Seen(BoundedConnection):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)

    def is_after(time: float) -> bool:
        return made[0].began > time

    with served(asgi(shop.app), http=Seen) as url, closing(viewer(url)) as client:
        client.connect()
        wait_until(lambda: made)
        for _ in range(3):
            before = made[0].began
            client.request("GET", "/static/style.css")
            assert client.getresponse().read()
            wait_until(partial(is_after, before))
    assert len(made) == 1
