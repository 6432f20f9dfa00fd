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


@pytest.mark.parametrize("how", ["exit", "segv", "kill"])
@pytest.mark.parametrize("task", ["poison", "apoison"])
def test_poison_is_buried_after_three_deaths_and_convicts_no_neighbour(
    stage: Stage, wait_until: WaitUntil, task: str, how: str
) -> None:
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
    assert 3 <= stage.ids("start").count(poison) <= 4  # the first may have been beside others
    verdict = stage.check(buried=1)
    assert not verdict.broken


def test_what_was_fetched_but_not_started_goes_back_uncounted(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    for _ in range(40):  # so that it takes several at once
        stage.send("nap")
    wait_until(stage.is_drained)
    first = stage.send_many([stage.call("hold", stage.gate()), *[stage.call("nap")] * 5])
    wait_until(lambda: first[0] in stage.ids("start"))
    worker.children()[0].kill()
    wait_until(lambda: stage.ids("start").count(first[0]) == 2)
    waiting = stage.redis.lrange(stage.keys.ready("mid"), 0, -1)
    assert all(crashes(m) == losses(m) == 0 for m in waiting)
    assert [m[25:51].decode() for m in waiting] == first[1:]  # the lost one travels alone
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert not stage.check().broken


def test_coroutines_beside_each_other_are_lost_and_not_convicted(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    ids = stage.send_many([stage.call("ahold", stage.gate())] * 5)
    wait_until(lambda: len(stage.effects("start")) == 5)
    worker.children()[0].kill()
    wait_until(lambda: len(stage.effects("start")) == 6)  # one, alone
    messages = [*stage.in_flight().values(), *stage.redis.lrange(stage.keys.ready("mid"), 0, -1)]
    assert [(crashes(m), losses(m)) for m in messages] == [(0, 1)] * 5
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert stage.ended() == set(ids)
    assert not stage.check().broken


def test_a_message_that_was_lost_waits_until_it_can_run_alone(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    stage.send_many([stage.call("ahold", stage.gate("a"))] * 2)
    wait_until(lambda: len(stage.effects("start")) == 2)
    worker.children()[0].kill()
    wait_until(lambda: len(stage.effects("start")) == 3)
    other = stage.send("anap")
    stage.open_gate("a")
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    spans = [(e.what, e.id) for e in stage.effects() if e.at >= stage.effects("start")[2].at]
    # start and end alternate: nobody ran beside those two
    assert [what for what, _ in spans[:4]] == ["start", "end", "start", "end"]
    assert spans[-1] == ("end", other)


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
