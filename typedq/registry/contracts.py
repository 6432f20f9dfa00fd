"""The published contracts of a server and who reads them, found in a bounded time."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from typing import final

from typedq.broker import Broker
from typedq.registry.check import Declared
from typedq.registry.readers import PublishedSchemas, Worker, WorkersByContract


@final
class Contracts:
    """Published contracts and their readers. Keep one to compare each pair only once.

    Producers publish contracts: any number, and some that take long to compare.
    max_checked: how many schemas are parsed only to find invalid ones after each `refresh`
    within_s: how long to parse and compare after each `refresh`; the next one comes further
    """

    def __init__(
        self,
        broker: Broker,
        tasks: Iterable[Declared],
        max_checked: int | None = None,
        within_s: float = math.inf,
    ) -> None:
        self.schemas = PublishedSchemas()
        self.readers = WorkersByContract(tasks, self.schemas)
        self._broker, self._max_checked, self._within_s = broker, max_checked, within_s
        self._end = math.inf

    def refresh(self) -> None:
        """Read the published schemas. Raises ServerError."""
        self.readers.forget(self.schemas.refresh(self._broker))
        self._end = time.monotonic() + self._within_s

    def read_by(
        self, contracts: Iterable[str], workers: Mapping[str, Worker]
    ) -> dict[str, list[str]]:
        """Return the workers that read each contract, in turn until the time is over.

        At least one new comparison is made, so that every call comes further.
        """
        found: dict[str, list[str]] = {}
        before = self.readers.comparisons
        for contract in contracts:
            found[contract] = self.readers.of(contract, workers)
            if time.monotonic() > self._end and self.readers.comparisons > before:
                break
        return found

    def left_out(self, contracts: Collection[str], counts: Mapping[str, int]) -> dict[str, int]:
        """Return how many contracts there was no time to compare, and how many messages they have.

        counts: messages by contract
        `schemas` is the number of those that were not parsed, so they may be invalid.
        """
        messages = sum(counts.get(contract, 0) for contract in contracts)
        unparsed = len(self.schemas.unparsed())
        return {"contracts": len(contracts), "messages": messages, "schemas": unparsed}

    def invalid(self) -> dict[str, str]:
        """Return why schemas are invalid, of those that there is time to parse."""
        found = self.schemas.invalid(self._max_checked, self._end)
        return {id: error.reason for id, error in found.items()}
