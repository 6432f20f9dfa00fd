"""The command `typedq dashboard`: its address, its refusals, and that it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack

import pytest

from tests.cli.conftest import Shop, place, shop

__all__ = ["place", "shop"]  # fixtures
pytestmark = pytest.mark.process
POST = (
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\ntoken="
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_on_this_machine_until_it_is_stopped(shop: Shop, number: signal.Signals) -> None:
    with shop.start("dashboard", "--port", "0", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:(\d+)/) \(read-only\)\n", line)
        assert found, line
        with urllib.request.urlopen(found[1], timeout=20) as answer:
            assert "<h1>Now</h1>" in answer.read().decode()
            assert "server" not in {name.lower() for name in answer.headers}
        with socket.create_connection(("127.0.0.1", int(found[2]))):  # an idle client holds nothing
            process.send_signal(number)
            assert process.wait(20) == 0


@pytest.mark.parametrize("sent", [b"", b"GET /", POST], ids=["nothing", "line", "body"])
def test_slow_clients_are_bounded_and_do_not_hold_up_its_end(shop: Shop, sent: bytes) -> None:
    with (
        shop.start("dashboard", "--port", "0", stdout=subprocess.PIPE) as process,
        ExitStack() as clients,
    ):
        assert process.stdout is not None
        found = re.match(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found
        address = ("127.0.0.1", int(found[1]))
        slow = [
            clients.enter_context(socket.create_connection(address, timeout=20)) for _ in range(201)
        ]
        for client in slow[1:]:
            client.sendall(sent)
        assert slow[0].recv(1) == b""
        process.terminate()
        assert process.wait(20) == 0


def test_what_the_pages_need_and_is_not_installed_is_named() -> None:
    code = "import sys; sys.modules['starlette'] = None; import typedq.dashboard"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    needs = "typedq.dashboard needs starlette: pip install 'typedq[dashboard]'"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {needs}"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_another_host_needs_a_token(shop: Shop, host: str) -> None:
    reason = f"{host} can be reached by others: give --token-file, or --host 127.0.0.1"
    assert reason in shop.error("dashboard", "--host", host)


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "two words are not one token", "ü" * 20])
def test_a_token_that_could_be_guessed_is_refused(shop: Shop, token: str) -> None:
    shop.file("token", f"{token}\n")
    error = shop.error("dashboard", "--token-file", "token")
    assert "token holds no token: expected one line of 16 printable ASCII characters" in error
    assert "openssl rand -hex 24 > token" in error


def test_help_shows_an_example(shop: Shop) -> None:
    text = shop.out("dashboard", "--help")
    assert "typedq dashboard myapp.tasks:app --port 8080 --write" in " ".join(text.split())
