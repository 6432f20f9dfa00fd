"""Open connections: find the address of the server, then apply options, login and timeouts.

A failover changes the address, so it is looked up before every connection. A namespace is one
slot of a Cluster: one node takes all its writes at any time.
"""

from __future__ import annotations

import asyncio
import os
from binascii import crc_hqx
from dataclasses import replace
from typing import Any, Final, Literal, final

import redis

from typedq.addresses import Address
from typedq.broker import redis_py
from typedq.broker.credentials import Credentials, Login
from typedq.broker.failures import (
    MOVED_ON,
    NOT_NOW,
    REDIS_ERRORS,
    Failure,
    NotSent,
    Refused,
    code,
    reason,
    reply_text,
)
from typedq.errors import ConfigurationError

CONNECT_TIMEOUT_S, REPLY_TIMEOUT_S, LOOKUP_TIMEOUT_S = 5.0, 5.0, 2.0
_PASSED_ON: Final = ("health_check_interval", "socket_read_size")
Place = tuple[str, int]  # host and port, or path and 0


@final
class Endpoint:
    """Opens the connections of a broker.

    tag: hash tag of the keys; deadline_s: the longest wait for a reply
    role: in the client name of the connections; losses: how many connections have failed
    """

    def __init__(
        self, address: Address, tag: str, deadline_s: float, credentials: Credentials | None = None
    ) -> None:
        if credentials is not None and address.password:
            raise ConfigurationError(["url: it has a password, so credentials= cannot be used"])
        self._address, self._tag = address, tag
        self._options: dict[str, Any] = dict(address.options)
        self.timeout_s: float = min(
            self._options.get("socket_timeout", REPLY_TIMEOUT_S), deadline_s
        )
        self._connect_s: float = min(
            self._options.get("socket_connect_timeout", CONNECT_TIMEOUT_S), deadline_s
        )
        self.moves = address.kind in ("sentinel", "cluster")
        self.role: Literal["producer", "worker"] = "producer"
        self.losses = 0
        has_login = bool(credentials or address.username or address.password)
        self.login = Login(address.username, address.password, credentials) if has_login else None

    def open(self) -> Any:
        """Return a connected redis-py connection. Raises NotSent, Refused."""
        connection = place = None
        try:
            place = self.locate(self.login)
            connection = self._make(redis_py.SYNC, place, redis_connect_func=redis_py.greet)
            connection.connect()
        except REDIS_ERRORS as error:
            failure = self._failure(error, place)
        else:
            return connection
        if connection is not None:
            connection.disconnect()
        # Outside the except block: redis-py's error may quote the login and would be its context.
        raise failure

    async def aopen(self) -> Any:
        """Do as `open`, for the running event loop."""
        connection = place = None
        try:
            async with asyncio.timeout(self._connect_s + self.timeout_s):
                place = await self._alocate()
                # With socket_timeout, redis-py would create a task for every command.
                changes = {"redis_connect_func": redis_py.agreet, "socket_timeout": None}
                connection = self._make(redis_py.ASYNC, place, **changes)
                await connection.connect()
        except REDIS_ERRORS as error:
            failure = self._failure(error, place)
        except BaseException:
            redis_py.abort(connection)
            raise
        else:
            return connection
        redis_py.abort(connection)
        raise failure

    def _make(self, classes: dict[str, Any], place: Place, **changes: Any) -> Any:
        options, is_unix = self._options, self._address.kind == "unix"
        name = "typedq-producer" if self.role == "producer" else f"typedq-worker-{os.getpid()}"
        arguments: dict[str, Any] = {
            "socket_timeout": self.timeout_s,
            "socket_connect_timeout": self._connect_s,
            "db": self._address.db,
            "client_name": options.get("client_name", name),
            "protocol": options.get("protocol", 3),
            "credential_provider": self.login,
            **{name: options[name] for name in _PASSED_ON if name in options},
            **redis_py.library_name(options),
        }
        if is_unix:
            arguments["path"] = place[0]
        else:
            arguments |= {"host": place[0], "port": place[1]}
            arguments["socket_keepalive"] = options.get("socket_keepalive", True)
        kind = "unix" if is_unix else "tls" if self._address.tls else "tcp"
        connection = classes[kind](**(arguments | changes))
        if self._address.tls:
            redis_py.set_tls(connection, redis_py.tls_context(options))
        return connection

    def locate(self, login: Login | None) -> Place:
        """Return the address of the server that takes writes for the tag. Raises NotSent."""
        address, reasons = self._address, list[str]()
        if not self.moves:
            return address.hosts[0] if address.hosts else (address.path, 0)
        ask = _master if address.kind == "sentinel" else _owner
        for host in address.hosts:
            node = replace(address, kind="single", hosts=(host,), db=0)
            if address.kind == "sentinel":
                user, password = map(self._options.get, ("sentinel_username", "sentinel_password"))
                login = Login(user, password) if user or password else None
            endpoint = Endpoint(node, self._tag, LOOKUP_TIMEOUT_S)
            endpoint.login, endpoint.role, connection = login, self.role, None
            try:
                connection = endpoint.open()
                return ask(connection, host, address.service or self._tag)
            except (*REDIS_ERRORS, Failure) as error:
                where = "" if isinstance(error, NotSent) else f"{host[0]}:{host[1]}: "
                reasons.append(f"{where}{error}")
            finally:
                if connection is not None:
                    connection.disconnect()
        raise NotSent(f"no {address.kind} node returned an address: {'; '.join(reasons)}")

    async def _alocate(self) -> Place:
        login = self.login
        if not self.moves:
            return self.locate(login)
        if login and login.provider and self._address.kind == "cluster":
            login = Login(*await login.get_credentials_async())  # of this loop, not of the thread
        return await asyncio.to_thread(self.locate, login)

    def _failure(self, error: Exception, place: Place | None) -> Failure:
        """Classify an error that was raised before a command was sent."""
        # redis-py's asyncio wraps unknown exceptions.
        error = next((each for each in error.args if isinstance(each, Exception)), error)
        if known := code(error):
            text = self.login.scrub(reply_text(error)) if self.login else reply_text(error)
            rotated = known == "WRONGPASS" and self.login and self.login.provider
            if known in NOT_NOW or rotated or (self.moves and known in MOVED_ON):
                return NotSent(text, known)
            if known == "ERR" and "hello" in text.lower():
                needed = " or ".join(f"{name} {a}.{b}" for name, (a, b) in redis_py.OLDEST.items())
                text = f"this server is too old: typedq needs {needed}, or newer"
            return Refused(text, known)
        if isinstance(error, redis_py.Unsupported):
            return Refused(str(error), "UNSUPPORTED")
        why = reason(error)
        if isinstance(error, AttributeError | TypeError | redis.InvalidResponse):
            why = "it does not reply like Redis or Valkey"
        where = ":".join(str(part) for part in place if part) + ": " if place else ""
        return NotSent(f"{where}{why}")


def _master(sentinel: Any, _: Place, service: str) -> Place:
    sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
    if not (found := sentinel.read_response()):
        raise redis.ConnectionError(f"knows no service {service!r}")
    return found[0].decode(), int(found[1])


def _owner(node: Any, place: Place, tag: str) -> Place:
    slot = crc_hqx(tag.strip("{}").encode(), 0) % 16_384
    node.send_command("CLUSTER", "SLOTS")
    for first, last, (host, port, *_), *_ in node.read_response():
        if first <= slot <= last:
            return host.decode() if host else place[0], int(port)
    raise redis.ConnectionError(f"no node serves slot {slot}")
