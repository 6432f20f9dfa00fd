"""Who is at the other end: certificates by an authority of the test's own, looked at both ways."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import redis

from tests.faults.harness import Stage, wait_until
from tests.security.authority import Authority, free_port, options, speaking
from typedq import TypedQ
from typedq.addresses import parse_url
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import NotSent
from typedq.errors import ServerUnavailable

LOCAL = ("DNS:localhost", "IP:127.0.0.1")
AUTHORITY = "is its authority named by ssl_ca_certs=, and the host as in its certificate?"
CLIENT = "want a client's certificate: ssl_certfile=, ssl_keyfile=?"
FILES = "are the files of ssl_*= there, with a key that fits and its ssl_password=?"


class Setting(NamedTuple):
    """`url` makes a good URL, with options that replace those it has; `eyes` needs no TLS."""

    url: Callable[..., str]
    eyes: str


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


def maker(scheme: str, ours: Authority, port: int, path: str) -> Callable[..., str]:
    mine = ours.sign("client")
    good = {"ssl_ca_certs": ours.pem, "ssl_certfile": mine[0], "ssl_keyfile": mine[1]}

    def url(host: str = "localhost", **given: object) -> str:
        chosen = {k: v for k, v in (good | given).items() if v is not None}
        return f"{scheme}://{host}:{port}/{path}?{urlencode(chosen)}"

    return url


@contextmanager
def alone(ours: Authority, *hosts: str, days: int = 2) -> Iterator[Setting]:
    """One server that wants client certificates."""
    port = free_port()
    with speaking(ours, ours.sign("server", *hosts, days=days), port, tcp=True) as server:
        yield Setting(maker("rediss", ours, port, "0"), server.url)


@contextmanager
def watched(ours: Authority, *hosts: str, days: int = 2) -> Iterator[Setting]:
    """A primary that a Sentinel watches, which speaks TLS too and gives out its address."""
    primary, sentinel = free_port(), free_port()
    pair = ours.sign("server", *hosts, days=days)
    mine = ours.sign("sentinel", *LOCAL)
    with ExitStack() as stack:
        more = ("--tls-replication", "yes")
        server = stack.enter_context(speaking(ours, pair, primary, more, tcp=True))
        config = server.directory / "sentinel.conf"
        words = [f"port 0\ntls-port {sentinel}\ntls-replication yes\nbind 127.0.0.1"]
        files = options(ours, mine)
        words += [f"{n[2:]} {v}" for n, v in zip(files[::2], files[1::2], strict=True)]
        words += [f"dir {server.directory}", f"sentinel monitor jobs 127.0.0.1 {primary} 1", ""]
        config.write_text("\n".join(words))
        log = stack.enter_context((server.directory / "sentinel.log").open("w"))
        process = subprocess.Popen([server.binary, str(config), "--sentinel"], stdout=log)
        stack.callback(process.wait)
        stack.callback(process.kill)
        url = maker("rediss+sentinel", ours, sentinel, "jobs/0")
        wait_until(lambda: is_found(url()), 30.0)
        yield Setting(url, server.url)


@contextmanager
def sharing(ours: Authority, *hosts: str, days: int = 2) -> Iterator[Setting]:
    """A Cluster of two nodes; the one that the URL names has no slot, the other has them all."""
    with ExitStack() as stack:
        first, ports, buses = ours.sign("first", *LOCAL), list[int](), list[int]()
        hands, eyes = list[Any](), ""
        for _ in range(2):
            ports.append(free_port())
            buses.append(free_port())
            more = ["--cluster-enabled", "yes", "--cluster-port", str(buses[-1])]
            more += ["--tls-cluster", "yes"]
            node = stack.enter_context(speaking(ours, first, ports[-1], more, tcp=True))
            eyes = node.url
            hands.append(stack.enter_context(redis.Redis.from_url(eyes)))
        hands[1].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        hands[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1], buses[1])
        url = maker("rediss+cluster", ours, ports[0], "")
        wait_until(lambda: is_found(url()), 30.0)
        # Only now: to each other they would not show what we are to refuse.
        pem, key = map(str, ours.sign("server", *hosts, days=days))
        hands[1].config_set("tls-cert-file", pem, "tls-key-file", key)
        yield Setting(url, eyes)


SETTINGS = {"alone": alone, "behind Sentinel": watched, "in a Cluster": sharing}
everywhere = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
Destination = Callable[..., AbstractContextManager[Setting]]


def is_found(url: str) -> bool:
    """Whether the Sentinel, or the first node, tells where the server is."""
    with suppress(NotSent):
        return bool(Endpoint(parse_url(url), "{x}", 5.0).locate(None))
    return False


def refused(url: str, namespace: str) -> str:
    """Why an enqueue is refused, awaited or not; nothing is uncertain."""
    app = TypedQ(namespace, url=url, enqueue_deadline=3)

    @app.task
    def nothing() -> None: ...

    async def again() -> None:
        await nothing.aenqueue()

    with pytest.raises(ServerUnavailable) as sync:
        nothing.enqueue()
    with pytest.raises(ServerUnavailable) as awaited:
        asyncio.run(again())
    assert str(awaited.value).rpartition("; ")[2] == str(sync.value).rpartition("; ")[2]
    return str(sync.value)


@everywhere
def test_tasks_run_over_verified_tls(
    setting: Destination, ours: Authority, namespace: str, tmp_path: Path
) -> None:
    with setting(ours, *LOCAL) as here:
        with Stage(here.url(), namespace, tmp_path, eyes=here.eyes) as stage:
            stage.send("nap")
            asyncio.run(stage.app.aenqueue_many([]))
            worker = stage.worker("-c", "1", "--burst")
            assert worker.wait(30) == 0, worker.log.read_text()[-3000:]
            assert stage.ended() == set(stage.accepted)
        # The names of the members are verified, too, and so is every client.
        wrong = refused(here.url(ssl_certfile=None, ssl_keyfile=None), namespace)
        assert CLIENT in wrong


@everywhere
def test_a_certificate_of_another_authority_is_refused(
    setting: Destination, ours: Authority, theirs: Authority, namespace: str
) -> None:
    with setting(ours, *LOCAL) as here:
        for url in (here.url(ssl_ca_certs=theirs.pem), here.url(ssl_ca_certs=None)):
            told = refused(url, namespace)
            assert "certificate verify failed" in told
            assert told.endswith(AUTHORITY)


def test_the_systems_authorities_are_not_trusted_beside_one_that_is_named(
    ours: Authority, theirs: Authority, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs.pem))  # what OpenSSL takes for the system's
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    with alone(theirs, *LOCAL) as here:
        told = refused(here.url(ssl_ca_certs=ours.pem), namespace)
        assert "certificate verify failed" in told
        trusting = TypedQ(namespace, url=here.url(ssl_ca_certs=None))

        @trusting.task
        def nothing() -> None: ...

        nothing.enqueue()
        trusting.close()


@everywhere
def test_a_certificate_for_another_host_is_refused(
    setting: Destination, ours: Authority, namespace: str
) -> None:
    with setting(ours, "DNS:elsewhere") as here:
        told = refused(here.url(), namespace)
        assert "certificate is not valid for '" in told
        assert told.endswith(AUTHORITY)
        relaxed = TypedQ(namespace, url=here.url(ssl_check_hostname="false"))

        @relaxed.task
        def nothing() -> None: ...

        nothing.enqueue()
        relaxed.close()


@everywhere
def test_a_certificate_that_has_expired_is_refused(
    setting: Destination, ours: Authority, namespace: str
) -> None:
    with setting(ours, *LOCAL, days=-1) as here:
        told = refused(here.url(), namespace)
        assert "certificate has expired" in told
        assert told.endswith("has its certificate expired, or is the clock of this machine wrong?")


def test_a_client_of_another_authority_is_refused(
    ours: Authority, theirs: Authority, namespace: str
) -> None:
    pem, key = theirs.sign("stranger")
    with alone(ours, *LOCAL) as here:
        told = refused(here.url(ssl_certfile=pem, ssl_keyfile=key), namespace)
    assert CLIENT in told


def test_files_that_cannot_be_used_are_named_as_the_cause(
    ours: Authority, namespace: str, tmp_path: Path
) -> None:
    (pem, key), (_, another) = ours.sign("me"), ours.sign("another")
    locked, none = ours.lock(key, "right"), tmp_path / "none.pem"
    with alone(ours, *LOCAL) as here:
        for options in (
            {"ssl_ca_certs": none},
            {"ssl_certfile": none},
            {"ssl_keyfile": none},
            {"ssl_keyfile": another},
            {"ssl_certfile": pem, "ssl_keyfile": locked, "ssl_password": "wr0ng-p455"},
        ):
            told = refused(here.url(**options), namespace)
            assert told.endswith(FILES), options
            assert "wr0ng-p455" not in told
        app = TypedQ(
            namespace, url=here.url(ssl_certfile=pem, ssl_keyfile=locked, ssl_password="right")
        )

        @app.task
        def nothing() -> None: ...

        nothing.enqueue()
        app.close()


ASKS = """
import sys
from typedq import TypedQ

app = TypedQ("x", url=sys.argv[1])

@app.task
def nothing() -> None: ...

try:
    nothing.enqueue()
except Exception as error:
    print(str(error).rpartition("; ")[2])
"""


def test_nobody_at_a_terminal_is_asked_for_a_password_that_was_left_out(ours: Authority) -> None:
    """OpenSSL would ask, and a worker that was started by hand would wait for ever."""
    pem, key = ours.sign("me")
    with alone(ours, *LOCAL) as here:
        url = here.url(ssl_certfile=pem, ssl_keyfile=ours.lock(key, "right"))
        master, terminal = pty.openpty()
        words = [sys.executable, "-c", ASKS, url]
        with subprocess.Popen(
            words, stdin=terminal, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            told, _ = process.communicate(timeout=20)
        os.close(terminal)
        os.close(master)
    assert told.strip() == FILES


def test_tls_on_one_side_only_is_said(ours: Authority, namespace: str) -> None:
    with alone(ours, *LOCAL) as here:
        plain = here.url().replace("rediss://", "redis://").partition("?")[0]
        assert refused(plain, namespace).endswith("and does it want TLS: rediss://?")
        wrapped = here.eyes.replace("redis://", "rediss://")
        assert "does it speak TLS" in refused(wrapped, namespace)
