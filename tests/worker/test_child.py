"""One child without a process of its own: it runs what it fetches, in order, and settles it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from typedq import Context, Retry, RetryIn, TypedQ
from typedq.broker import operations, stats
from typedq.broker.operations import DEFAULT_BOUNDS
from typedq.message import Destination, OutgoingMessage, encode_message, new_ids
from typedq.telemetry import running
from typedq.worker.child import Child, ChildConfig
from typedq.worker.coroutines import Coroutines
from typedq.worker.delivery import Delivery
from typedq.worker.journal import Journal, Phase, new_session

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage
    from typedq.embedded import OwnServer


class Note(msgspec.Struct):
    number: int


class Rig:
    """An app whose tasks note what they are given; `act` is what else a number makes them do."""

    def __init__(self, url: str, namespace: str) -> None:
        self.app = app = TypedQ(namespace, url=url)
        self.keys = app.broker.keys
        self.redis: Any = redis.Redis.from_url(url)
        self.ran: list[int] = []
        self.labels: list[str] = []
        self.act: dict[int, Callable[[], None]] = {}
        self.child: Child

        def note(number: int) -> None:
            labels = running.get()
            assert labels
            self.ran.append(number)
            self.labels.append(labels()["id"])
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

        @app.task
        async def awaited(note_: Note) -> None:
            note(note_.number)

        @app.task
        def last() -> None:
            self.child.stop()

        self.tasks: dict[str, Any] = {
            "whole": whole,
            "parts": parts,
            "limited": limited,
            "informed": informed,
            "awaited": awaited,
        }
        self.last = last
        self.journal = Journal(300)
        self.journal.session = new_session()
        self.journal.set_lease_deadline(time.monotonic() + 60)

    def send(self, task: str, *numbers: int) -> list[str]:
        sender = self.tasks[task]
        if task == "parts":
            return [sender.enqueue(number, more="x").id for number in numbers]
        return [sender.enqueue(Note(number)).id for number in numbers]

    def run(self) -> None:
        """Run a child until it has come to the message that was sent last."""
        self.last.enqueue()
        broker = self.app.broker
        self.journal.session = name = new_session()
        broker.call(operations.open(self.keys, [name], ["default"], 30_000))
        config = ChildConfig(["default"], 10, 30.0, DEFAULT_BOUNDS)
        self.child = Child(self.app, self.journal, config)
        self.child.run()
        self.child.waiter.close()

    def end_lease(self) -> None:
        self.journal.set_lease_deadline(time.monotonic())
        self.child.stop()

    def look(self) -> stats.Stats:
        sessions = [self.journal.session]
        return self.app.broker.call(stats.survey(self.keys, ["default"], sessions))

    def reasons(self) -> dict[str, dict[str, Any]]:
        found = self.redis.hgetall(self.keys.dead_letters).items()
        return {id.decode(): msgspec.json.decode(text.split(b"\n")[0]) for id, text in found}


@pytest.fixture
def rig(server: OwnServer, namespace: str) -> Iterator[Rig]:
    made = Rig(server.url, namespace)
    yield made
    made.redis.close()


def fail() -> None:
    raise KeyError("missing")


def test_what_a_task_left_that_failed_is_logged_as_of_its_message(rig: Rig) -> None:
    restored = list[tuple[object, str | None]]()

    def restore_after(task: object) -> None:
        labels = running.get()
        restored.append((task, labels()["id"] if labels else None))

    tidy = SimpleNamespace(due=inf, tidy=rig.app.tasks.values(), restore_after=restore_after)
    rig.act = {0: lambda: setattr(rig.child._middleware, "process", tidy), 1: fail}
    _, failed = rig.send("whole", 0, 1)
    rig.run()
    assert restored == [(rig.tasks["whole"], failed)]


@pytest.mark.parametrize("task", ["whole", "parts", "limited", "informed", "awaited"])
def test_all_that_wait_are_run_in_order_and_settled(task: str, rig: Rig) -> None:
    ids = rig.send(task, *range(20))
    rig.run()
    assert rig.ran == list(range(20))
    assert rig.labels == ids
    assert rig.look().stats == {"done": 21}
    assert list(rig.journal.entries()) == []
    assert rig.journal.totals == (21, 0)


@pytest.mark.parametrize("task", ["whole", "parts", "limited", "awaited"])
def test_one_that_fails_is_a_dead_letter_and_the_others_run(task: str, rig: Rig) -> None:
    ids = rig.send(task, *range(9))
    rig.act[4] = fail
    rig.run()
    assert rig.ran == list(range(9))
    assert rig.look().stats == {"done": 9, "dead": 1}
    (reason,) = rig.reasons().values()
    assert rig.reasons().keys() == {ids[4]}
    assert (reason["kind"], "KeyError" in reason["error"]) == ("failed", True)
    assert "typedq/worker" not in reason["traceback"], "our frames tell its author nothing"
    assert rig.journal.totals == (9, 1)


def test_one_that_fails_and_is_to_be_retried_waits_for_its_next_attempt(rig: Rig) -> None:
    rig.send("informed", 0, 1, 2)
    rig.act[1] = fail
    rig.run()
    assert rig.look().stats == {"done": 3, "retried": 1}
    assert rig.look().queues["default"].delayed == 1


STOPS: dict[str, Callable[[Rig], None]] = {
    "told to stop": lambda rig: rig.child.stop(),
    "lease is over": lambda rig: rig.end_lease(),
}


@pytest.mark.parametrize("why", STOPS)
def test_what_was_not_started_goes_back_in_order(why: str, rig: Rig) -> None:
    ids = rig.send("whole", *range(8))
    for number in range(6):  # by then several are fetched at once
        rig.act[number] = lambda: None
    rig.act[5] = lambda: STOPS[why](rig)
    rig.run()
    assert rig.ran == list(range(6))
    assert rig.look().stats == {"done": 6}
    waiting = rig.redis.lrange(rig.keys.ready("default"), 0, -1)
    assert [message[25:51].decode() for message in waiting][:2] == ids[6:]
    assert all(message.startswith(b"1 0 00 000 ") for message in waiting)
    assert list(rig.journal.entries()) == []


def test_a_message_that_was_revoked_is_released_and_runs_later(rig: Rig) -> None:
    rig.send("whole", *range(40))

    def revoke() -> None:
        for entry in rig.journal.entries():
            if entry.state == 1:
                rig.journal.revoke(entry.slot)

    rig.act[30] = revoke
    rig.run()
    assert sorted(rig.ran) == list(range(40))
    assert rig.look().stats == {"done": 41}


@pytest.mark.parametrize("counts", [b"1 0 02 ", b"1 1 00 "], ids=["lost twice", "crashed"])
def test_a_suspect_runs_while_no_coroutine_does(counts: bytes, rig: Rig) -> None:
    beside: list[int] = []
    rig.send("awaited", 0, 1, 2)
    message = _message(rig, "whole", b'{"number":7}')
    rig.redis.rpush(rig.keys.ready("default"), counts + message[7:])
    rig.act[7] = lambda: beside.append(rig.child._coroutines.running)
    rig.send("awaited", 8)
    rig.run()
    assert rig.ran == [0, 1, 2, 7, 8]
    assert beside == [0]


def test_what_ended_is_taken_before_the_next_coroutine_starts(
    rig: Rig, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while no coroutine runs is restored what they changed: sync tasks come between."""
    beside: list[int] = []
    rig.send("whole", *range(40))  # by then several are fetched at once
    for task, number in (("awaited", 40), ("whole", 41), ("awaited", 42), ("whole", 43)):
        rig.send(task, number)

    def wait_for_it() -> None:
        wait_until(lambda: rig.child._coroutines._ended)

    rig.act[41] = wait_for_it
    take_ended = Coroutines.take_ended

    def take(coroutines: Coroutines) -> list[Delivery]:
        if taken := take_ended(coroutines):
            beside.append(coroutines.running)
        return taken

    monkeypatch.setattr(Coroutines, "take_ended", take)
    rig.run()
    assert sorted(rig.ran) == list(range(44))
    assert beside == [0, 0]


def _message(rig: Rig, task: str, body: bytes) -> bytes:
    contract, (id,) = rig.tasks[task].contract.id, new_ids(1)
    return encode_message(id=id, contract=contract, queue="default", options=b"-", body=body)


def test_attempt_and_fence_rise_beyond_999_attempts(rig: Rig) -> None:
    seen: list[tuple[int, str]] = []

    @rig.app.task
    def poll(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.fence))
        if len(seen) < 6:
            raise RetryIn(0)

    rig.tasks["poll"] = poll
    poll.options(soft_timeout=5).enqueue()
    (message,) = rig.redis.lrange(rig.keys.ready("default"), 0, -1)
    rig.redis.lset(rig.keys.ready("default"), 0, message[:7] + b"997" + message[10:])
    while len(seen) < 6:
        rig.run()
    assert [attempt for attempt, _ in seen] == list(range(998, 1004))
    assert [fence.split(":")[1] for _, fence in seen][:2] == ["0998", "0999"]
    assert sorted({fence for _, fence in seen}) == [fence for _, fence in seen]


BODIES = {
    "another type": b'{"number":"1"}',
    "no JSON": b'{"number":',
    "too deep": b'{"number":1,"more":' + b"[" * 80 + b"]" * 80 + b"}",
    "too long": b'{"number":1,"more":"' + b"x" * (1 << 20) + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_the_contract_refuses_is_a_dead_letter(body: bytes, rig: Rig) -> None:
    rig.send("whole", *range(3))
    contract, message = rig.tasks["whole"].contract.id, _message(rig, "whole", body)
    rig.app.broker.enqueue(
        [OutgoingMessage(message[25:51].decode(), Destination("default", contract), message)],
        lambda _: b"{}",
    )
    rig.send("whole", 4)
    rig.run()
    assert rig.ran == [0, 1, 2, 4]
    (reason,) = rig.reasons().values()
    assert reason["kind"] == "invalid_body"


def test_middleware_is_around_each(rig: Rig) -> None:
    seen: list[str] = []

    @rig.app.middleware
    def outside(ctx: Context) -> Generator[None]:
        seen.append(ctx.id)
        yield

    ids = rig.send("whole", *range(5))
    rig.run()
    assert seen[:5] == ids == rig.labels


def test_fetch_when_the_lease_ended_meanwhile_starts_nothing_and_releases_in_order(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """As when the supervisor stands still."""
    journal, ids = Journal(300), list[str]()
    journal.session = new_session()
    journal.set_lease_deadline(time.monotonic() + 60)
    stage.ask(operations.open(stage.keys, [journal.session], ["mid"], 30_000))
    child = Child(stage.app, journal, ChildConfig(["mid"], 1, 30.0, DEFAULT_BOUNDS))

    def end_lease() -> None:
        wait_until(lambda: journal.phase == Phase.IDLE)
        journal.set_lease_deadline(0.0)
        ids.extend(stage.send_many([stage.call("nap")] * 4))
        wait_until(lambda: stage.flying(journal.session) == {})
        child.stop()

    other = threading.Thread(target=end_lease)
    other.start()
    child.run()
    other.join()
    waiting = stage.redis.lrange(stage.keys.ready("mid"), 0, -1)
    assert [message[25:51].decode() for message in waiting] == ids
    assert not stage.effects("start")
