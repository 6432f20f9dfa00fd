"""Cron: every slot once, however many workers there are and whoever of them dies."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import scheduled
from tests.faults.harness import Worker
from typedq import Call, ConfigurationError, InvalidOptions, Queue, TypedQ, UnknownTask
from typedq.admin.cron import CronAdmin
from typedq.broker.cron import last_slots

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

MORE = "tests.faults.scheduled"
SEED = 20261123


@pytest.fixture(autouse=True)
def scheduled_app(stage: Stage) -> None:
    scheduled.declare(stage.app)


def worker(stage: Stage, *flags: str, cron: str = "* * * * * *", catch_up: str = "skip") -> Worker:
    more = {scheduled.CRON: cron, scheduled.CATCH_UP: catch_up, "FAULTS_MORE": MORE}
    return stage.worker("-c", "1", *flags, **more)


def slots(stage: Stage) -> list[float]:
    """The slots that ran, in seconds since the epoch."""
    return sorted(float(e.what) for e in stage.effects() if e.task == "tick")


def messages(stage: Stage) -> dict[float, set[str]]:
    """The ids that ran for each slot: a kill may run one again, but never makes a second."""
    found = defaultdict[float, set[str]](set)
    for effect in stage.effects():
        if effect.task == "tick":
            found[float(effect.what)].add(effect.id)
    return found


def consecutive(found: list[float]) -> bool:
    return found == [found[0] + n for n in range(len(found))]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_slot_once_with_five_supervisors_and_kills(
    stage: Stage, wait_until: WaitUntil
) -> None:
    print(f"seed {SEED}")
    dice, most, seen = random.Random(SEED), int(os.environ.get("TYPEDQ_TEST_SLOTS", "20")), [0]
    workers = [worker(stage) for _ in range(5)]

    def stir() -> bool:
        """With every slot that runs, one of the five is killed, and another started."""
        ran = len(slots(stage))
        if ran > seen[0]:
            victim = dice.randrange(5)
            workers[victim].kill_group()
            workers[victim] = worker(stage)
        seen[0] = ran
        return ran >= most

    wait_until(stir, 70.0 + 2 * most)
    wait_until(lambda: all(each.events("worker started") for each in workers), 20.0)
    wait_until(stage.is_drained, 45.0)
    assert [each.stop() for each in workers] == [0] * 5
    found = messages(stage)
    assert consecutive(sorted(found)), found
    assert all(len(ids) == 1 for ids in found.values()), found
    assert not any(stage.look().counts.values())
    assert not stage.leaked()


def test_a_slot_starts_promptly_and_is_shown(stage: Stage, wait_until: WaitUntil) -> None:
    one = worker(stage)
    wait_until(lambda: len(slots(stage)) >= 3)
    assert one.stop() == 0
    late = [e.at - float(e.what) for e in stage.effects() if e.task == "tick"]
    assert sorted(late)[len(late) // 2] < 0.5, late
    shown = stage.ask(last_slots(stage.keys))
    assert shown["ticks"] / 1000 == max(slots(stage))
    assert one.events("cron fired")


def test_solo_fires_too(stage: Stage, wait_until: WaitUntil) -> None:
    one = worker(stage, "--solo")
    wait_until(lambda: len(slots(stage)) >= 2)
    assert one.stop() == 0
    assert consecutive(slots(stage))


def test_a_first_deploy_fires_nothing_past(stage: Stage, wait_until: WaitUntil) -> None:
    one = worker(stage, cron="0 0 1 1 *", catch_up="once")
    wait_until(lambda: stage.redis.hexists(stage.keys.cron, "ticks"))
    stage.send("nap")
    wait_until(stage.ended)
    assert one.stop() == 0
    assert slots(stage) == []
    assert stage.ask(last_slots(stage.keys))["ticks"] < 0


@pytest.mark.parametrize("catch_up", ["skip", "once"])
def test_slots_that_were_missed_long_ago(
    stage: Stage, wait_until: WaitUntil, catch_up: str
) -> None:
    month_ago = round((time.time() - 31 * 86_400) * 1000)
    stage.redis.hset(stage.keys.cron, "ticks", month_ago)
    hour = (time.gmtime().tm_hour + 22) % 24  # daily, two hours ago
    one = worker(stage, cron=f"0 {hour} * * *", catch_up=catch_up)
    if catch_up == "once":
        wait_until(lambda: slots(stage))
    stage.send("nap")
    wait_until(stage.ended)
    assert one.stop() == 0
    assert len(slots(stage)) == (catch_up == "once")
    skipped = one.events("cron slot missed; skipped")
    if catch_up == "once":
        assert skipped == []
    else:
        ((entry, slot),) = ((event["entry"], event["slot"]) for event in skipped)
        assert entry == "ticks"
        missed = datetime.fromisoformat(slot)
        assert 2 * 3_600 <= (datetime.now(UTC) - missed).total_seconds() < 3 * 3_600


def test_slots_that_are_missed_by_a_long_pause_are_one_warning(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """Every second for ten minutes, and then in time again."""
    stage.redis.hset(stage.keys.cron, "ticks", round((time.time() - 600) * 1000))
    one = worker(stage)
    wait_until(lambda: len(slots(stage)) >= 62)
    assert one.stop() == 0
    (event,) = one.events("cron slot missed; skipped")
    assert event["level"] == "warning"
    assert datetime.fromisoformat(event["slot"]).timestamp() == slots(stage)[0] - 1


def test_a_pause_of_some_seconds_loses_no_slot(stage: Stage, wait_until: WaitUntil) -> None:
    one = worker(stage)
    wait_until(lambda: slots(stage))
    one.signal(signal.SIGSTOP)
    stopped_at = time.time()
    wait_until(lambda: time.time() > stopped_at + 3.5)
    one.signal(signal.SIGCONT)
    wait_until(lambda: slots(stage)[-1] > stopped_at + 4)
    assert one.stop() == 0
    assert consecutive(slots(stage))


def test_after_a_pause_was_answered_no_worker_of_a_fleet_fires(
    stage: Stage, wait_until: WaitUntil
) -> None:
    fleet = [worker(stage, catch_up="skip"), worker(stage, catch_up="once")]
    fleet.append(worker(stage, "--solo"))
    admin = CronAdmin(stage.app)
    wait_until(lambda: len(slots(stage)) > 1 and len(admin.rows()[0]["fired_by"]) == 3)
    assert admin.pause("ticks")
    paused = server_s(stage)
    wait_until(lambda: server_s(stage) > paused + 2.2)
    (row,) = admin.rows()
    assert (row["paused"], len(row["fired_by"])) == (True, 3)
    assert stage.ask(last_slots(stage.keys))["ticks"] / 1000 <= paused
    assert admin.resume("ticks")
    resumed = int(stage.redis.hget(stage.keys.cron_paused, "ticks")) / 1000
    wait_until(lambda: slots(stage)[-1] > resumed + 1)
    assert [each.stop() for each in fleet] == [0, 0, 0]
    assert not [slot for slot in slots(stage) if paused < slot <= resumed]
    later = [slot for slot in slots(stage) if slot > resumed]
    assert later[0] == int(resumed) + 1
    assert consecutive(later)
    assert not any(each.events("cron slot missed; skipped") for each in fleet)


def server_s(stage: Stage) -> float:
    seconds, micros = stage.redis.time()
    return float(seconds + micros / 1e6)


# --- refusals -------------------------------------------------------------------------------------


@pytest.fixture
def app() -> TypedQ:
    app = TypedQ("myapp", queues=[Queue("high"), Queue("low")])

    @app.task
    def report(month: int = 1) -> None: ...

    return app


def report(app: TypedQ, **options: Any) -> Call:
    sender = app.tasks["report"]
    return sender.options(**options).call() if options else sender.call()


def test_the_name_is_the_tasks_unless_one_is_given(app: TypedQ) -> None:
    app.cron("0 0 1 * *", report(app))
    app.cron("0 12 1 * *", report(app), name="noon")
    assert list(app.declarations.cron_entries) == ["report", "noon"]


def test_the_same_entry_may_be_declared_again_another_of_its_name_not(app: TypedQ) -> None:
    app.cron("0 0 1 * *", report(app))
    app.cron("0 0 1 * *", report(app))
    with pytest.raises(ConfigurationError, match="'report': the name is taken by another entry"):
        app.cron("0 12 1 * *", report(app))
    with pytest.raises(ConfigurationError, match="the name is taken by another entry"):
        app.cron("0 0 1 * *", app.tasks["report"].call(2))


def test_every_problem_is_told_at_once(app: TypedQ) -> None:
    with pytest.raises(ConfigurationError) as caught:
        app.cron("x", report(app), name="Bad Name", tz="Nowhere")
    problems = caught.value.problems
    assert len(problems) == 3
    assert all(problem.startswith("cron 'Bad Name': ") for problem in problems)
    assert dict(app.declarations.cron_entries) == {}


def test_a_task_is_no_call(app: TypedQ) -> None:
    with pytest.raises(ConfigurationError, match=r"takes a call, such as my_task\.call\(1\)"):
        app.cron("0 0 1 * *", app.tasks["report"])  # type: ignore[arg-type]


def test_a_call_of_another_app_is_refused(app: TypedQ) -> None:
    with pytest.raises(UnknownTask, match="no task named 'stranger'"):
        app.cron("0 0 1 * *", Call("stranger", b"{}"))


def test_a_delay_makes_no_sense(app: TypedQ) -> None:
    with pytest.raises(InvalidOptions, match="'delay': a cron entry runs at its slots"):
        app.cron("0 0 1 * *", report(app, delay=5))


def test_an_entry_expires_after_a_time_not_at_one(app: TypedQ) -> None:
    app.cron("0 0 1 * *", report(app, expires=5), name="lasting")
    with pytest.raises(InvalidOptions, match=r"'expires': a cron entry runs again and again; give"):
        app.cron("0 0 1 * *", report(app, expires=datetime(2030, 1, 1, tzinfo=UTC)))
