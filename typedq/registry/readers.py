"""Find who reads a contract: parse published schemas and compare them once, while they last."""

from __future__ import annotations

import math
import time
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, final

import msgspec

from typedq.broker import Broker, parking, stats
from typedq.compat import compare, read_schema
from typedq.errors import InvalidSchema
from typedq.message import FORMAT
from typedq.policy import NAME, Schedule
from typedq.registry.check import Declared

Schemas = Mapping[str, dict[str, Any]]
UNKNOWN = "the server does not know this contract"
_NO_READER = "the reader's schema is not known"
_MAX_BREAKS, _MAX_WHY = 5, 1_000


class Worker(msgspec.Struct):
    """The report of a supervisor.

    cron: the entries that it fires
    croniter: the major version of what computes their slots; 0 if there is none
    protocols: versions of the enqueue protocol that it knows; none if it is older than the list
    format: the last message format that it reads
    task_queues: of tasks that do not use the default queue
    """

    host: str = "?"
    pid: int = 0
    children: int = 0
    queues: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    format: int = 1
    cron: dict[str, Schedule] = {}
    croniter: int = 0
    started_ms: int | None = None
    seen_ms: int | None = None
    protocols: tuple[int, ...] = ()
    default_queue: str | None = None
    task_queues: dict[str, str] = {}


def reported_workers(seen: stats.Stats) -> dict[str, Worker]:
    """Return what workers last reported, by name; some may have died since."""
    return {name: _parse_report(line) for name, line in seen.workers.items() if line}


def live_workers(seen: stats.Stats, lease_s: float) -> dict[str, Worker]:
    """Return the workers that reported within two leases, and those whose report is unreadable."""
    oldest_ms = seen.now_ms - 2000 * lease_s
    reported = reported_workers(seen).items()
    return {n: w for n, w in reported if w.seen_ms is None or w.seen_ms >= oldest_ms}


def _parse_report(line: bytes) -> Worker:
    try:
        return msgspec.json.decode(line, type=Worker)
    except (ValueError, RecursionError):  # another version of typedq wrote it, or another program
        return Worker()


class Reading(NamedTuple):
    """How one contract reads another: `equal`, `upcaster` or `compatible`; None if it cannot."""

    how: str | None
    why: str = ""


@final
class PublishedSchemas(Mapping[str, dict[str, Any]]):
    """The valid published schemas by contract id; each is parsed when it is asked for.

    Ids that are no contract count as not published.
    """

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        self._parsed: dict[str, dict[str, Any] | None] = {}
        self._invalid: dict[str, InvalidSchema] = {}

    def refresh(self, broker: Broker) -> set[str]:
        """Read all from the server; return the ids that changed. Raises ServerError."""
        texts = {
            id: text
            for id, text in broker.call(stats.contracts(broker.keys)).items()
            if NAME.fullmatch(id.rpartition("@")[0])
        }
        changed = {id for id, text in self._texts.items() if texts.get(id) != text}
        for id in changed:
            self._parsed.pop(id, None)
            self._invalid.pop(id, None)
        changed |= texts.keys() - self._texts.keys()
        self._texts = texts
        return changed

    def invalid(
        self, max_parsed: int | None = None, end: float = math.inf
    ) -> Mapping[str, InvalidSchema]:
        """Return what is wrong with invalid ones, after parsing more of them.

        max_parsed: how many at most; end: until when (monotonic)
        """
        for id in self.unparsed()[:max_parsed]:
            if time.monotonic() > end:
                break
            self._parse(id)
        return self._invalid

    def unparsed(self) -> list[str]:
        """Return the ids of those that nobody has asked for, which may be invalid."""
        return [id for id in self._texts if id not in self._parsed]

    def ids(self, task: str) -> list[str]:
        """Return the ids of a task's contracts, valid or not."""
        return [id for id in self._texts if id.rpartition("@")[0] == task]

    def problem(self, id: str) -> str:
        """Return why there is no schema of a contract."""
        if id in self._texts:
            self._parse(id)
        found = self._invalid.get(id)
        return f"the schema published for it is invalid: {found.reason}" if found else UNKNOWN

    def _parse(self, id: str) -> dict[str, Any] | None:
        if id not in self._parsed:
            self._parsed[id] = None
            try:
                self._parsed[id] = read_schema(self._texts[id])
            except InvalidSchema as error:
                self._invalid[id] = error
        return self._parsed[id]

    def __getitem__(self, id: str) -> dict[str, Any]:
        if id in self._texts and (schema := self._parse(id)) is not None:
            return schema
        raise KeyError(id)

    def __iter__(self) -> Iterator[str]:
        return (id for id in list(self._texts) if self._parse(id) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@final
class WorkersByContract:
    """Finds the workers that read a contract, by the rules that workers apply.

    Only upcasters and aliases of this app's tasks are known. A comparison takes milliseconds, so
    its result is kept: `forget` drops those of schemas that changed.
    """

    def __init__(self, tasks: Iterable[Declared], schemas: Schemas) -> None:
        self._schemas = schemas
        self._ours = {f"{task.name}@{task.fingerprint}": task for task in tasks}
        self._readings: dict[tuple[str, str], Reading] = {}
        self._by_task = lru_cache(64)(self._index)  # workers of one deploy read the same contracts

    def forget(self, contracts: Iterable[str]) -> None:
        """Drop what was found for contracts whose schema changed."""
        changed = set(contracts)
        if changed:
            kept = {pair: r for pair, r in self._readings.items() if changed.isdisjoint(pair)}
            self._readings = kept

    @property
    def comparisons(self) -> int:
        """Return how many comparisons are kept."""
        return len(self._readings)

    def of(self, contract: str, workers: Mapping[str, Worker]) -> list[str]:
        """Return the names of the workers that read a contract."""
        base, format = parking.split_format(contract)
        return [
            name
            for name, about in workers.items()
            if about.format >= format
            and any(self.reading(base, read).how for read in self.of_task(base, about.reads))
        ]

    def of_task(self, contract: str, reads: Sequence[str]) -> list[str]:
        """Return the contracts of a worker whose task takes messages of a contract's task."""
        return self._by_task(tuple(reads)).get(contract.partition("@")[0], [])

    def _index(self, reads: tuple[str, ...]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for read in reads:
            aliases = self._ours[read].aliases if read in self._ours else ()
            for name in (read.partition("@")[0], *aliases):
                found.setdefault(name, []).append(read)
        return found

    def reading(self, contract: str, read: str) -> Reading:
        """Return how a task with the contract `read` reads messages of `contract`."""
        contract, format = parking.split_format(contract)
        fingerprint = contract.partition("@")[2]
        own_name, _, own = read.partition("@")
        if format > FORMAT:
            return Reading(None, "its message format is newer than this typedq")
        if fingerprint == own:
            return Reading("equal")
        pair = contract, read
        if pair not in self._readings:
            task = self._ours.get(read) or Declared(own_name, own, self._schemas.get(read) or {})
            self._readings[pair] = self._compared(task, contract)
        return self._readings[pair]

    def _compared(self, task: Declared, contract: str) -> Reading:
        if (schema := self._schemas.get(contract)) is None:
            return Reading(None, why_absent(self._schemas, contract))
        return reading(task, schema) if task.schema else Reading(None, _NO_READER)


def why_absent(schemas: Schemas, contract: str) -> str:
    """Return why the schema of a contract is not among some that may be those of a server."""
    parts = schemas.maps if isinstance(schemas, ChainMap) else [schemas]
    found = (part.problem(contract) for part in parts if isinstance(part, PublishedSchemas))
    return next(found, UNKNOWN)


def reading(task: Declared, schema: dict[str, Any]) -> Reading:
    """Return how a task reads messages of another contract, or why not: rules, paths, sentences."""
    if task.upcaster(schema) is not None:
        return Reading("upcaster")
    compared = compare(schema, task.schema)
    if compared.backward:
        return Reading("compatible")
    found = [change for change in compared.changes if not change.backward]
    more = f"; and {len(found) - _MAX_BREAKS} more" if len(found) > _MAX_BREAKS else ""
    why = "; ".join(f"{c.rule} at {c.path}: {c.of_reader}" for c in found[:_MAX_BREAKS]) + more
    return Reading(None, why if len(why) <= _MAX_WHY else f"{why[:_MAX_WHY]}...")
