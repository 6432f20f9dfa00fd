"""What typedq needs of redis-py beyond its documentation: an upgrade that takes it away fails here.

Also run with the oldest supported release, in an environment of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import select
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio.connection as aio
from redis import exceptions
from redis._parsers import _HiredisParser

from tests.oldest import run_with
from typedq import addresses
from typedq.addresses import parse_url
from typedq.broker import redis_py
from typedq.broker.connections import Connection, pack
from typedq.broker.endpoint import Endpoint
from typedq.broker.failures import REDIS_ERRORS, Lost, code, reply_text
from typedq.broker.script import command

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

ROOT = Path(__file__).parents[2]
OLDEST = "5.2.0"
FILES = ("test_redis_py.py", "test_connections.py", "test_credentials.py", "test_client.py")


def endpoint(server: OwnServer, **options: object) -> Endpoint:
    url = f"{server.url}?{'&'.join(f'{name}={value}' for name, value in options.items())}"
    return Endpoint(parse_url(url), "{x}", 5.0)


# --- private names -------------------------------------------------------------------------------


def test_input_of_a_connection_is_seen_in_its_socket_and_in_its_parser(server: OwnServer) -> None:
    connection = Connection(endpoint(server))
    connection.send(command("PING"))
    select.select([connection.fileno()], [], [], 10)
    assert connection.has_reply()
    assert connection.read() == b"PONG"
    assert not connection.has_reply()
    socket, reader = redis_py.inputs(connection._redis)
    assert connection.fileno() == socket.fileno() > 2
    reader.feed(b"+PONG\r\n")
    assert connection.has_reply()
    connection.read()
    socket.close()
    assert connection.has_reply()
    connection.close()
    assert connection.fileno() == -1


def test_abort_of_an_asyncio_connection_closes_its_streams(server: OwnServer) -> None:
    async def main() -> None:
        connection = await endpoint(server).aopen()
        assert isinstance(connection._writer, asyncio.StreamWriter)
        assert isinstance(connection._reader, asyncio.StreamReader)
        assert connection.is_connected
        poll = redis_py.poll_of(redis_py.async_socket(connection))
        assert not await redis_py.is_stale(connection, poll)
        redis_py.abort(connection)
        assert not connection.is_connected
        assert await redis_py.is_stale(connection, poll)
        redis_py.abort(connection)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_tls_is_asked_of_one_method_and_of_one_attribute() -> None:
    wrap = inspect.signature(redis.SSLConnection._wrap_socket_with_ssl)
    assert list(wrap.parameters) == ["self", "sock"]
    assert "_wrap_socket_with_ssl(sock)" in inspect.getsource(redis.SSLConnection._connect)
    context = redis_py.tls_context({})
    connection: Any = aio.SSLConnection()
    redis_py.set_tls(connection, context)
    assert connection.ssl_context.get() is context


def test_an_asyncio_unix_socket_shakes_hands_as_it_connects() -> None:
    """If not any more, the override of its `on_connect` can go."""
    assert "on_connect()" in inspect.getsource(aio.UnixDomainSocketConnection._connect)


# --- the handshake -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("given", "commands"),
    [
        ({}, ["HELLO", "CLIENT"]),
        ({"db": 1}, ["HELLO", "CLIENT", "SELECT"]),
        ({"protocol": 2}, ["CLIENT"]),
        ({"lib_name": "shop", "lib_version": "1"}, ["HELLO", "CLIENT", "CLIENT", "CLIENT"]),
    ],
    ids=str,
)
def test_a_handshake_is_short(
    server: OwnServer, given: dict[str, object], commands: list[str], is_async: bool
) -> None:
    """No library's name unless asked for, and no maintenance notifications."""
    with redis.Redis.from_url(server.url) as eyes:
        about: Any = eyes.info("server")
        if "lib_name" in given and about["redis_version"] < "7.2":
            pytest.skip("this server has no CLIENT SETINFO, which MONITOR would not show")

    async def connect() -> None:
        redis_py.abort(await endpoint(server, **given).aopen())
        await asyncio.sleep(0)

    with redis.Redis.from_url(server.url) as eyes, eyes.monitor() as monitor:
        if is_async:
            asyncio.run(connect())
        else:
            endpoint(server, **given).open().disconnect()
        with redis.Redis.from_url(server.url) as other:
            other.echo("over")
        next_command: Any = monitor.next_command
        seen = list[str]()
        while "over" not in (line := next_command()["command"]):
            seen.append(line.split()[0].upper())
    assert seen[: len(commands)] == commands
    assert set(seen[len(commands) :]) <= {"HELLO", "CLIENT"}  # of the other


# --- errors --------------------------------------------------------------------------------------


def parse_error(reply: str) -> Exception:
    """The error that redis-py makes of a reply."""
    parser: Any = _HiredisParser
    error: Exception = parser.parse_error(reply)
    return error


REPLIES = {
    "NOSCRIPT No matching script. Please use EVAL.": "NOSCRIPT",
    "LOADING Redis is loading the dataset in memory": "LOADING",
    "READONLY You can't write against a read only replica.": "READONLY",
    "MOVED 3999 127.0.0.1:6381": "MOVED",
    "ASK 3999 127.0.0.1:6381": "ASK",
    "TRYAGAIN Multiple keys request during rehashing of slot": "TRYAGAIN",
    "CLUSTERDOWN The cluster is down": "CLUSTERDOWN",
    "CROSSSLOT Keys in request don't hash to the same slot": "CROSSSLOT",
    "MASTERDOWN Link with MASTER is down": "MASTERDOWN",
    "OOM command not allowed when used memory > 'maxmemory'.": "OOM",
    "NOPERM User x has no permissions to run the 'get' command": "NOPERM",
    "WRONGPASS invalid username-password pair or user is disabled.": "WRONGPASS",
    "NOAUTH Authentication required.": "WRONGPASS",
    "ERR max number of clients reached": "MAXCLIENTS",
    "ERR unknown command 'NONSENSE', with args beginning with: ": "ERR",
    "WRONGTYPE Operation against a key holding the wrong kind of value": "WRONGTYPE",
    "UNBLOCKED force unblock from blocking operation": "UNBLOCKED",
    "NOREPLICAS Not enough good replicas to write.": "NOREPLICAS",
    "MISCONF Errors writing to the AOF file: No space left on device": "MISCONF",
    "BUSY Redis is busy running a script.": "BUSY",
    "something else": "ERR",
}


@pytest.mark.parametrize("reply", REPLIES)
def test_every_error_reply_has_its_code(reply: str) -> None:
    error = parse_error(reply)
    assert isinstance(error, redis.RedisError)
    assert code(error) == REPLIES[reply]
    assert reply.partition(" ")[2] in reply_text(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Connection closed by server."),
        redis.TimeoutError("Timeout reading from socket"),
        redis.InvalidResponse("Protocol error"),
        ConnectionResetError(104, "Connection reset by peer"),
        ValueError("not enough values to unpack"),
    ],
)
def test_a_lost_connection_has_none(error: Exception) -> None:
    assert code(error) == ""
    assert isinstance(error, REDIS_ERRORS)


def test_a_malformed_redirection_is_a_lost_connection() -> None:
    with pytest.raises(REDIS_ERRORS):
        raise parse_error("MOVED nonsense")
    assert issubclass(exceptions.BusyLoadingError, redis.ConnectionError)
    assert not issubclass(redis.ConnectionError, OSError)
    assert not issubclass(Lost, redis.RedisError)


# --- options -------------------------------------------------------------------------------------


def test_every_option_of_redis_py_is_known() -> None:
    """Those of its URLs that have a type, and those of TLS, which have none."""
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS

    named = set(URL_QUERY_ARGUMENT_PARSERS)
    for kind in (redis.SSLConnection, aio.SSLConnection):
        named |= {name for name in inspect.signature(kind).parameters if name.startswith("ssl_")}
    known = {*addresses._OPTIONS, *addresses._WITHOUT_EFFECT, *addresses._MOVED}
    assert {name for name in named - known if "ocsp" not in name} == set()


def test_the_packer_takes_commands_of_several_words() -> None:
    assert pack(("GET", b"\xff", 7)) == b"*3\r\n$3\r\nGET\r\n$1\r\n\xff\r\n$1\r\n7\r\n"


# --- the oldest release --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif("TYPEDQ_OLDEST_REDIS" in os.environ, reason="this is the run with the oldest")
def test_the_oldest_supported_release_will_do(tmp_path: Path) -> None:
    """The declared minimum: installed before the rest, which is as here."""
    venv.create(tmp_path / "venv", with_pip=False)
    ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    run_with(
        f"redis=={OLDEST}",
        tmp_path / "oldest",
        ["-m", "not slow", *(f"tests/broker/{name}" for name in FILES)],
        {"TYPEDQ_OLDEST_REDIS": OLDEST},
        python=str(tmp_path / "venv" / "bin" / "python"),
        paths=[ours],
    )


def test_this_run_uses_the_release_it_should() -> None:
    expected = os.environ.get("TYPEDQ_OLDEST_REDIS")
    assert expected is None or redis.__version__ == expected
