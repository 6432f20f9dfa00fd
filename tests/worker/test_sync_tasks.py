"""Sync tasks that are run in one go: what ends it, and that nothing is skipped for being quick."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from typedq import Context, Retry, TypedQ
from typedq.around import Around
from typedq.broker import DeadBounds, operations, settlements, stats
from typedq.broker.operations import Destination, OutgoingMessage
from typedq.message import encode_message, new_ids
from typedq.telemetry import running
from typedq.worker.delivery import Delivery, Outcome
from typedq.worker.execute import MessageDecoder
from typedq.worker.journal import Journal, State
from typedq.worker.prefetch import QUICK_S, Prefetch
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
        """Enqueue, fetch, and open the first."""
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
        around = Around(self.app, lambda coroutine: None)
        self.sync = SyncTasks(around, self.journal, self.session, self.pace)
        self.jobs = deque(self.session.exchange(40))
        opener = MessageDecoder(self.app, ContractReaders(self.app), self.journal)
        assert opener.open(self.jobs[0]) is None
        for _ in range(60):
            self.pace.ran(self.jobs[0].kind, 0.000_01)
        assert self.pace.is_quick(self.jobs[0].kind)

    def run(self) -> tuple[list[Delivery], Outcome | None]:
        return self.sync.run_alike(self.jobs, self.jobs[0].kind)

    def states(self) -> list[State]:
        return [entry.state for entry in sorted(self.journal.entries(), key=lambda e: e.id)]


@pytest.fixture
def bench(server: OwnServer, namespace: str) -> Bench:
    return Bench(server.url, namespace)


@pytest.mark.parametrize("task", ["whole", "parts", "limited", "informed"])
def test_all_of_a_kind_are_run_and_settled_by_their_number(task: str, bench: Bench) -> None:
    bench.hold(task, 20)
    jobs = list(bench.jobs)
    well, failed = bench.run()
    assert (well, failed) == (jobs, None)
    assert bench.ran == list(range(20))
    assert bench.labels == [job.id.decode() for job in jobs]
    assert bench.states() == [State.DONE] * 20
    bench.session.ack(well)
    assert bench.session.exchange() == []
    app = bench.app
    found = app.broker.call(stats.survey(app.broker.keys, ["default"], [bench.journal.session]))
    assert found.stats == {"done": 20}
    assert list(bench.journal.entries()) == []
    assert bench.session.room == bench.journal.slots


@pytest.mark.parametrize("task", ["whole", "parts", "limited"])
def test_one_that_fails_is_the_last_and_those_behind_it_stay(task: str, bench: Bench) -> None:
    bench.hold(task, 9)
    bench.act[4] = fail
    well, failed = bench.run()
    assert len(well) == 4
    assert failed
    assert failed.job is bench.jobs[4]
    assert isinstance(failed.settlement, settlements.DeadLetter)
    assert b"KeyError" in failed.settlement.reason
    assert b"typedq/worker" not in failed.settlement.reason, "our frames tell its author nothing"
    assert bench.ran == list(range(5))
    assert bench.states() == [*[State.DONE] * 4, State.RUNNING, *[State.HELD] * 4]


def test_a_failure_that_is_to_be_retried_is_settled_so(bench: Bench) -> None:
    bench.hold("informed", 3)
    bench.act[1] = fail
    _, failed = bench.run()
    assert failed
    assert isinstance(failed.settlement, settlements.Retry)
    assert failed.settlement.attempts == 1


STOPS: dict[str, Callable[[Bench], object]] = {
    "told to stop": lambda bench: setattr(bench.sync, "stopped", True),
    "revoked": lambda bench: bench.journal.revoke(bench.jobs[3].slot),
    "fenced off": lambda bench: bench.journal.set_lease_deadline(time.monotonic()),
    "held no more": lambda bench: bench.session.held.__setitem__(bench.jobs[3].slot, None),
    "to run alone": lambda bench: setattr(bench.jobs[3], "alone", True),
}


@pytest.mark.parametrize("why", STOPS)
def test_it_goes_no_further_than_to_one_that_may_not_run(why: str, bench: Bench) -> None:
    """It happens while the one before it runs."""
    bench.hold("whole", 6)
    bench.act[2] = lambda: STOPS[why](bench)
    well, failed = bench.run()
    assert (len(well), failed) == (3, None)
    assert bench.ran == [0, 1, 2]
    assert bench.states() == [*[State.DONE] * 3, *[State.HELD] * 3]


def test_it_ends_with_a_slow_one_and_learns_from_it(bench: Bench) -> None:
    def linger() -> None:
        until = time.monotonic() + 40 * QUICK_S
        while time.monotonic() < until:
            pass

    bench.hold("whole", 6)
    bench.act[2] = linger
    well, _ = bench.run()
    assert len(well) == 3
    assert not bench.pace.is_quick(bench.jobs[0].kind)


BODIES = {
    "another type": b'{"number":"1"}',
    "no JSON": b'{"number":',
    "too deep": b'{"number":1,"more":' + b"[" * 80 + b"]" * 80 + b"}",
    "too long": b'{"number":1,"more":"' + b"x" * (1 << 20) + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_refused_is_left_to_who_can_say_why(body: bytes, bench: Bench) -> None:
    for number in range(3):
        bench.tasks["whole"].enqueue(Note(number))
    contract, (id,) = bench.tasks["whole"].contract.id, new_ids(1)
    message = encode_message(id=id, contract=contract, queue="default", options=b"-", body=body)
    bench.app.broker.enqueue(
        [OutgoingMessage(id, Destination("default", contract), message)], lambda _: b"{}"
    )
    bench.tasks["whole"].enqueue(Note(4))
    bench.fetch()
    well, failed = bench.run()
    assert (len(well), failed) == (3, None)
    assert bench.ran == [0, 1, 2]
    opener = MessageDecoder(bench.app, ContractReaders(bench.app), bench.journal)
    verdict = opener.open(bench.jobs[3])
    assert isinstance(verdict, settlements.DeadLetter)
    assert b"invalid_body" in verdict.reason


def test_another_kind_ends_it(bench: Bench) -> None:
    bench.tasks["whole"].enqueue(Note(0))
    bench.tasks["whole"].options(soft_timeout=5).enqueue(Note(1))
    bench.tasks["whole"].enqueue(Note(2))
    bench.fetch()
    well, _ = bench.run()
    assert (len(well), bench.ran) == (1, [0])


def test_middleware_is_around_each(bench: Bench) -> None:
    seen: list[str] = []

    @bench.app.middleware
    def outside(ctx: Context) -> Generator[None]:
        seen.append(ctx.id)
        yield

    bench.hold("whole", 5)
    well, _ = bench.run()
    assert seen == [job.id.decode() for job in well] == bench.labels
    assert len(seen) == 5


def test_a_count_that_differs_settles_each_by_its_id(bench: Bench) -> None:
    """Somebody else took one of them out of its hands, and nobody told it."""
    bench.hold("whole", 4)
    well, _ = bench.run()
    broker, name = bench.app.broker, bench.journal.session
    taken = settlements.Ack(well[0].kind.counted, [well[0].id])
    broker.call(operations.settle_and_fetch(broker.keys, name, ["default"], settle=[taken]))
    bench.session.ack(well)
    assert bench.session.exchange() == []
    found = broker.call(stats.survey(broker.keys, ["default"], [name]))
    assert found.stats == {"done": 4}
    assert not bench.session.owes
