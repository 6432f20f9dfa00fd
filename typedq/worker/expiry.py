"""When a message expires, on the clock that a child measures with."""

from __future__ import annotations

import time
from typing import final

from typedq.broker import Broker
from typedq.broker.stats import server_time

ASK_AGAIN_S = 30.0


@final
class ServerClock:
    """The server's clock. It is asked at most every 30 s, and only where messages expire."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._zero_ms, self._ask_at = broker, 0.0, 0.0

    def monotonic(self, moment_ms: int) -> float:
        """Return a moment of that clock on our monotonic one. Raises ServerError."""
        if (now := time.monotonic()) >= self._ask_at:
            # The time of the reply's way is not subtracted: rather a little early than too late.
            self._zero_ms = self._broker.call(server_time()) - 1000 * now
            self._ask_at = now + ASK_AGAIN_S
        return (moment_ms - self._zero_ms) / 1000
