"""Read the server once for all viewers; nothing is read while nobody looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar, cast, final

from typedq.admin.overview import overview
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.registry import Contracts

T = TypeVar("T")
REFRESH_S = 5  # how often an open page asks for news
RATE_S = 60.0  # rates are over this time at most
_KEPT = 4  # readings of single pages that viewers share
_MANY = 30  # comparisons that a request waits for; they take up to 0.3 s


class Comparing(Exception):
    """Many contracts are being compared for the first time. Field: `done`."""

    def __init__(self, done: int) -> None:
        self.done = done
        super().__init__(f"{done} comparisons so far")


@dataclass(frozen=True)
class Facts:
    """What `typedq info` shows, at one moment.

    rates: per second, by the names of `since_start`; empty until there are two polls
    contracts: the published schemas and who reads them
    """

    seen: Mapping[str, Any]
    rates: Mapping[str, float]
    contracts: Contracts
    taken: float


@final
class Poll:
    """The facts about one app."""

    def __init__(self, app: TypedQ) -> None:
        self._app = app
        self._lock = Lock()
        self._contracts: Contracts | None = None
        self._running: Future[Facts] | None = None
        self._last: Facts | None = None
        self._extra: dict[Hashable, tuple[float, Any]] = {}
        self._reading = Lock()
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque()

    def facts(self, *, refresh: bool = False) -> Facts:
        """Return the facts of now, together with everybody who asks at this time.

        refresh: facts that another viewer got since the last refresh will do
        Raises ServerError; Comparing if it takes long for the first time.
        """
        with self._lock:
            last, running = self._last, self._running
            if refresh and last and time.monotonic() - last.taken < REFRESH_S * 0.9:
                return last
            if running is None or running.done():
                pool = ThreadPoolExecutor(1, "typedq-dashboard")
                running = self._running = pool.submit(self._take)
                pool.shutdown(wait=False)
        before = self._compared
        while True:
            try:
                return running.result(timeout=0.1)
            except TimeoutError:
                if running.done():
                    raise
                if (done := self._compared - before) > _MANY:
                    raise Comparing(done) from None

    def shared(self, key: Hashable, read: Callable[[], T], *, refresh: bool) -> T:
        """Return what one page shows beside the facts; refreshing viewers share a reading."""
        with self._reading if refresh else nullcontext():
            taken, found = self._extra.get(key, (0.0, None))
            if refresh and time.monotonic() - taken < REFRESH_S * 0.9:
                return cast("T", found)
            value = read()
            # The newest few: readings are large, and keys are what anybody asks for.
            kept = [item for item in self._extra.items() if item[0] != key][-_KEPT + 1 :]
            self._extra = dict([*kept, (key, (time.monotonic(), value))])
            return value

    @property
    def _compared(self) -> int:
        return self._contracts.readers.comparisons if self._contracts else 0

    def _take(self) -> Facts:
        # A few schemas at a time are parsed only to find invalid ones.
        contracts = self._contracts = self._contracts or Contracts(
            self._app.broker, declared(self._app), max_checked=100
        )
        seen, now = overview(self._app, contracts), time.monotonic()
        while self._samples and now - self._samples[0][0] > RATE_S:
            self._samples.popleft()
        rates: dict[str, float] = {}
        if self._samples and (span := now - self._samples[0][0]) >= 1:
            first = self._samples[0][1]
            rates = {k: (n - first.get(k, 0)) / span for k, n in seen["since_start"].items()}
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, seen["since_start"]))
        self._last = Facts(seen, rates, contracts, now)
        return self._last
