"""Messages that expire, in real workers: none begins too late, whichever attempt it is."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import scheduled
from tests.faults.app import MORE
from typedq.broker import DeadBounds, DedicatedClient, operations
from typedq.broker.parking import Group, Parked, groups, park
from typedq.broker.server_checks import clock as server_clock
from typedq.broker.settlements import Expire, settle_and_fetch
from typedq.invoke import Limits
from typedq.message import encode_message, kind_of
from typedq.worker.coroutines import Coroutines
from typedq.worker.decoder import ServerClock
from typedq.worker.delivery import Delivery, MessageKind
from typedq.worker.journal import Journal
from typedq.worker.sync_tasks import SyncTasks

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

SOON = 0.001
PAST = datetime.now(UTC) - timedelta(days=1)


def outcome(stage: Stage) -> dict[str, Any]:
    """What is left of all messages, in numbers."""
    seen = stage.look()
    names = ("done", "expired", "retried")
    return {name: seen.stats.get(name, 0) for name in names} | {
        "waiting": sum(seen.counts.values()),
        "dead": len(stage.dead()),
    }


def has_expired(stage: Stage, ids: list[str]) -> bool:
    """Return True once the server's clock is behind the expiry of all."""
    now = datetime.fromtimestamp(stage.ask(server_clock()), UTC)
    return all((stage.app.get(id).expires or now) <= now for id in ids)


@pytest.mark.parametrize("flags", [("-c1",), ("--solo",)])
def test_only_what_has_not_expired_begins(
    stage: Stage, wait_until: WaitUntil, flags: tuple[str, ...]
) -> None:
    gone = [
        stage.send("nap", 0.0, expires=SOON),
        stage.send("anap", 0.0, expires=timedelta(seconds=SOON)),
        stage.send("nap", 0.0, expires=PAST, meta={"tenant": "acme"}),
        stage.send("anap", 0.0, expires=PAST, hard_timeout=9),
    ]
    kept = [
        stage.send("nap", 0.0, expires=600),
        stage.send("anap", 0.0, expires=600, delay=0.2, meta={"tenant": "acme"}),
        stage.send("nap", 0.0, expires=datetime.now(UTC) + timedelta(minutes=9), soft_timeout=9),
        stage.send("flaky", 2, expires=600),
        *stage.send_many([stage.call("nap"), stage.call("anap")]),
    ]
    wait_until(partial(has_expired, stage, gone))
    worker = stage.worker(*flags)
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert stage.ended() == set(kept)
    assert not set(gone) & set(stage.ids("start"))
    expected = {"done": 6, "expired": 4, "retried": 2, "waiting": 0, "dead": 0}
    assert outcome(stage) == expected
    logged = [(e["task"], e["id"], e["attempt"]) for e in worker.events("message expired")]
    assert sorted(logged) == sorted(
        (task, id, 1) for id, task in zip(gone, ["nap", "anap"] * 2, strict=True)
    )


@pytest.mark.parametrize("task", ["flaky", "later"])
def test_a_retry_that_is_due_too_late_does_not_begin(
    stage: Stage, wait_until: WaitUntil, task: str
) -> None:
    if task == "later":
        id = stage.send(task, 1.0, 3, expires=0.9)
    else:
        id = stage.send(task, 3, expires=0.045)  # its backoff is 50 ms
    worker = stage.worker("-c1")
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert len(stage.effects("start")) <= 1
    assert outcome(stage)["expired"] == 1
    assert outcome(stage)["dead"] == outcome(stage)["waiting"] == 0
    assert id not in stage.ended()


@pytest.mark.parametrize("task", ["nap", "anap"])
def test_what_is_held_by_a_busy_worker_expires_there(
    stage: Stage, wait_until: WaitUntil, task: str
) -> None:
    first = stage.send("nap")  # a short one, so that the next are fetched at once
    worker = stage.worker("-c1")
    wait_until(lambda: first in stage.ended())
    sender = stage.app.tasks[task].options(expires=0.5)
    # An idle child takes the first alone.
    calls = [stage.call("nap"), stage.call("hold", stage.gate()), *[sender.call()] * 3]
    held = stage.send_many(calls)[2:]
    wait_until(lambda: stage.effects("start", task="hold"))
    wait_until(partial(has_expired, stage, held))
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert not set(held) & set(stage.ids("start"))
    assert outcome(stage) == {"done": 3, "expired": 3, "retried": 0, "waiting": 0, "dead": 0}


def test_a_killed_attempt_is_not_repeated_after_its_expiry(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c1")
    wait_until(worker.children)
    id = stage.send("hold", stage.gate(), expires=2.0)
    wait_until(lambda: id in stage.ids("start"))
    wait_until(partial(has_expired, stage, [id]))
    os.kill(worker.children()[0].pid, signal.SIGKILL)
    wait_until(stage.is_drained)
    stage.open_gate()
    assert worker.stop() == 0
    assert stage.ids("start") == [id]
    assert outcome(stage) == {"done": 0, "expired": 1, "retried": 0, "waiting": 0, "dead": 0}
    assert worker.events("message expired")[0]["attempt"] == 2


def set_aside(stage: Stage, ids: list[str]) -> None:
    """Park messages as a worker does that knows format 1 only."""
    call, keys = stage.app.broker.call, stage.keys
    call(operations.open(keys, ["old"], ["mid"], 60_000))
    assert len(call(settle_and_fetch(keys, "old", ["mid"], max_messages=9)).messages) == len(ids)
    group = Group("mid", f"{stage.app.tasks['nap'].contract.id}#2")
    parked = [Parked(group, id.encode()) for id in ids]
    call(park(keys, "old", parked, DeadBounds()))
    call(operations.recover_session(keys, "old", ["mid"], owner=True))


def test_what_older_workers_parked_is_read_or_expires(stage: Stage, wait_until: WaitUntil) -> None:
    kept, gone = stage.send("nap", 0.0, expires=600), stage.send("nap", 0.0, expires=SOON)
    set_aside(stage, [kept, gone])
    found = stage.app.get(kept)
    assert (found.state, found.kind) == ("parked", "unreadable")
    assert "is too old for message format 2, or cannot read nap@" in str(found.reason)
    worker = stage.worker("-c1")
    wait_until(lambda: not stage.ask(groups(stage.keys)) and stage.is_drained())
    assert worker.stop() == 0
    assert stage.ids("end") == [kept]
    assert outcome(stage) == {"done": 1, "expired": 1, "retried": 0, "waiting": 0, "dead": 0}


def test_a_slot_of_a_cron_entry_expires(stage: Stage, wait_until: WaitUntil) -> None:
    environment = {MORE: "tests.faults.scheduled", scheduled.CRON: "* * * * * *"}
    lasting = stage.worker("-c1", **environment, **{scheduled.EXPIRES: "30"})
    wait_until(lambda: stage.effects(task="tick"))
    assert lasting.stop() == 0
    assert not lasting.events("message expired")
    brief = stage.worker("-c1", **environment, **{scheduled.EXPIRES: "0.000501"})
    wait_until(lambda: brief.events("message expired"))
    assert brief.stop() == 0


@pytest.mark.parametrize("task", ["nap", "anap"])
def test_one_that_was_decoded_in_time_expires_before_it_begins(
    stage: Stage, wait_until: WaitUntil, task: str
) -> None:
    """A request to the server may lie between, or a turn of the event loop."""
    journal = Journal(1)
    journal.set_lease_deadline(time.monotonic() + 60)
    runner = Coroutines(stage.app, journal, lambda: None)
    message = encode_message(
        id="0" * 26, contract=f"{task}@0", queue="mid", options=b"-", body=b"{}"
    )
    kind = MessageKind(kind_of(message), ["mid"])
    job = Delivery(message, 0, kind, kind.body_at)
    known = stage.app.tasks[task]
    job.kind.resolve(known, lambda _: ((), {}), runs_code=False, limits=Limits(None, None))
    job.until = time.monotonic()
    if task == "nap":
        SyncTasks(runner, journal).run(job)
    else:
        runner.start([job])
        assert wait_until(runner.take_ended) == [job]
    assert (job.started, job.settlement) == (False, Expire(job.id))


def test_the_servers_clock_is_asked_once(stage: Stage) -> None:
    client = DedicatedClient(stage.app.broker)
    clock, now = ServerClock(client), round(stage.ask(server_clock()) * 1000)
    assert abs(clock.monotonic(now + 5_000) - time.monotonic() - 5) < 1
    client.call = None  # type: ignore[method-assign, assignment]
    assert clock.monotonic(now + 5_000) < clock.monotonic(now + 5_001)
