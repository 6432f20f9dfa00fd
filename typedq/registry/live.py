"""What waits and runs on a server right now, and whether today's code gets along with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from typedq.broker import Broker, views
from typedq.contracts.compatibility import compare
from typedq.registry.gate import Declared, Order, altogether, order_of
from typedq.registry.history import History, Version

Schemas = Mapping[str, dict[str, Any]]


class _About(msgspec.Struct):
    """What a worker says of itself, as far as it matters here."""

    reads: list[str] = []
    seen_ms: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages of one contract that were accepted and have not ended: ready, delayed, retrying,
    parked or in flight. `read`: `equal`, `upcaster` or `compatible`; None if this code cannot.
    """

    contract: str
    count: int
    read: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """`order` takes the contracts that live workers read for what is deployed.

    due_ms: no message waits beyond this, in server ms; None where nothing is delayed.
    """

    waiting: tuple[Waiting, ...]
    workers: int
    order: Order
    due_ms: int | None


def published(broker: Broker, local: Mapping[str, History]) -> dict[str, History]:
    """What a server knows, as histories in no order; versions have the numbers of `local`."""
    found: dict[str, list[Version]] = {}
    for contract, schema in _schemas(broker).items():
        task, _, fingerprint = contract.partition("@")
        ours = local[task].versions if task in local else ()
        number = next((v.number for v in ours if v.fingerprint == fingerprint), 0)
        found.setdefault(task, []).append(Version(number, fingerprint, schema))
    return {task: History(task, tuple(vs), ordered=False) for task, vs in found.items()}


def look(broker: Broker, tasks: Sequence[Declared], queues: Sequence[str], fresh_s: float) -> Live:
    """Ask the server; no scan, so it costs the same however many messages wait.

    fresh_s: a worker that was not seen for longer does not count. Raises ServerError.
    """
    seen = broker.call(views.survey(broker.keys, queues, []))
    schemas = _schemas(broker)
    by_name = {name: task for task in tasks for name in (task.name, *task.aliases)}
    counts = sorted((contract, n) for contract, n in seen.counts.items() if n > 0)
    waiting = tuple(_waiting(contract, n, by_name, schemas) for contract, n in counts)
    known = map(_about, seen.workers.values())
    workers = [about for about in known if about.seen_ms >= seen.now_ms - fresh_s * 1000]
    orders = list[Order]()
    for about in workers:
        orders += _orders(about.reads, tasks, by_name, schemas)
    dues = [broker.call(views.last_due(broker.keys, queue)) for queue in queues]
    return Live(waiting, len(workers), altogether(orders), max(filter(None, dues), default=None))


def _schemas(broker: Broker) -> Schemas:
    found: dict[str, dict[str, Any]] = {}
    for id, text in broker.call(views.contracts(broker.keys)).items():
        with suppress(msgspec.MsgspecError):  # what another producer wrote may be anything
            found[id] = msgspec.json.decode(text, type=dict[str, Any])
    return found


def _about(line: bytes) -> _About:
    try:
        return msgspec.json.decode(line, type=_About)
    except msgspec.MsgspecError:
        return _About()  # of another version of typedq


def _waiting(
    contract: str, count: int, by_name: Mapping[str, Declared], schemas: Schemas
) -> Waiting:
    name, _, fingerprint = contract.partition("@")
    task = by_name.get(name)
    if task is None:
        return Waiting(contract, count, None, f"it has no task {name!r}")
    if fingerprint == task.fingerprint:
        return Waiting(contract, count, "equal")
    if contract not in schemas:
        return Waiting(contract, count, None, "the server does not know this contract")
    read = task.reads(fingerprint, schemas[contract])
    if read:
        return Waiting(contract, count, read)
    changes = compare(schemas[contract], task.schema).changes
    breaks = [f"{c.rule} at {c.path}" for c in changes if not c.backward]
    return Waiting(contract, count, None, ", ".join(breaks))


def _orders(
    reads: Sequence[str],
    tasks: Sequence[Declared],
    by_name: Mapping[str, Declared],
    schemas: Schemas,
) -> Iterator[Order]:
    """What each contract that one worker reads, or does not, demands of a deploy."""
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
    for task in tasks:
        if task.name not in {name for name, _ in theirs}:
            yield "workers first"
