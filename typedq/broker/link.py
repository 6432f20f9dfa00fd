"""One connection to the server, with one unanswered request at a time; a sync and an async kind.

Retries of the client library are off: one of its resends against a stalled server became a second
message. What may be sent again, and under which lane and number, is decided in `dialogue`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

import hiredis
from redis import connection as sync_connection
from redis import exceptions as redis_errors
from redis.asyncio import connection as async_connection

from typedq.addresses import Address
from typedq.broker.connecting import MOVED_ON, connection, locate, moves_about
from typedq.broker.script import Argument

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
REPLY_TIMEOUT_S = 5.0

Lost = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)
Refused = redis_errors.ResponseError


_untyped: Any = hiredis  # its stub knows commands of one word only
_pack: Callable[[tuple[Argument, ...]], bytes] = _untyped.pack_command


class Unsupported(redis_errors.RedisError):
    """The server is older than the oldest that has what the scripts use."""


class NotTaken(redis_errors.RedisError):
    """The request was certainly not carried out: no connection, or the server is still loading."""


def _check_version(greeting: dict[bytes, Any] | None) -> None:
    if not greeting:
        return
    name = greeting.get(b"server", b"redis").decode()
    version = greeting.get(b"version", b"0").decode()
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST.get(name, (0, 0)):
        oldest = ".".join(map(str, OLDEST[name]))
        raise Unsupported(f"{name} {version} is too old: typedq needs {name} {oldest} or newer")


@contextmanager
def _before_sending() -> Generator[None]:
    try:
        yield
    except redis_errors.AuthenticationError:
        raise
    except Lost as error:
        raise NotTaken(str(error)) from error
    except Refused as error:
        if "unknown command" in str(error):
            needed = " or ".join(f"{name} {a}.{b}" for name, (a, b) in OLDEST.items())
            raise Unsupported(f"this server is too old: typedq needs {needed}, or newer") from error
        raise


class Lane:
    """A numbered lane of enqueues, so that the server can tell a resend from a new message."""

    def __init__(self) -> None:
        self.retire()

    def retire(self) -> None:
        """Never use the old lane again; start another at its first number."""
        self.lane, self.seq = secrets.token_hex(8), 1


@final
class Link(Lane):
    """A blocking connection. Raises what `Lost` and `Refused` name."""

    def __init__(self, address: Address, tag: str, deadline_s: float) -> None:
        super().__init__()
        self._address, self._tag = address, tag
        wait = min(REPLY_TIMEOUT_S, deadline_s)
        self._connection = connection(address, sync_connection, socket_timeout=wait)

    def connect(self) -> None:
        """Connect if it is not connected. Raises `NotTaken`."""
        if not self._connection.is_connected:
            with _before_sending():
                if moves_about(self._address):
                    place = locate(self._address, self._tag)
                    self._connection.host, self._connection.port = place
                self._connection.connect()
                _check_version(self._connection.handshake_metadata)

    def ask(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply."""
        self.send(command)
        return self.reply()

    def send(self, command: Sequence[Argument]) -> None:
        """Send a command; `reply` reads its answer, `fileno` tells when there is one."""
        self.connect()
        # Packed as the library does it, without its second look at every word.
        self._connection.send_packed_command([_pack(tuple(command))], check_health=False)

    def reply(self) -> Any:
        """Read the reply to what was sent."""
        try:
            return self._connection.read_response(disable_decoding=True)
        except redis_errors.BusyLoadingError as error:
            raise NotTaken(str(error)) from error
        except MOVED_ON as error:
            if not moves_about(self._address):
                raise
            self.close()  # the next request looks for the server anew
            raise NotTaken(str(error)) from error

    @property
    def id(self) -> int:
        """The server's number for this connection, by which another can unblock it."""
        return int(self._connection.handshake_metadata[b"id"])

    def fileno(self) -> int:
        """The socket, to be waited on beside other things."""
        sock: Any = self._connection._get_socket()  # noqa: SLF001 - no public way to wait on it
        return int(sock.fileno())

    def close(self) -> None:
        """Close the connection; the lane stays."""
        self._connection.disconnect()


@final
class AsyncLink(Lane):
    """The same for one event loop."""

    def __init__(self, address: Address, tag: str, deadline_s: float) -> None:
        super().__init__()
        self._address, self._tag = address, tag
        self._wait = min(REPLY_TIMEOUT_S, deadline_s)
        self._connection = connection(address, async_connection, socket_timeout=None)

    async def ask(self, command: Sequence[Argument]) -> Any:
        """Send a command and return its reply."""
        late: type[redis_errors.RedisError] = NotTaken
        try:
            async with asyncio.timeout(self._wait):
                if not self._connection.is_connected:
                    await self._connect()
                packed, late = _pack(tuple(command)), redis_errors.TimeoutError
                await self._connection.send_packed_command([packed], check_health=False)
                return await self._connection.read_response(disable_decoding=True)
        except redis_errors.BusyLoadingError as error:
            raise NotTaken(str(error)) from error
        except MOVED_ON as error:
            if not moves_about(self._address):
                raise
            await self.close()  # the next request looks for the server anew
            raise NotTaken(str(error)) from error
        except TimeoutError as error:
            await self.close()
            raise late("no reply in time") from error
        except asyncio.CancelledError:
            # The reply would be taken for that of the next request.
            await self.close()
            raise

    async def _connect(self) -> None:
        with _before_sending():
            if moves_about(self._address):
                place = await asyncio.to_thread(locate, self._address, self._tag)
                self._connection.host, self._connection.port = place
            await self._connection.connect()
            # The async client does not keep the answer to its own HELLO.
            await self._connection.send_command("HELLO", 3, check_health=False)
            _check_version(await self._connection.read_response(disable_decoding=True))

    async def close(self) -> None:
        """Close the connection; the lane stays."""
        await self._connection.disconnect(nowait=True)
