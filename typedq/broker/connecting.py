"""Wires to where an address says, with TLS and login; and where the server is now.

A failover moves it, so it is asked for anew before every connection. A namespace is one slot of a
Cluster: one node takes all its writes at any time.
"""

from __future__ import annotations

import re
import socket
from binascii import crc_hqx
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typedq.addresses import Address
from typedq.broker.script import Argument
from typedq.broker.wire import Refused, Wire, accepted

if TYPE_CHECKING:
    import ssl

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
CONNECT_TIMEOUT_S, ASK_TIMEOUT_S = 5.0, 2.0
Place = tuple[str, int]  # host and port, or path and 0


class Unsupported(Refused):
    """The server is older than the oldest that has what the scripts use."""


def dial(address: Address, place: Place, wait_s: float) -> Wire:
    """A wire to `place` that is logged in as the address says. Raises OSError, `Refused`."""
    with at(place):
        wire = Wire(_socket(address, place), wait_s)
        try:
            wire.id = welcome(wire.ask(*hello(address)))
            if address.db:
                accepted(wire.ask("SELECT", address.db))
        except BaseException:
            wire.close()
            raise
    return wire


@contextmanager
def at(place: Place) -> Generator[None]:
    """Say of an error where it was."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: no name that a host could have
        where = ":".join(str(part) for part in place if part)
        raise ConnectionError(f"{where}: {error}") from error


def _socket(address: Address, place: Place) -> socket.socket:
    tls, unix = tls_of(address), address.kind == "unix"
    sock = (
        socket.socket(socket.AF_UNIX)
        if unix
        else socket.create_connection(place, CONNECT_TIMEOUT_S)
    )
    try:
        if unix:
            sock.settimeout(CONNECT_TIMEOUT_S)
            sock.connect(place[0])
            return sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return tls.wrap_socket(sock, server_hostname=place[0]) if tls else sock
    except BaseException:
        sock.close()
        raise


def tls_of(address: Address) -> ssl.SSLContext | None:
    """How to speak TLS, or None."""
    if not address.tls:
        return None
    import ssl

    given: dict[str, Any] = dict(address.options)
    tls = ssl.create_default_context(
        cafile=given.get("ssl_ca_certs"), capath=given.get("ssl_ca_path")
    )
    verify = given.get("ssl_cert_reqs", "required")
    tls.check_hostname = verify != "none" and given.get("ssl_check_hostname", True)
    tls.verify_mode = ssl.VerifyMode[f"CERT_{verify.upper()}"]
    key = given.get("ssl_keyfile")
    if pem := given.get("ssl_certfile") or key:
        # Without a password, OpenSSL would ask whoever sits at the terminal, and wait.
        tls.load_cert_chain(pem, key, given.get("ssl_password", ""))
    return tls


def hello(address: Address) -> tuple[Argument, ...]:
    """The first command on a connection."""
    if not (address.username or address.password):
        return "HELLO", 3
    return "HELLO", 3, "AUTH", address.username or "default", address.password or ""


def welcome(greeting: Any) -> int:
    """Judge the answer to HELLO; the server's number for the connection."""
    # Not the cause of ours: it quotes what it was asked, with the password.
    if isinstance(greeting, Refused) and "unknown command" in str(greeting):
        needed = " or ".join(f"{name} {a}.{b}" for name, (a, b) in OLDEST.items())
        raise Unsupported(f"this server is too old: typedq needs {needed}, or newer")
    told: Any = accepted(greeting)
    if not hasattr(told, "get"):
        raise ConnectionError("it does not answer as Redis or Valkey would")
    name, version = (told.get(k, b"").decode() for k in (b"server", b"version"))
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    # Sentinels may be older than what they watch.
    if told.get(b"mode") != b"sentinel" and numbers < OLDEST.get(name, (0, 0)):
        oldest = ".".join(map(str, OLDEST[name]))
        raise Unsupported(f"{name} {version} is too old: typedq needs {name} {oldest} or newer")
    return int(told.get(b"id", 0))


def moves_about(address: Address) -> bool:
    """Whether the server of this address may be another one tomorrow."""
    return address.kind in ("sentinel", "cluster")


def locate(address: Address, tag: str) -> Place:
    """Where the server is that takes writes for keys that begin with `tag`. Raises OSError."""
    if not moves_about(address):
        return address.hosts[0] if address.hosts else (address.path, 0)
    login, reasons = address, list[str]()
    if address.kind == "sentinel":
        given: dict[str, Any] = dict(address.options)
        user, password = given.get("sentinel_username"), given.get("sentinel_password")
        login = replace(address, username=user, password=password, db=0)
    for place in address.hosts:
        try:
            with closing(dial(login, place, ASK_TIMEOUT_S)) as node, at(place):
                return _master(node, address) if login is not address else _owner(node, place, tag)
        except Refused as error:
            reasons.append(f"{place[0]}:{place[1]}: {error}")
        except OSError as error:
            reasons.append(str(error))
    raise ConnectionError(f"no {address.kind} node could tell: {'; '.join(reasons)}")


def _master(sentinel: Wire, address: Address) -> Place:
    asked = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
    if not (found := accepted(asked)):
        raise ConnectionError(f"knows no service {address.service!r}")
    return found[0].decode(), int(found[1])


def _owner(node: Wire, place: Place, tag: str) -> Place:
    slot = crc_hqx(tag.strip("{}").encode(), 0) % 16_384
    for first, last, (host, port, *_), *_ in accepted(node.ask("CLUSTER", "SLOTS")):
        if first <= slot <= last:
            return host.decode() if host else place[0], int(port)
    raise ConnectionError(f"no node serves slot {slot}")
