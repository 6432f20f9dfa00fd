"""Serve a few small pages by HTTP. No client can hold up another: slow ones are cut off."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, create_server, has_dualstack_ipv6, socket
from typing import Any, NamedTuple, final

from typedq.errors import ConfigurationError

TIMEOUT_S = 5.0  # for a client to send its request, and to take the answer
MAX_CONNECTIONS = 100  # beyond them, the oldest is closed
_MAX_REQUEST = 8192


class Page(NamedTuple):
    """An answer; a probe counts every status from 400 on as failed."""

    text: str
    status: HTTPStatus = HTTPStatus.OK
    type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]


def listen(host: str, port: int, option: str = "metrics_port") -> socket:
    """Return a socket that listens. `::` takes IPv4, too, where the system can.

    Raises ConfigurationError if it cannot, for example because the port is taken.
    """
    is_v6 = ip_address(host).version == 6
    family = AF_INET6 if is_v6 else AF_INET
    dual = host == "::" and has_dualstack_ipv6()
    try:
        return create_server((host, port), family=family, dualstack_ipv6=dual, backlog=100)
    except OSError as error:
        reason = f"{option} {port}: cannot listen at {host} ({os.strerror(error.errno or 0)})"
        raise ConfigurationError(
            [f"{reason}: end the process that has the port, or choose another port or address"]
        ) from None


@final
class PageServer:
    """Answers GET and HEAD. A page is made in a thread, one at a time of each path."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._open = dict[asyncio.Task[None], None]()

    def run(self, listener: socket) -> None:
        """Serve until the process ends."""
        # Not the loop of a policy that the app has set.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._run(listener))

    async def _run(self, listener: socket) -> None:
        self._locks = {path: asyncio.Lock() for path in self._pages}
        asyncio.get_running_loop().set_exception_handler(_ignore)
        server = await asyncio.start_server(self._serve, sock=listener, limit=_MAX_REQUEST)
        await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it runs this
        self._open[task] = None
        if len(self._open) > MAX_CONNECTIONS:
            next(iter(self._open)).cancel()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                request = await _read(reader)
            answer = await self._answer(request)
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):
            pass  # the client is slow, or has gone
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _answer(self, request: bytes) -> bytes:
        method, target, *rest = [*request.split(b"\r\n", 1)[0].decode("latin-1").split(" "), ""][:3]
        path = target.partition("?")[0]
        if not rest or not rest[0].startswith("HTTP/1."):
            page = Page("this is not a request of HTTP/1\n", HTTPStatus.BAD_REQUEST)
        elif method not in ("GET", "HEAD"):
            page = Page("only GET and HEAD are answered\n", HTTPStatus.METHOD_NOT_ALLOWED)
        elif make := self._pages.get(path):
            async with self._locks[path]:
                page = await asyncio.to_thread(make)
        else:
            page = Page(f"the pages are {', '.join(self._pages)}\n", HTTPStatus.NOT_FOUND)
        body = page.text.encode()
        head = (
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.type}",
            f"Content-Length: {len(body)}",
            *(["Allow: GET, HEAD"] if page.status == HTTPStatus.METHOD_NOT_ALLOWED else []),
            "Cache-Control: no-store",
            "Connection: close",
        )
        text = "\r\n".join(head).encode() + b"\r\n\r\n"
        return text if method == "HEAD" else text + body


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log nothing: what fails here is caused by clients."""


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return the head of a request, or b"" if the client sent something else."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""
