"""Who is at the other end: certificates by an authority of the test's own, looked at both ways."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.faults.harness import Stage
from typedq import TypedQ
from typedq.errors import ServerError, ServerUnavailable
from typedq.localserver import OwnServer

Url = Callable[..., str]


class Authority:
    """A certificate authority; `sign` leaves `<name>.pem` and `<name>.key` beside its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.pem, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        self._run("req -x509", self._key, self.pem, f"-days 2 -subj /CN={name}")

    def sign(self, name: str, host: str = "localhost") -> tuple[Path, Path]:
        pem, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        by = f"-CA {self.pem} -CAkey {self._key} -days 2"
        self._run("req -x509", key, pem, f"{by} -subj /CN={name} -addext subjectAltName=DNS:{host}")
        return pem, key

    def _run(self, what: str, key: Path, pem: Path, more: str) -> None:
        make = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        command = f"openssl {what} {make} -keyout {key} -out {pem} {more}"
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def with_tls() -> str:
    """A server binary that was built with TLS; the bundled one is not."""
    for name in (os.environ.get("TYPEDQ_TEST_SERVER"), "redis-server", "valkey-server"):
        if name and (found := shutil.which(name)):
            linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
            if "libssl" in linked.stdout:
                return found
    pytest.skip("no server binary with TLS here")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


@pytest.fixture(scope="module")
def url(ours: Authority) -> Iterator[Url]:
    """Makes the URL of a server that wants client certificates, with options."""
    (pem, key), mine = ours.sign("server"), ours.sign("client")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    files = {"cert": pem, "key": key, "ca-cert": ours.pem}
    args = [w for name, path in files.items() for w in (f"--tls-{name}-file", str(path))]
    good = {"ssl_ca_certs": ours.pem, "ssl_certfile": mine[0], "ssl_keyfile": mine[1]}

    def make(host: str = "localhost", **options: object) -> str:
        chosen = {k: v for k, v in (good | options).items() if v is not None}
        return f"rediss://{host}:{port}/0?{urlencode(chosen)}"

    with OwnServer(binary=with_tls(), args=("--tls-port", str(port), *args)):
        yield make


def refused(url: str, namespace: str) -> str:
    """Why an enqueue is refused, by either way."""
    app = TypedQ(namespace, url=url, enqueue_deadline=3)

    @app.task
    def nothing() -> None: ...

    async def again() -> None:
        await nothing.aenqueue()

    with pytest.raises(ServerError) as sync:
        nothing.enqueue()
    with pytest.raises(ServerUnavailable):
        asyncio.run(again())
    return str(sync.value)


def test_tasks_run_over_verified_tls(url: Url, namespace: str, tmp_path: Path) -> None:
    with Stage(url(), namespace, tmp_path, eyes=url()) as stage:
        stage.send("nap")
        worker = stage.worker("-c", "1", "--burst")
        assert worker.wait(20) == 0
        assert stage.ended() == set(stage.accepted)


def test_a_certificate_of_another_authority_is_refused(
    url: Url, namespace: str, tmp_path: Path
) -> None:
    theirs = Authority(tmp_path, "theirs")
    for told in (
        refused(url(ssl_ca_certs=theirs.pem), namespace),
        refused(url(ssl_ca_certs=None), namespace),
    ):
        assert "certificate verify failed" in told
        assert "is its authority named by ssl_ca_certs=" in told


def test_a_certificate_for_another_host_is_refused(url: Url, namespace: str) -> None:
    assert "certificate is not valid for '127.0.0.1'" in refused(url("127.0.0.1"), namespace)
    relaxed = TypedQ(namespace, url=url("127.0.0.1", ssl_check_hostname="false"))

    @relaxed.task
    def nothing() -> None: ...

    nothing.enqueue()
    relaxed.broker.close()


def test_a_client_without_a_certificate_is_refused(
    url: Url, namespace: str, tmp_path: Path
) -> None:
    ask = "want a client's certificate: ssl_certfile=, ssl_keyfile=?"
    assert ask in refused(url(ssl_certfile=None, ssl_keyfile=None), namespace)
    pem, key = Authority(tmp_path, "theirs").sign("stranger")
    assert ask in refused(url(ssl_certfile=pem, ssl_keyfile=key), namespace)
