"""A certificate authority of a test's own, and servers that speak TLS with its certificates."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from typedq.embedded import OwnServer

Pair = tuple[Path, Path]  # certificate, key
_NEW = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
_MAY_SIGN = "-addext keyUsage=critical,keyCertSign,cRLSign"
# Python 3.13 verifies strictly, and RFC 5280 asks for these.
_OF_A_HOST = """
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
"""


class Authority:
    """`sign` leaves `<name>.pem` and `<name>.key` beside its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self.pem, self._key = self._pair(name)
        files = f"-keyout {self._key} -out {self.pem}"
        _run(f"req -x509 {_NEW} {_MAY_SIGN} {files} -days 2 -subj /CN={name}")

    def sign(self, name: str, *hosts: str, days: int = 2) -> Pair:
        """A certificate for hosts such as DNS:localhost; negative days are over already."""
        pem, key = self._pair(name)
        request, names = pem.with_suffix(".csr"), pem.with_suffix(".ext")
        names.write_text(f"subjectAltName={','.join(hosts or ('DNS:localhost',))}{_OF_A_HOST}")
        _run(f"req -new {_NEW} -keyout {key} -out {request} -subj /CN={name}")
        by = f"-CA {self.pem} -CAkey {self._key} -CAcreateserial"
        _run(f"x509 -req -in {request} {by} -extfile {names} -days {days} -out {pem}")
        return pem, key

    def lock(self, key: Path, password: str) -> Path:
        """A copy of a key that needs a password."""
        locked = key.with_suffix(".locked")
        _run(f"ec -in {key} -aes256 -passout pass:{password} -out {locked}")
        return locked

    def _pair(self, name: str) -> Pair:
        return self._directory / f"{name}.pem", self._directory / f"{name}.key"


def _run(command: str) -> None:
    words = ["openssl", *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def options(authority: Authority, pair: Pair) -> list[str]:
    """Of a server that shows this certificate and wants one of its clients."""
    files = {"cert": pair[0], "key": pair[1], "ca-cert": authority.pem}
    return [word for name, path in files.items() for word in (f"--tls-{name}-file", str(path))]


def speaking(
    authority: Authority, pair: Pair, port: int, more: Sequence[str] = (), *, tcp: bool = False
) -> OwnServer:
    """A server that speaks TLS on a port."""
    args = ("--tls-port", str(port), *options(authority, pair), *more)
    return OwnServer(binary=with_tls(), args=args, tcp=tcp)


def with_tls() -> str:
    """A server binary that was built with TLS; the bundled one is not. Else the test is skipped."""
    for name in (os.environ.get("TYPEDQ_TEST_SERVER"), "redis-server", "valkey-server"):
        if name and (found := shutil.which(name)):
            linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
            if "libssl" in linked.stdout:
                return found
    pytest.skip("no server binary with TLS here: the bundled one has none")
