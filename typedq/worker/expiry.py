"""When a message expires, on the clock that a child measures with."""

from __future__ import annotations

import time
from typing import final

from typedq.broker import DedicatedClient
from typedq.broker.server_checks import clock

ASK_AGAIN_S = 30.0


@final
class ServerClock:
    """The server's clock. It is asked at most every 30 s, and only where messages expire."""

    def __init__(self, client: DedicatedClient) -> None:
        self._client, self._zero_s, self._ask_at = client, 0.0, 0.0

    def monotonic(self, moment_ms: int) -> float:
        """Return a moment of that clock on our monotonic one. Raises ServerError."""
        if (now := time.monotonic()) >= self._ask_at:
            # The time of the reply's way is not subtracted: rather a little early than too late.
            self._zero_s = self._client.call(clock()) - now
            self._ask_at = now + ASK_AGAIN_S
        return moment_ms / 1000 - self._zero_s
