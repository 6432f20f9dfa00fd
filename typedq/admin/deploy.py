"""Say for each task of a next version in which order it may be deployed, with what waits now."""

from __future__ import annotations

import hashlib
import json
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast, final

from typedq import registry
from typedq.admin.overview import alive
from typedq.admin.tasks import declared
from typedq.app import TypedQ
from typedq.compat import Comparison, compare
from typedq.registry import Declared, Order, Reading, Schemas

T = TypeVar("T")
_MOST = 20_000  # comparisons that are remembered


class Unfinished(Exception):
    """There was no time to compare everything. Field: `done`, what is remembered so far."""

    def __init__(self, done: int) -> None:
        self.done = done
        super().__init__(f"{done} comparisons so far")


@final
class Memory:
    """Remembers comparisons by what was compared: each may take half a second."""

    def __init__(self) -> None:
        self._found: dict[bytes, Any] = {}

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: bytes) -> Any:
        """Return what was found for a key, or None."""
        return self._found.get(key)

    def keep(self, key: bytes, found: object) -> None:
        """Remember what was found."""
        if len(self._found) >= _MOST:
            self._found = {}
        self._found[key] = found


class Waiting(NamedTuple):
    """Messages of one contract, and how the next version reads them.

    readers: how many of today's live workers read them
    """

    contract: str
    messages: int
    reading: Reading
    readers: int = 0


class Plan(NamedTuple):
    """How to deploy one task.

    status: `new`, `changed`, `unchanged` or `removed`
    deployed: the contracts that live workers read now, with how many workers read each
    reasons: what forbids another order, as text
    warnings: what forbids none, but may lose or change a value, as text
    """

    task: str
    status: str
    order: Order
    deployed: Mapping[str, int]
    reasons: Sequence[str]
    waiting: Sequence[Waiting]
    warnings: Sequence[str] = ()

    @property
    def unreadable(self) -> int:
        """Return how many waiting messages the next version cannot read."""
        return sum(each.messages for each in self.waiting if each.reading.how is None)

    @property
    def held(self) -> int:
        """Return how many of the unreadable messages today's workers read."""
        unreadable = [each for each in self.waiting if each.reading.how is None]
        return sum(each.messages for each in unreadable if each.readers)


def not_exported(app: TypedQ, histories: Mapping[str, registry.History]) -> list[str]:
    """Return the names of this code's tasks whose contract is not the newest of the files."""
    newest = {(task.name, task.fingerprint) for task in registry.newest(histories)}
    return sorted(t.name for t in declared(app) if (t.name, t.fingerprint) not in newest)


def next_tasks(app: TypedQ, histories: Mapping[str, registry.History]) -> list[Declared]:
    """Return the newest contract of each history; for those of this code, with its upcasters."""
    own = {(task.name, task.fingerprint): task for task in declared(app)}
    newest = registry.newest(histories)
    return [own.get((task.name, task.fingerprint), task) for task in newest]


def known_schemas(
    app: TypedQ, histories: Mapping[str, registry.History], published: Schemas
) -> Schemas:
    """Return schemas by contract: of this code, of the histories, and those on the server."""
    own = {f"{task.name}@{task.fingerprint}": task.schema for task in declared(app)}
    files = {
        f"{name}@{version.fingerprint}": version.schema
        for name, history in histories.items()
        for version in history.versions
    }
    return ChainMap(own, files, cast("Any", published))  # which says what is wrong with others


def plan(
    tasks: Sequence[Declared],
    seen: Mapping[str, Any],
    schemas: Schemas,
    *,
    memory: Memory | None = None,
    within_s: float | None = None,
) -> list[Plan]:
    """Return a plan for each task of the next version, and for each one that it lacks.

    seen: from `overview`
    memory: of earlier plans; within_s: how long to compare
    Raises Unfinished after that time; with the same memory, the next call comes further.
    """
    deployed: dict[str, dict[str, int]] = {}
    for contract in (contract for worker in alive(seen) for contract in worker["reads"]):
        readers = deployed.setdefault(contract.partition("@")[0], {})
        readers[contract] = readers.get(contract, 0) + 1
    waits: dict[str, dict[str, tuple[int, int]]] = {}
    for row in seen["contracts"]:
        if row["waiting"]:
            contract = "{task}@{fingerprint}".format(**row)
            waits.setdefault(row["task"], {})[contract] = row["waiting"], len(row["read_by"])
    names = {name for task in tasks for name in (task.name, *task.aliases)}
    compared = _Compared(schemas, Memory() if memory is None else memory, within_s)
    plans = [_plan(task, deployed, waits, compared) for task in tasks]
    gone = (deployed.keys() | waits.keys()) - names
    plans += [_removed(name, deployed.get(name, {}), waits.get(name, {})) for name in sorted(gone)]
    return sorted(
        plans,
        key=lambda p: (
            not p.held,
            not p.unreadable,
            _URGENCY[p.order],
            not p.warnings,
            p.status == "unchanged",
            p.task,
        ),
    )


@final
class _Compared:
    """How tasks of a next version stand to other contracts, from memory where it is known."""

    def __init__(self, schemas: Schemas, memory: Memory, within_s: float | None) -> None:
        self.schemas, self._memory = schemas, memory
        self._end = None if within_s is None else time.monotonic() + within_s
        self._made = 0

    def reading(self, task: Declared, contract: str) -> Reading:
        return self._remembered(_reading, task, contract)

    def step(self, task: Declared, contract: str) -> _Step:
        return self._remembered(_step, task, contract)

    def _remembered(
        self, find: Callable[[Declared, str, Schemas], T], task: Declared, contract: str
    ) -> T:
        if contract == f"{task.name}@{task.fingerprint}":
            return find(task, contract, self.schemas)
        about = task.schema, task.aliases, task.upcasters, self.schemas.get(contract)
        whole = json.dumps([find.__name__, task.name, task.fingerprint, contract, *about])
        key = hashlib.blake2b(whole.encode(), digest_size=16).digest()
        if (known := self._memory.get(key)) is not None:
            return cast("T", known)
        # At least one is made each time, or it might never come to an end.
        if self._made and self._end is not None and time.monotonic() > self._end:
            raise Unfinished(len(self._memory))
        self._made += 1
        found = find(task, contract, self.schemas)
        self._memory.keep(key, found)
        return found


_URGENCY: dict[Order, int] = {"none": 0, "workers first": 1, "producers first": 2, "any": 3}


def _plan(
    task: Declared,
    deployed: Mapping[str, Mapping[str, int]],
    waits: Mapping[str, Mapping[str, tuple[int, int]]],
    compared: _Compared,
) -> Plan:
    names = (task.name, *task.aliases)
    now = {contract: n for name in names for contract, n in deployed.get(name, {}).items()}
    waiting = [
        Waiting(contract, count, compared.reading(task, contract), readers)
        for name in names
        for contract, (count, readers) in waits.get(name, {}).items()
    ]
    steps = [compared.step(task, contract) for contract in now]
    reasons = [reason for step in steps for reason in step.reasons]
    warnings = [warning for step in steps for warning in step.warnings]
    backward, forward = all(step.backward for step in steps), all(step.forward for step in steps)
    if not now and deployed:
        forward = False
        reasons.append("no live worker has this task")
    changed = any(contract.partition("@")[2] != task.fingerprint for contract in now)
    status = "changed" if changed else "unchanged" if now else "new"
    order = registry.order_of(backward, forward)
    return Plan(task.name, status, order, now, reasons, waiting, warnings)


class _Step(NamedTuple):
    """From a deployed contract to the next: the fields of `Comparison`, and why."""

    backward: bool
    forward: bool
    reasons: Sequence[str]
    warnings: Sequence[str] = ()


def _step(task: Declared, contract: str, schemas: Schemas) -> _Step:
    name, _, fingerprint = contract.partition("@")
    same = fingerprint == task.fingerprint
    schema = schemas.get(contract)
    if same or schema is None:
        unknown = [] if same else [f"nobody has published {contract}, which workers read"]
        reasons = [*unknown, *_renamed(task, name)]
        return _Step(same, same and not reasons, reasons)
    how, there = _reading(task, contract, schemas).how, compare(schema, task.schema)
    back = [] if how else _lines(there, "next workers cannot read")
    forth = _lines(compare(task.schema, schema), "today's workers cannot read")
    forth += _renamed(task, name)
    lost = [] if how == "upcaster" else [change for change in there.changes if change.warning]
    warnings = [f"{change.rule} at {change.path}: {change.message}" for change in lost]
    return _Step(how is not None, not forth, [*back, *forth], warnings)


def _renamed(task: Declared, name: str) -> list[str]:
    return [] if name == task.name else [f"today's workers call this task {name}"]


def _lines(comparison: Comparison, what: str) -> list[str]:
    return [f"{what}: {c.rule} at {c.path}" for c in comparison.changes if not c.backward]


def _reading(task: Declared, contract: str, schemas: Schemas) -> Reading:
    readers = registry.WorkersByContract([task], schemas)
    return readers.reading(contract, f"{task.name}@{task.fingerprint}")


def _removed(name: str, now: Mapping[str, int], waits: Mapping[str, tuple[int, int]]) -> Plan:
    cannot = Reading(None, f"it has no task {name}")
    waiting = [Waiting(contract, n, cannot, readers) for contract, (n, readers) in waits.items()]
    reasons = ["the next version has no such task: stop its producers, and let its messages end"]
    return Plan(name, "removed", "producers first", now, reasons, waiting)
