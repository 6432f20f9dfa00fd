"""What all faults share: a server, workers, the records of tasks, and one checker."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self, TypeVar

import redis

from tests.faults.app import EFFECTS, MORE, NAMESPACE, build, noted
from tests.faults.processes import ROOT, Worker, lives, pause, wait_until
from typedq import Call, Receipt
from typedq.broker import Keys, Operation
from typedq.broker.stats import Stats, read_dead, survey
from typedq.errors import EnqueueUncertain, ServerError

__all__ = ["ROOT", "Effect", "Stage", "Verdict", "Worker", "lives", "pause", "wait_until"]

T = TypeVar("T")
CLUSTER = "redis+cluster://"
QUEUES = ("high", "mid", "low")


class Effect(NamedTuple):
    """One line that a task wrote."""

    id: str
    attempt: int
    pid: int
    what: str
    at: float
    task: str


@dataclass
class Verdict:
    """The result of a run; `broken` lists the broken promises."""

    accepted: int = 0
    lost: int = 0
    buried: int = 0
    extra_runs: int = 0
    starts_without_end: int = 0
    broken: tuple[str, ...] = ()

    def write(self, path: Path, **more: object) -> None:
        """Write the result as JSON."""
        path.write_text(json.dumps(asdict(self) | more, indent=1) + "\n")


class Stage:
    """One namespace on a server, with a directory for the records of tasks and workers."""

    def __init__(
        self,
        url: str,
        namespace: str,
        directory: Path,
        *,
        lease: float = 30.0,
        eyes: str | None = None,
    ) -> None:
        """`eyes`: the URL for the checks of the stage itself, if not the tested one."""
        self.url, self.directory, self.keys = url, directory, Keys(namespace)
        self.eyes = eyes or url
        self._effects = directory / "effects"
        self._effects.mkdir()
        self.environment = {
            EFFECTS: str(self._effects),
            NAMESPACE: namespace,
            "TYPEDQ_URL": url,
            "TYPEDQ_LEASE": str(lease),
            "XDG_RUNTIME_DIR": str(directory),
        }
        self.app = build(namespace, url=url)
        self.accepted, self.uncertain = list[str](), list[str]()
        self.accepted_at = dict[str, float]()
        self.workers: list[Worker] = []

    @cached_property
    def redis(self) -> Any:
        """A redis-py client for checks that do not use typedq's operations."""
        if self.eyes.startswith(CLUSTER):
            node = self.eyes.removeprefix(CLUSTER).split(",")[0]
            return redis.RedisCluster.from_url(f"redis://{node}")
        return redis.Redis.from_url(self.eyes)

    def declare(self, tasks: ModuleType) -> None:
        """Give the tasks of a module to the stage's app, and to that of its workers."""
        tasks.declare(self.app)
        self.environment[MORE] = tasks.__name__

    def worker(self, *flags: str, **environment: str) -> Worker:
        """Start a worker; `environment` overrides the environment of the stage."""
        log = self.directory / f"worker-{len(self.workers)}.log"
        self.workers.append(Worker(flags, self.environment | environment, log))
        return self.workers[-1]

    # --- producers -------------------------------------------------------------------------

    def send(self, task: str, *args: object, **options: Any) -> str:
        """Enqueue one message and return its id."""
        sender = self.app.tasks[task]
        return self._account([sender.options(**options).call(*args)])[0].id

    def send_many(self, calls: Sequence[Call]) -> list[str]:
        """Enqueue in chunks of 100. Record each as accepted or uncertain after the reply."""
        chunks = [calls[at : at + 100] for at in range(0, len(calls), 100)]
        return [receipt.id for chunk in chunks for receipt in self._account(chunk)]

    def call(self, task: str, *args: object) -> Call:
        return self.app.tasks[task].call(*args)

    def _account(self, calls: Sequence[Call]) -> list[Receipt]:
        try:
            receipts = self.app.enqueue_many(calls)
        except EnqueueUncertain as error:
            self.uncertain += error.ids
            return []
        ids = [receipt.id for receipt in receipts]
        self.accepted_at |= dict.fromkeys(ids, time.time())
        self.accepted += ids
        return receipts

    # --- observations ------------------------------------------------------------------------

    def effects(self, what: str = "", task: str = "") -> list[Effect]:
        """Return the records of tasks, in order of time."""
        fields = (line.split() for line in noted(self._effects))
        found = (Effect(f[0], int(f[1]), int(f[2]), f[3], float(f[4]), f[5]) for f in fields)
        return [e for e in found if what in ("", e.what) and task in ("", e.task)]

    def ids(self, what: str) -> list[str]:
        return [effect.id for effect in self.effects(what)]

    def ended(self) -> set[str]:
        return set(self.ids("end"))

    def gate(self, name: str = "gate") -> str:
        """Return the file for which a gated task waits; `open_gate` creates it."""
        return str(self.directory / name)

    def open_gate(self, name: str = "gate") -> None:
        (self.directory / name).touch()

    def ask(self, move: Operation[T], patience: float = 20.0) -> T:
        """Call a read-only operation; try again while the server is unavailable."""
        until = time.monotonic() + patience
        while True:
            try:
                return self.app.broker.call(move)
            except ServerError:
                if time.monotonic() > until:
                    raise
                pause(0.05)

    def look(self) -> Stats:
        """Return all statistics, as typedq reads them."""
        sessions = [name.decode() for name in self.redis.zrange(self.keys.sessions, 0, -1)]
        return self.ask(survey(self.keys, QUEUES, sessions))

    def flying(self, session: str) -> dict[str, bytes]:
        found = self.redis.hgetall(self.keys.in_flight(session))
        return {id.decode(): message for id, message in found.items()}

    def in_flight(self) -> dict[str, bytes]:
        """Return the messages in flight of all sessions by id."""
        names = [name.decode() for name in self.redis.zrange(self.keys.sessions, 0, -1)]
        return {id: message for name in names for id, message in self.flying(name).items()}

    def dead(self) -> dict[str, dict[str, Any]]:
        """Return the reason of each dead letter by id."""
        ids = [id.decode() for id in self.redis.zrange(self.keys.dead, 0, -1)]
        found = self.ask(read_dead(self.keys, ids)) if ids else []
        return {
            id: json.loads(letter.reason)
            for id, letter in zip(ids, found, strict=True)
            if letter is not None
        }

    def is_drained(self) -> bool:
        """Return True if no message waits or runs."""
        seen = self.look()
        return not seen.in_flight and not any(q.ready or q.delayed for q in seen.queues.values())

    # --- the checker -------------------------------------------------------------------------

    def check(
        self,
        *,
        buried: int = 0,
        batches: int = 0,
        raw: int = 0,
        forgiven: Collection[str] = frozenset(),
        killed: Collection[int] = frozenset(),
    ) -> Verdict:
        """Check a run that is drained and has no worker left.

        buried: expected dead letters; `raw` of them were not enqueued
        batches: finished messages that may run again after kills of whole workers
        forgiven: ids that the server itself lost in part, so they may be lost or run again
        killed: processes; the last run that ended in a thread of one may not be in its journal yet
        """
        starts, ends = Counter(self.ids("start")), Counter(self.ids("end"))
        for id in forgiven:
            starts.pop(id, None)
            ends.pop(id, None)
        sent = set(self.accepted)
        dead = self.dead()
        lost = sent - ends.keys() - dead.keys() - set(forgiven)
        verdict = Verdict(len(sent), len(lost), len(dead))
        verdict.extra_runs = sum(count - 1 for count in starts.values())
        verdict.starts_without_end = sum(starts.values()) - sum(ends.values())
        last = {(e.pid, e.task): e for e in self.effects() if e.pid in killed}.values()
        batches += sum(e.what == "end" and starts[e.id] > 1 for e in last)
        verdict.broken = tuple(self._broken(verdict, buried, batches, bool(forgiven), raw))
        return verdict

    def _broken(
        self, verdict: Verdict, buried: int, batches: int, forgetful: bool, raw: int
    ) -> Iterator[str]:
        if verdict.lost:
            yield f"{verdict.lost} lost"
        if verdict.buried != buried:
            yield f"{verdict.buried} dead letters, not {buried}: {list(self.dead().values())[:3]}"
        if verdict.extra_runs > verdict.starts_without_end + batches:
            yield f"{verdict.extra_runs} extra runs"
        if strangers := set(self.ids("start")) - {*self.accepted, *self.uncertain}:
            yield f"{len(strangers)} ids that nobody sent"
        seen = self.look()
        certain = not self.uncertain and not forgetful
        if certain and seen.stats.get("done", 0) + verdict.buried != verdict.accepted + raw:
            yield f"{seen.stats} ends for {verdict.accepted} messages"
        if left := {name: count for name, count in seen.counts.items() if count}:
            yield f"waiting counts are left: {left}"
        if left_keys := sorted(self.leaked()):
            yield f"keys are left: {left_keys}"
        for worker in self.workers:
            if worker.exit_code is None or worker.children():
                yield f"worker {worker.pid} still lives"

    def leaked(self) -> set[str]:
        """Return keys that are neither static nor expire. A drained namespace has none."""
        tag, keys = self.keys.tag + ":", self.keys
        static = {keys.contracts, keys.counts, keys.stats, keys.workers, keys.last_tick}
        static |= {keys.cron, keys.cron_paused, keys.broadcasts, keys.cancellations}
        static |= {keys.supervisors, *map(keys.wake, QUEUES), keys.dead, keys.dead_letters}
        found = {name.decode() for name in self.redis.scan_iter(f"{tag}*", count=1000)}
        fleeting = (
            keys.sequence(""),
            keys.unique(""),
            keys.wake("_"),
        )  # of a producer, of a dead process
        return {
            name
            for name in found - static
            if not name.startswith(fleeting) or self.redis.ttl(name) == -1
        }

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.app.broker.close()
        self.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
