"""One message by its id: found wherever it is, and cancelled exactly there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from typedq import Cancelled, InvalidId, SearchLimit, TypedQ
from typedq.broker import DeadBounds, operations, settlements, stats
from typedq.broker.parking import Group, Parked, park
from typedq.embedded import OwnServer
from typedq.task import Task

QUEUES = ["high", "low"]
HELD = "held"


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    app = TypedQ(namespace, url=server.url, queues=QUEUES)
    app.broker.call(operations.open(app.broker.keys, [HELD], QUEUES, 60_000))
    yield app
    app.close()


@pytest.fixture
def note(app: TypedQ) -> Task[[str], None]:
    @app.task
    def note(text: str) -> None: ...

    return note


def fetch(app: TypedQ, *settle: settlements.Settlement, number: int = 1) -> list[bytes]:
    operation = settlements.settle_and_fetch(
        app.broker.keys, HELD, QUEUES, settle=settle, max_messages=number
    )
    return app.broker.call(operation).messages


def parked(app: TypedQ, task: Task[[str], None], version: str = "") -> str:
    id = task.enqueue("x").id
    fetch(app)
    group = Group("low", task.contract.id + version)
    app.broker.call(park(app.broker.keys, HELD, [Parked(group, id.encode())], DeadBounds()))
    return id


def counts(app: TypedQ) -> tuple[int, int]:
    """How many wait, and how many were cancelled."""
    seen = app.broker.call(stats.survey(app.broker.keys, QUEUES, [HELD]))
    return sum(seen.counts.values()), seen.stats.get("cancelled", 0)


# --- get


def test_a_message_is_found_in_each_state(app: TypedQ, note: Task[[str], None]) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    ready = note.enqueue("here")
    seen = app.get(ready.id)
    assert (seen.id, seen.state, seen.task, seen.queue) == (ready.id, "ready", "note", "low")
    assert (seen.contract, seen.body) == (note.contract.id, b'{"text":"here"}')
    assert seen.enqueued
    assert before < seen.enqueued < datetime.now(UTC) + timedelta(seconds=1)
    assert (seen.due, seen.attempts, seen.worker, seen.cancelled) == (None, 0, None, False)
    assert "here" not in repr(seen)

    delayed = app.get(note.options(delay=60, queue="high").enqueue("x").id)
    assert (delayed.state, delayed.queue) == ("delayed", "high")
    assert delayed.due
    assert delayed.due > datetime.now(UTC) + timedelta(seconds=50)

    fetch(app)
    assert app.get(ready.id).state == "in flight"
    fetch(app, settlements.DeadLetter(ready.id.encode(), b'{"kind":"failed","error":"Boom: x"}'))
    dead = app.get(ready.id)
    assert (dead.state, dead.kind, dead.reason) == ("dead", "failed", "Boom: x")

    unreadable = app.get(parked(app, note))
    assert (unreadable.state, unreadable.kind) == ("parked", "unreadable")
    assert unreadable.reason == f"the worker that met it cannot read {note.contract.id}"
    newer = app.get(parked(app, note, "#3")).reason
    reads = f"cannot read {note.contract.id}"
    assert newer == f"the worker that met it is too old for message format 3, or {reads}"


def test_a_message_that_ended_is_unknown(app: TypedQ, note: Task[[str], None]) -> None:
    id = note.enqueue("x").id
    fetch(app)
    fetch(app, settlements.Ack(note.contract.id.encode(), [id.encode()]))
    assert app.get(id).state == app.get("0" * 26).state == "unknown"


def test_async_callers_do_the_same(app: TypedQ, note: Task[[str], None]) -> None:
    async def act(id: str) -> None:
        assert (await app.aget(id)).state == "ready"
        assert (await app.acancel(id)).outcome == "dropped"
        assert (await app.aget(id)).state == "unknown"
        await app.aclose()

    asyncio.run(act(note.enqueue("x").id))


@pytest.mark.parametrize("id", ["", "x", "0" * 25, "g" * 26, "0" * 25 + "\n", "é" * 26, 7, None])
def test_what_is_no_id_is_refused(app: TypedQ, id: Any) -> None:
    for act in (app.get, app.cancel):
        with pytest.raises(InvalidId, match="a message id has 26 hexadecimal digits") as error:
            act(id)
        assert error.value.id == id


def test_one_of_100_000_is_found_in_seconds(app: TypedQ, note: Task[[str], None]) -> None:
    first = note.enqueue("first").id
    calls = [note.call("x" * 100)] * 50_000
    app.enqueue_many(calls)
    app.enqueue_many([note.options(delay=600).call("x" * 100)] * 50_000)
    steps = list[int]()
    for act in (app.get, app.cancel, app.get):
        began = time.monotonic()
        act(first, progress=steps.append)
        assert time.monotonic() - began < 5.0
    assert len(steps) > 100, "each step is short"
    assert max(steps) == 100_001
    with pytest.raises(SearchLimit, match="is not among the first 10,000 waiting messages"):
        app.get(first, limit=10_000)


# --- cancel


@pytest.mark.parametrize("state", ["ready", "delayed", "parked"])
def test_what_waits_is_dropped(app: TypedQ, note: Task[[str], None], state: str) -> None:
    if state == "parked":
        id = parked(app, note)
    else:
        id = note.options(delay=60 if state == "delayed" else None).enqueue("x").id
    other = note.enqueue("y").id
    done = app.cancel(id)
    assert (done.id, done.outcome, done.done, done.message.state) == (id, "dropped", True, state)
    assert app.get(id).state == "unknown"
    assert app.get(other).state == "ready"
    assert counts(app) == (1, 1)
    again = app.cancel(id)
    assert (again.outcome, again.done) == ("unknown", False)
    assert not app.broker.call(parked_groups(app))


def parked_groups(app: TypedQ) -> Any:
    from typedq.broker.parking import groups

    return groups(app.broker.keys)


def test_what_is_in_flight_is_marked_and_never_waits_again(
    app: TypedQ, note: Task[[str], None]
) -> None:
    id = note.enqueue("x").id
    fetch(app)
    assert [app.cancel(id).outcome for _ in range(2)] == ["told", "told"]
    assert app.get(id).cancelled
    fetch(app, settlements.Retry(id.encode(), "low", 1, 0))
    assert app.get(id).state == "unknown"
    assert counts(app) == (0, 1)


def test_what_succeeded_all_the_same_is_done(app: TypedQ, note: Task[[str], None]) -> None:
    id = note.enqueue("x").id
    fetch(app)
    app.cancel(id)
    ack_all = settlements.AckAll({note.contract.id.encode(): 1}, id.encode())
    operation = settlements.settle_and_fetch(app.broker.keys, HELD, QUEUES, settle=[ack_all])
    assert app.broker.call(operation).settled == 1
    assert counts(app) == (0, 0)


def test_a_dead_letter_is_left_and_can_be_requeued_after_a_cancel(
    app: TypedQ, note: Task[[str], None]
) -> None:
    id = note.enqueue("x").id
    fetch(app)
    app.cancel(id)
    fetch(app, settlements.DeadLetter(id.encode(), b'{"kind":"failed","error":"its own"}'))
    done = app.cancel(id)
    assert (done.outcome, done.message.reason, done.done) == ("dead", "its own", False)
    assert app.broker.call(stats.requeue(app.broker.keys, QUEUES, [id])).requeued == 1
    assert [message[25:51].decode() for message in fetch(app)] == [id]


def test_a_broadcast_is_refused(app: TypedQ, note: Task[[str], None]) -> None:
    from typedq.broker import cron

    own = "_broadcast.test"
    app.broker.call(operations.open(app.broker.keys, ["hears"], [own, *QUEUES], 60_000))
    id = note.broadcast("x").id
    app.broker.call(cron.deliver(app.broker.keys, own, cron.BroadcastCursor("0-0")))
    assert app.get(id).queue == own
    with pytest.raises(InvalidId, match="it is a broadcast, which every worker has; it cannot be"):
        app.cancel(id)
    assert app.get(id).state == "ready"


# --- without a server


def test_inside_testing_both_see_what_was_captured(app: TypedQ) -> None:
    ran = list[str]()

    @app.task
    def record(text: str) -> None:
        ran.append(text)
        if text == "stop":
            raise Cancelled

    with app.testing() as outbox:
        keep, drop = record.enqueue("keep").id, record.enqueue("drop").id
        later = record.options(delay=60).enqueue("later").id
        stop = record.enqueue("stop").id
        assert [app.get(id).state for id in (keep, drop, later)] == ["ready", "ready", "delayed"]
        assert (app.get(keep).task, app.get(keep).queue) == ("record", "low")
        assert [app.cancel(id).outcome for id in (drop, later, drop)] == [
            *("dropped", "dropped", "unknown")
        ]
        assert outbox.run() == 2
        outbox.advance(100)
        assert outbox.run() == 0
        assert (ran, outbox.dead, outbox.waiting()) == (["keep", "stop"], [], [])
        assert app.get(stop).state == "unknown"
        with pytest.raises(InvalidId):
            app.get("x")
        with pytest.raises(InvalidId, match="broadcast"):
            app.cancel(record.broadcast("all").id)
