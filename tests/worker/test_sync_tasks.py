"""Sync tasks as a child runs them, without its process: what is settled, and how."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from typedq import Context, Retry, TypedQ
from typedq.broker import DeadBounds, operations, settlements, stats
from typedq.broker.operations import Destination, OutgoingMessage
from typedq.message import encode_message, new_ids
from typedq.middleware import MiddlewareStack
from typedq.telemetry import running
from typedq.worker.decoder import MessageDecoder
from typedq.worker.delivery import Outcome
from typedq.worker.journal import Journal, State
from typedq.worker.prefetch import Prefetch
from typedq.worker.readers import ContractReaders
from typedq.worker.session import Session, new_session
from typedq.worker.sync_tasks import SyncTasks

if TYPE_CHECKING:
    from collections.abc import Generator

    from typedq.embedded import OwnServer


def fail() -> None:
    raise KeyError("missing")


class Note(msgspec.Struct):
    number: int


class Bench:
    """What a child is made of, and messages of an app in its hands."""

    def __init__(self, url: str, namespace: str) -> None:
        self.app = app = TypedQ(namespace, url=url)
        self.ran: list[int] = []
        self.labels: list[str] = []
        self.act: dict[int, Callable[[], object]] = {}

        def note(number: int) -> None:
            tell = running.get()
            assert tell
            self.ran.append(number)
            self.labels.append(tell()["id"])
            self.act.get(number, lambda: None)()

        @app.task
        def whole(note_: Note) -> None:
            note(note_.number)

        @app.task
        def parts(number: int, *, more: str = "") -> None:
            note(number)

        @app.task(soft_timeout=60)
        def limited(note_: Note) -> None:
            note(note_.number)

        @app.task(retry=Retry(max_retries=1))
        def informed(ctx: Context, note_: Note) -> None:
            note(note_.number)
            assert ctx.id == self.labels[-1]

        self.tasks = {"whole": whole, "limited": limited, "informed": informed}
        self.parts = parts
        self.journal = Journal(40)
        self.journal.session = new_session()
        self.journal.set_lease_deadline(time.monotonic() + 60)

    def hold(self, task: str, count: int) -> None:
        """Enqueue and fetch."""
        for number in range(count):
            if task == "parts":
                self.parts.enqueue(number, more="x")
            else:
                self.tasks[task].enqueue(Note(number))
        self.fetch()

    def fetch(self) -> None:
        broker, bounds = self.app.broker, DeadBounds()
        broker.call(operations.open(broker.keys, [self.journal.session], ["default"], 30_000))
        self.session = Session(broker, self.journal, ["default"], lease_s=30, bounds=bounds)
        self.pace = Prefetch(40)
        middleware = MiddlewareStack(self.app, lambda coroutine: None)
        self.sync = SyncTasks(middleware, self.journal, self.pace)
        self.jobs = deque(self.session.exchange(40))
        self.decoder = MessageDecoder(self.app, ContractReaders(self.app), self.journal)

    def run(self) -> list[Outcome]:
        """Run all that may run, as `Child` does."""
        outcomes = list[Outcome]()
        while self.jobs:
            job = self.jobs.popleft()
            assert self.decoder.open(job) is None
            outcomes.append(self.sync.run(job))
        return outcomes

    def states(self) -> list[State]:
        return [entry.state for entry in sorted(self.journal.entries(), key=lambda e: e.id)]


@pytest.fixture
def bench(server: OwnServer, namespace: str) -> Bench:
    return Bench(server.url, namespace)


@pytest.mark.parametrize("task", ["whole", "parts", "limited", "informed"])
def test_tasks_that_end_well_are_settled_by_their_number(task: str, bench: Bench) -> None:
    bench.hold(task, 20)
    jobs = list(bench.jobs)
    outcomes = bench.run()
    assert [outcome.job for outcome in outcomes] == jobs
    assert not any(outcome.settlement for outcome in outcomes)
    assert bench.ran == list(range(20))
    assert bench.labels == [job.id.decode() for job in jobs]
    assert bench.states() == [State.DONE] * 20
    bench.session.ack(jobs)
    assert bench.session.exchange() == []
    app = bench.app
    found = app.broker.call(stats.survey(app.broker.keys, ["default"], [bench.journal.session]))
    assert found.stats == {"done": 20}
    assert list(bench.journal.entries()) == []
    assert bench.session.room == bench.journal.slots


@pytest.mark.parametrize("task", ["whole", "parts", "limited"])
def test_a_failure_is_settled_and_the_next_task_runs(task: str, bench: Bench) -> None:
    bench.hold(task, 9)
    bench.act[4] = fail
    failed = bench.run()[4].settlement
    assert isinstance(failed, settlements.DeadLetter)
    assert b"KeyError" in failed.reason
    assert b"typedq/worker" not in failed.reason, "our frames tell its author nothing"
    assert bench.ran == list(range(9))
    assert bench.states() == [*[State.DONE] * 4, State.RUNNING, *[State.DONE] * 4]


def test_a_failure_that_is_to_be_retried_is_settled_so(bench: Bench) -> None:
    bench.hold("informed", 3)
    bench.act[1] = fail
    failed = bench.run()[1].settlement
    assert isinstance(failed, settlements.Retry)
    assert failed.attempts == 1


STOPS: dict[str, Callable[[Bench], object]] = {
    "revoked": lambda bench: bench.journal.revoke(bench.jobs[0].slot),
    "fenced off": lambda bench: bench.journal.set_lease_deadline(time.monotonic()),
}


@pytest.mark.parametrize("why", STOPS)
def test_a_job_that_may_not_run_is_not_run(why: str, bench: Bench) -> None:
    """It happens while the one before it runs."""
    bench.hold("whole", 4)
    bench.act[2] = lambda: STOPS[why](bench)
    assert [outcome.ran for outcome in bench.run()] == [True, True, True, False]
    assert bench.ran == [0, 1, 2]
    assert bench.states() == [*[State.DONE] * 3, State.HELD]


BODIES = {
    "another type": b'{"number":"1"}',
    "no JSON": b'{"number":',
    "too deep": b'{"number":1,"more":' + b"[" * 80 + b"]" * 80 + b"}",
    "too long": b'{"number":1,"more":"' + b"x" * (1 << 20) + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_refused_becomes_a_dead_letter(body: bytes, bench: Bench) -> None:
    contract, (id,) = bench.tasks["whole"].contract.id, new_ids(1)
    message = encode_message(id=id, contract=contract, queue="default", options=b"-", body=body)
    bench.app.broker.enqueue(
        [OutgoingMessage(id, Destination("default", contract), message)], lambda _: b"{}"
    )
    bench.fetch()
    verdict = bench.decoder.open(bench.jobs[0])
    assert isinstance(verdict, settlements.DeadLetter)
    assert b"invalid_body" in verdict.reason


def test_middleware_is_around_each(bench: Bench) -> None:
    seen: list[str] = []

    @bench.app.middleware
    def outside(ctx: Context) -> Generator[None]:
        seen.append(ctx.id)
        yield

    bench.hold("whole", 5)
    outcomes = bench.run()
    assert seen == [outcome.job.id.decode() for outcome in outcomes] == bench.labels
    assert len(seen) == 5


def test_a_count_that_differs_settles_each_by_its_id(bench: Bench) -> None:
    """Somebody else took one of them out of its hands, and nobody told it."""
    bench.hold("whole", 4)
    well = [outcome.job for outcome in bench.run()]
    broker, name = bench.app.broker, bench.journal.session
    taken = settlements.Ack(well[0].kind.counted, [well[0].id])
    broker.call(operations.settle_and_fetch(broker.keys, name, ["default"], settle=[taken]))
    bench.session.ack(well)
    assert bench.session.exchange() == []
    found = broker.call(stats.survey(broker.keys, ["default"], [name]))
    assert found.stats == {"done": 4}
    assert not bench.session.owes
