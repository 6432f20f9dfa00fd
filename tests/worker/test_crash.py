"""A child that dies takes nothing with it: what ran is counted, what waited goes back."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage


def crashes(message: bytes) -> int:
    return int(message[2:3])


def losses(message: bytes) -> int:
    return int(message[4:6])


def test_a_killed_child_is_settled_within_the_bound(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "1")
    id = stage.send("hold", stage.gate())
    (start,) = wait_until(lambda: stage.effects("start"))
    (child,) = worker.children()
    assert start.pid == child.pid
    child.kill()
    killed = time.monotonic()
    # It may be on its way again before anybody could see it wait.
    wait_until(lambda: len(stage.effects("start")) == 2)
    assert time.monotonic() - killed < 1.0  # 0.1 s on a quiet machine; the median is published
    _, again = stage.effects("start")
    assert (again.id, again.attempt) == (id, 2)
    assert crashes(stage.in_flight()[id]) == 1
    (event,) = worker.events("child died")
    assert event["exit"] == -signal.SIGKILL
    assert event["running"] == id
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    verdict = stage.check()
    assert not verdict.broken
    assert (verdict.extra_runs, verdict.starts_without_end) == (1, 1)


WAYS_TO_DIE = ["exit", "exit in a thread", "segv", "kill", "abort", "stack"]


@pytest.mark.parametrize("how", WAYS_TO_DIE)
@pytest.mark.parametrize("task", ["poison", "apoison"])
def test_poison_is_a_dead_letter_after_at_most_five_deaths_and_no_neighbour_is(
    stage: Stage, wait_until: WaitUntil, task: str, how: str
) -> None:
    """Beside others it may die twice before it runs alone, where three deaths are the limit."""
    before = [stage.send("nap") for _ in range(20)]
    poison = stage.send(task, how)
    after = [stage.send("anap") for _ in range(20)]
    worker = stage.worker("-c", "2")
    wait_until(lambda: stage.ended() == {*before, *after} and stage.dead())
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    (reason,) = stage.dead().values()
    assert stage.dead().keys() == {poison}
    assert reason["kind"] == "crashed"
    deaths = worker.events("child died")
    assert 3 <= stage.ids("start").count(poison) == len(deaths) <= 5
    if how == "exit in a thread":  # not as a child that was told to end
        assert {each["exit"] for each in deaths} == {0}
    verdict = stage.check(buried=1)
    assert not verdict.broken


def test_what_was_fetched_but_not_started_goes_back_uncounted(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    for _ in range(40):  # so that it takes several at once
        stage.send("nap")
    wait_until(stage.is_drained)
    nap = stage.call("nap")  # an idle child takes the first alone
    _, *first = stage.send_many([nap, stage.call("hold", stage.gate()), *[nap] * 5])
    wait_until(lambda: first[0] in stage.ids("start"))
    worker.children()[0].kill()
    wait_until(lambda: stage.ids("start").count(first[0]) == 2)
    assert stage.ids("start")[-7:] == [first[0], *first[1:], first[0]], "a suspect comes last"
    assert stage.look().stats.items() >= {"crashed": 1}.items()
    assert "lost" not in stage.look().stats
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert not stage.check().broken


def counts(stage: Stage) -> list[tuple[int, int]]:
    """Crashes and losses of each message that has not ended."""
    waiting = stage.redis.lrange(stage.keys.ready("mid"), 0, -1)
    return [(crashes(m), losses(m)) for m in [*stage.in_flight().values(), *waiting]]


def test_coroutines_that_were_lost_once_run_beside_each_other_again_and_alone_after_the_second_loss(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    ids = stage.send_many([stage.call("ahold", stage.gate())] * 5)
    wait_until(lambda: len(stage.effects("start")) == 5)
    worker.children()[0].kill()
    wait_until(lambda: len(stage.effects("start")) == 10)
    assert counts(stage) == [(0, 1)] * 5
    worker.children()[0].kill()
    wait_until(lambda: len(stage.effects("start")) == 11)
    assert counts(stage) == [(0, 2)] * 5
    other = stage.send("anap")
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert stage.ended() == {*ids, other}
    spans = [(e.what, e.id) for e in stage.effects()][10:]
    assert [what for what, _ in spans] == ["start", "end"] * 6, "nobody ran beside another"
    assert not stage.check().broken


@pytest.mark.parametrize("whole", [False, True], ids=["child", "worker"])
def test_a_hundred_coroutines_that_were_interrupted_end_as_fast_as_before(
    brief: Stage, wait_until: WaitUntil, whole: bool
) -> None:
    worker = brief.worker("-c", "1")
    ids = set(brief.send_many([brief.call("anap", 3.0)] * 100))
    wait_until(lambda: len(brief.effects("start")) == 100)
    if whole:
        worker.kill_group()
        worker = brief.worker("-c", "1")
    else:
        worker.children()[0].kill()
    killed = time.monotonic()
    wait_until(lambda: ids == brief.ended(), 30.0)
    assert time.monotonic() - killed < 1.0 + 5.0 + (3.0 if whole else 0.0)  # with Python's start
    wait_until(brief.is_drained)
    assert worker.stop() == 0


def test_neighbours_of_a_coroutine_beyond_its_hard_timeout_go_back_uncounted(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    stuck = stage.send("ahold", stage.gate(), hard_timeout=1.0)
    wait_until(lambda: stage.effects("start"))
    ids = set(stage.send_many([stage.call("anap", 2.0)] * 15))
    wait_until(lambda: worker.events("hard timeout: child killed"))
    killed = time.monotonic()
    wait_until(lambda: ids <= stage.ended())
    assert time.monotonic() - killed < 5.0
    assert "lost" not in stage.look().stats
    wait_until(lambda: stuck in stage.dead())
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert stage.ids("start").count(stuck) == 3


def test_what_ended_well_is_not_run_again_though_the_server_was_not_told(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    # Before a task that is slow, or may be, the server is told: this one is known to be quick.
    for _ in range(40):
        stage.send_many([stage.call("nap"), stage.call("crash_quickly", 0)])
    wait_until(stage.is_drained)
    ids = stage.send_many([*[stage.call("nap")] * 3, stage.call("crash_quickly", 1)])
    wait_until(lambda: ids[-1] in stage.ended())
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert all(stage.ids("start").count(id) == 1 for id in ids[:3])
    assert not stage.check().broken


def test_children_that_die_together_are_all_replaced(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "4")
    ids = stage.send_many([stage.call("hold", stage.gate())] * 4)
    wait_until(lambda: len(stage.effects("start")) == 4)
    for child in worker.children():
        child.kill()
    wait_until(lambda: len(stage.effects("start")) == 8)
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert stage.ended() == set(ids)
    assert not stage.check().broken


def test_a_child_that_dies_while_others_wait_behind_it_does_not_end_the_supervisor(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """It is stopped for a moment to be relieved of them; here it may be dead by then."""
    worker = stage.worker("-c", "1")
    for round in range(6):
        gate = f"gate{round}"
        first = stage.send_many(
            [*[stage.call("nap")] * 20, stage.call("crash_at", stage.gate(gate), 1)]
        )
        stage.send_many([stage.call("nap")] * 20)
        wait_until(partial(lambda last: last in stage.ids("start"), first[-1]))
        stage.open_gate(gate)
        wait_until(partial(lambda last: last in stage.ended(), first[-1]))
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert not stage.check().broken
