"""Connections of the client library, made of an address; and where the server is now.

A failover moves it, so it is asked for anew before every connection. A namespace is one slot of a
Cluster: one node takes all its writes at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import connection as sync_connection
from redis import exceptions as redis_errors
from redis.crc import key_slot

from typedq.addresses import Address

CONNECT_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 2.0
# The server that answers so did nothing: another takes the writes now, or soon.
MOVED_ON = (
    redis_errors.MovedError,
    redis_errors.AskError,
    redis_errors.TryAgainError,
    redis_errors.ClusterDownError,
    redis_errors.ReadOnlyError,
    redis_errors.MasterDownError,
)


def moves_about(address: Address) -> bool:
    """Whether the server of this address may be another one tomorrow."""
    return address.kind in ("sentinel", "cluster")


def connection(address: Address, module: Any, **more: Any) -> Any:
    """A connection of the sync or the async `module` of the client library, not yet connected."""
    settings = _login(address, address.username, address.password) | {"db": address.db} | more
    if address.kind == "unix":
        return module.UnixDomainSocketConnection(path=address.path, **settings)
    host, port = address.hosts[0]
    kind = module.SSLConnection if address.tls else module.Connection
    return kind(host=host, port=port, **settings)


def locate(address: Address, tag: str) -> tuple[str, int]:
    """Host and port of the server that takes writes for keys that begin with `tag`.

    Raises redis.exceptions.ConnectionError.
    """
    if address.kind == "sentinel":
        return _first(address, _master)
    slot = key_slot(tag.encode())
    return _first(address, lambda _, node: _owner(node, slot))


def _first(address: Address, find: Callable[[Address, Any], tuple[str, int]]) -> tuple[str, int]:
    reasons: list[str] = []
    for host, port in address.hosts:
        kind = sync_connection.SSLConnection if address.tls else sync_connection.Connection
        user: Any = address.username
        password: Any = address.password
        if address.kind == "sentinel":
            user = address.options.get("sentinel_username")
            password = address.options.get("sentinel_password")
        node: Any = kind(
            host=host,
            port=port,
            socket_timeout=ASK_TIMEOUT_S,
            **_login(address, user, password),
        )
        try:
            return find(address, node)
        except (redis_errors.RedisError, OSError) as error:
            reasons.append(f"{host}:{port}: {error}")
        finally:
            node.disconnect()
    raise redis_errors.ConnectionError(f"no {address.kind} node could tell: {'; '.join(reasons)}")


def _master(address: Address, sentinel: Any) -> tuple[str, int]:
    sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
    found = sentinel.read_response()
    if not found:
        raise redis_errors.ConnectionError(f"knows no service {address.service!r}")
    return found[0].decode(), int(found[1])


def _owner(node: Any, slot: int) -> tuple[str, int]:
    node.send_command("CLUSTER", "SLOTS")
    for first, last, (host, port, *_), *_ in node.read_response():
        if first <= slot <= last:
            return (host or node.host.encode()).decode(), int(port)
    raise redis_errors.ConnectionError(f"no node serves slot {slot}")


def _login(address: Address, username: Any, password: Any) -> dict[str, Any]:
    tls = {name: value for name, value in address.options.items() if name.startswith("ssl_")}
    if address.tls:  # without a password, OpenSSL would ask whoever sits at the terminal, and wait
        tls.setdefault("ssl_password", "")
    return tls | {
        "username": username,
        "password": password,
        "protocol": 3,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "driver_info": None,
    }
