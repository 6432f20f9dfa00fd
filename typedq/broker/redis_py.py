"""Adapt redis-py: the handshake, TLS, and everything that needs its private names.

No other file uses private names of redis-py. tests/broker/test_redis_py.py checks each of them
with the oldest and the newest supported release.
"""

from __future__ import annotations

import re
import select
import ssl
from typing import Any, Final

import redis
import redis.asyncio.connection as aio

OLDEST: Final = {"redis": (7, 0), "valkey": (7, 2)}


class Unsupported(redis.RedisError):
    """The server is too old for the commands that the scripts use."""


def tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """Return the TLS context of a URL. redis-py's own would also trust the system's authorities."""
    tls = ssl.create_default_context(
        cafile=options.get("ssl_ca_certs"),
        capath=options.get("ssl_ca_path"),
        cadata=options.get("ssl_ca_data"),
    )
    verify = options.get("ssl_cert_reqs", "required")
    tls.check_hostname = verify != "none" and options.get("ssl_check_hostname", True)
    tls.verify_mode = ssl.VerifyMode[f"CERT_{verify.upper()}"]
    for name in filter(None, options.get("ssl_include_verify_flags", "").split(",")):
        tls.verify_flags |= ssl.VerifyFlags[name]
    for name in filter(None, options.get("ssl_exclude_verify_flags", "").split(",")):
        tls.verify_flags &= ~ssl.VerifyFlags[name]
    key = options.get("ssl_keyfile")
    if pem := options.get("ssl_certfile") or key:
        # Without a password, OpenSSL would prompt for one at the terminal.
        tls.load_cert_chain(pem, key, options.get("ssl_password", ""))
    if "ssl_min_version" in options:
        tls.minimum_version = ssl.TLSVersion(options["ssl_min_version"])
    if "ssl_ciphers" in options:
        tls.set_ciphers(options["ssl_ciphers"])
    return tls


def library_name(options: dict[str, Any]) -> dict[str, Any]:
    """Return options that send lib_name only if the URL has one: it costs two commands."""
    name, version = options.get("lib_name"), options.get("lib_version")
    try:
        from redis import DriverInfo
    except ImportError:  # before redis-py 7.2
        return {"lib_name": name, "lib_version": version}
    return {"driver_info": DriverInfo(name, version) if name or version else None}


# --- the handshake -------------------------------------------------------------------------------


def greet(connection: Any) -> None:
    """Log in as redis-py does, and check the server's reply to HELLO."""
    log_in: Any = redis.Connection.on_connect
    read, greetings = connection.read_response, list[Any]()

    def read_and_keep(*args: Any, **options: Any) -> Any:
        greetings.append(_checked(reply := read(*args, **options)))
        return reply

    connection.read_response = read_and_keep
    try:
        log_in(connection)
    except redis.ResponseError as error:
        _go_without_name(connection, error)
        log_in(connection)
    finally:
        del connection.read_response
    _expect_greeting(connection, greetings)


async def agreet(connection: Any) -> None:
    """Do as `greet` for an asyncio connection."""
    read, greetings = connection.read_response, list[Any]()

    async def read_and_keep(*args: Any, **options: Any) -> Any:
        greetings.append(_checked(reply := await read(*args, **options)))
        return reply

    connection.read_response = read_and_keep
    try:
        await aio.Connection.on_connect(connection)
    except redis.ResponseError as error:
        _go_without_name(connection, error)
        await aio.Connection.on_connect(connection)
    finally:
        del connection.read_response
    _expect_greeting(connection, greetings)


def _expect_greeting(connection: Any, greetings: list[Any]) -> None:
    if connection.protocol == 3 and not any(greetings):
        raise TypeError("no greeting")


def _go_without_name(connection: Any, error: Exception) -> None:
    """A user who may not name its connections works all the same."""
    if not connection.client_name.startswith("typedq-") or "client" not in str(error).lower():
        raise error
    connection.client_name = None


def _checked(reply: Any) -> Any:
    """Return a greeting, or None for another reply. Raises Unsupported for too old a server."""
    if not hasattr(reply, "get"):
        return None
    name, version = (reply.get(key, b"").decode() for key in (b"server", b"version"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    # Sentinels may be older than the servers they monitor.
    if reply.get(b"mode") != b"sentinel" and numbers < OLDEST.get(name, (0, 0)):
        oldest = ".".join(map(str, OLDEST[name]))
        raise Unsupported(f"{name} {version} is too old: typedq needs {name} {oldest} or newer")
    return reply


# --- private names -------------------------------------------------------------------------------


class _TLS(redis.SSLConnection):
    context: ssl.SSLContext

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        return self.context.wrap_socket(sock, server_hostname=self.host)


class _AsyncUnix(aio.UnixDomainSocketConnection):
    """A connection that shakes hands once; redis-py does it twice on Unix sockets."""

    async def on_connect(self) -> None:
        """Do nothing; `agreet` shakes hands."""


SYNC: Final = {"tcp": redis.Connection, "tls": _TLS, "unix": redis.UnixDomainSocketConnection}
ASYNC: Final = {"tcp": aio.Connection, "tls": aio.SSLConnection, "unix": _AsyncUnix}


def set_tls(connection: Any, context: ssl.SSLContext) -> None:
    """Set the TLS context of a connection, instead of the one that redis-py would make."""
    if isinstance(connection, _TLS):
        connection.context = context
    else:
        connection.ssl_context.context = context


def inputs(connection: Any) -> tuple[Any, Any]:
    """Return the socket of a connected sync connection, and hiredis's reader of its replies."""
    return connection._sock, connection._parser._reader


def poll_of(socket: Any) -> Any:
    """Return what tells whether there is something to read; None where only redis-py can."""
    if not hasattr(select, "poll"):
        return None
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return poll


def async_socket(connection: Any) -> Any:
    """Return the socket of a connected asyncio connection."""
    return connection._writer.get_extra_info("socket")


async def is_stale(connection: Any, poll: Any) -> bool:
    """Return True if an idle asyncio connection was closed or holds an unexpected reply.

    poll: that of its socket
    """
    writer = connection._writer
    if writer is None or writer.is_closing():
        return True
    # The stream does not know yet what arrived since its loop last ran; the socket does.
    if poll is not None and poll.poll(0):
        return True
    if hasattr(connection, "can_read"):
        return bool(await connection.can_read())
    return bool(await connection.can_read_destructive())  # before redis-py 8


def abort(connection: Any) -> None:
    """Close an asyncio connection without waiting, even if its loop has ended."""
    if connection is None or connection._writer is None:
        return
    transport = connection._writer.transport
    try:
        transport.abort()
    except RuntimeError:  # its loop is closed, so the socket must be closed here
        sock = getattr(transport, "_sock", None)
        if sock is not None:
            sock.close()
            transport._sock = None
    connection._reader = connection._writer = None  # else redis-py warns of an open connection
