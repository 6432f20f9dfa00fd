"""Check the code against the waiting messages and live workers of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from typedq.broker import Broker, stats
from typedq.broker.parking import delayed_stats
from typedq.compat import compare
from typedq.errors import ConfigurationError, InvalidSchema
from typedq.registry.check import Declared, Order, common_order, order_of
from typedq.registry.history import History, Version
from typedq.registry.readers import (
    PublishedSchemas,
    Schemas,
    live_workers,
    reading,
    why_absent,
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages of one contract that were accepted and have not ended: ready, delayed, retrying,
    parked or in flight. `read`: how this code reads them: `equal`, `upcaster` or `compatible`; None
    if it cannot, and `why` not.
    """

    contract: str
    count: int
    read: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class LiveCheck:
    """The result of the check against a server.

    order: the deploy order that is safe beside the contracts that live workers read
    due_ms: the last due time of delayed messages (server ms); None if there are none
    """

    waiting: tuple[Waiting, ...]
    workers: int
    order: Order
    due_ms: int | None


def published_histories(broker: Broker, local: Mapping[str, History]) -> dict[str, History]:
    """Return the contracts of a server as unordered histories, with the version numbers of `local`.

    Raises `ConfigurationError` if a document there is not a schema, and `ServerError`.
    """
    found: dict[str, list[Version]] = {}
    known, invalid = _schemas_and_problems(broker)
    if invalid:
        raise ConfigurationError(
            [_invalid_schema(broker, *each) for each in sorted(invalid.items())]
        )
    for contract, schema in known.items():
        task, _, fingerprint = contract.partition("@")
        ours = local[task].versions if task in local else ()
        number = next((v.number for v in ours if v.fingerprint == fingerprint), 0)
        found.setdefault(task, []).append(Version(number, fingerprint, schema))
    return {task: History(task, tuple(vs), ordered=False) for task, vs in found.items()}


def read_published(broker: Broker) -> tuple[Schemas, Mapping[str, InvalidSchema]]:
    """Return every valid published schema, and what is wrong with invalid ones, by contract id."""
    schemas = PublishedSchemas()
    schemas.refresh(broker)
    return schemas, schemas.invalid()


def _schemas_and_problems(broker: Broker) -> tuple[Schemas, Mapping[str, str]]:
    """Read all schemas; what is not even a JSON object counts as not published."""
    known, errors = read_published(broker)
    return known, {id: error.reason for id, error in errors.items() if error.is_object}


def _invalid_schema(broker: Broker, contract: str, reason: str) -> str:
    return (
        f"the schema published for {contract} is invalid: {reason}; its messages stay parked;"
        f" expected what a producer publishes: {repair_of(broker, contract)}"
    )


def repair_of(broker: Broker, contract: str) -> str:
    """Return what to do about an invalid schema."""
    return (
        f"HDEL {broker.keys.contracts} {contract}, and let a producer of that contract enqueue"
        " again"
    )


def check_server(
    broker: Broker, tasks: Sequence[Declared], queues: Sequence[str], lease_s: float
) -> LiveCheck:
    """Check the code against a server. The cost does not depend on the number of messages.

    lease_s: workers that did not report within two of them are ignored
    Raises ServerError, and ConfigurationError if the schema of a contract that matters is invalid.
    """
    seen = broker.call(stats.survey(broker.keys, queues, []))
    known, invalid = _schemas_and_problems(broker)
    by_name = {name: task for task in tasks for name in (task.name, *task.aliases)}
    counts = sorted((contract, n) for contract, n in seen.counts.items() if n > 0)
    workers = live_workers(seen, lease_s).values()
    needed = {contract for contract, _ in counts}.union(*(w.reads for w in workers))
    # An equal fingerprint needs no schema, and other apps' contracts are not compared.
    ours = {f"{name}@{task.fingerprint}" for name, task in by_name.items()}
    blocking = sorted(c for c in needed & invalid.keys() - ours if c.rpartition("@")[0] in by_name)
    if blocking:
        raise ConfigurationError([_invalid_schema(broker, c, invalid[c]) for c in blocking])
    waiting = tuple(_waiting(contract, n, by_name, known) for contract, n in counts)
    order = common_order(o for w in workers for o in _orders(w.reads, by_name, known))
    last_due_ms = broker.call(delayed_stats(broker.keys, queues, [])).last_due_ms if queues else {}
    due_ms = max(filter(None, last_due_ms.values()), default=None)
    return LiveCheck(waiting, len(workers), order, due_ms)


def _waiting(
    contract: str, count: int, by_name: Mapping[str, Declared], schemas: Schemas
) -> Waiting:
    name, _, fingerprint = contract.partition("@")
    task, schema = by_name.get(name), schemas.get(contract)
    if task is None:
        return Waiting(contract, count, None, f"it has no task {name!r}")
    if fingerprint == task.fingerprint:
        return Waiting(contract, count, "equal")
    if schema is None:
        return Waiting(contract, count, None, why_absent(schemas, contract))
    return Waiting(contract, count, *reading(task, schema))


def _orders(
    reads: Sequence[str], by_name: Mapping[str, Declared], schemas: Schemas
) -> Iterator[Order]:
    """Yield the deploy order that each contract of a worker requires."""
    theirs = [contract.partition("@")[::2] for contract in reads]
    if not any(name in by_name for name, _ in theirs):
        return  # a worker of another app
    for name, fingerprint in theirs:
        task, schema = by_name.get(name), schemas.get(f"{name}@{fingerprint}")
        if task is None:
            yield "producers first"
        elif fingerprint != task.fingerprint:
            forward = schema is not None and compare(task.schema, schema).backward
            yield order_of(schema is not None and bool(task.reads(fingerprint, schema)), forward)
    if {task.name for task in by_name.values()} - {name for name, _ in theirs}:
        yield "workers first"
