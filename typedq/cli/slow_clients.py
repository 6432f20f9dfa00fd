"""Bound what clients of the dashboard's server hold: how long each, and how many of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 60.0  # for a client to send a request, and to take the answer
MAX_CONNECTIONS = 200  # beyond them, the one is closed that has waited longest for a request
STOP_S = 5  # for requests that run when the server is stopped


class BoundedConnection(H11Protocol):
    """A connection that is closed if its request takes too long, or if there are too many others.

    uvicorn limits only how long a connection is idle between two requests. Its `limit_concurrency`
    counts idle connections too, so those of one client would lock out everybody.
    """

    began: float = 0.0  # monotonic: when it was made or last answered
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Count the connection; close another one if there are too many."""
        super().connection_made(transport)
        self._begin()
        if len(self.connections) > MAX_CONNECTIONS:
            longest: Any = min(self.connections, key=lambda each: getattr(each, "began", 0.0))
            self.connections.discard(longest)  # now, because more may come before it has ended
            longest.transport.abort()

    def on_response_complete(self) -> None:
        """Begin anew, for a client that takes what is buffered or sends another request."""
        self._begin()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._end()
        self.began = time.monotonic()  # the clock of uvloop is the same for a whole burst
        # Not `close`, which waits until the client has taken what is buffered.
        self._timer = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
