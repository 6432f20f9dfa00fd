"""What a task leaves behind does not reach the tasks after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.foreign import left
from tests.faults.harness import Stage

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.declare(left)
    return stage


def run_one_by_one(stage: Stage, wait_until: WaitUntil, *tasks: str) -> None:
    """Send each when the one before has ended; none may become a dead letter."""
    worker = stage.worker("-c", "1")
    ids = list[str]()
    for task in tasks:
        ids.append(stage.send(task))
        wait_until(lambda: {*stage.ended(), *stage.dead()} >= {*ids})
    assert worker.stop() == 0
    assert not stage.dead()


@pytest.mark.parametrize("how", left.HANDLERS)
def test_a_soft_timeout_holds_after_its_signal_was_taken_in_c(stage: Stage, how: str) -> None:
    stage.send("takes_alarm_in_c", how)
    limited = stage.send("spins")
    assert stage.worker("-c", "1", "--burst").wait(60) == 0
    assert "SoftTimeout" in stage.dead()[limited]["error"]


def test_what_a_variable_of_an_attempt_changes_in_its_finalizer_is_undone(stage: Stage) -> None:
    ids = [stage.send(task) for task in ("stands", "keeps_in_variable", "stands")]
    assert stage.worker("-c", "1", "--burst").wait(60) == 0
    before, _, after = (effect.what for id in ids for effect in stage.effects() if effect.id == id)
    assert before == after != "/"


def test_coroutines_run_after_one_unset_the_running_loop(
    stage: Stage, wait_until: WaitUntil
) -> None:
    run_one_by_one(stage, wait_until, "unsets_running_loop", "anap", "anap")


def test_a_profile_function_of_a_coroutine_ends_with_it(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    first = stage.send("traces")
    wait_until(lambda: first in stage.ended())
    second = stage.send("is_traced")
    wait_until(lambda: stage.effects(task="is_traced"))
    assert worker.stop() == 0
    assert second in stage.ids("free")


def test_coroutines_start_after_a_task_closed_all_sockets(
    stage: Stage, wait_until: WaitUntil
) -> None:
    run_one_by_one(stage, wait_until, "anap", "closes_sockets", "anap")


def test_a_copy_that_returns_does_not_end_the_attempt(stage: Stage) -> None:
    """Its process dies after the copy has returned: the message is not done, and runs again."""
    id = stage.send("dies_after_copy")
    assert stage.worker("-c", "1", "--burst").wait(60) == 0
    assert [effect.what for effect in stage.effects() if effect.id == id] == [
        "start",
        "start",
        "end",
    ]
    assert not stage.check().broken


@pytest.mark.parametrize("task", ["raises_same", "araises_same"])
def test_an_exception_that_is_raised_again_does_not_grow(stage: Stage, task: str) -> None:
    """Else each failure would keep the frames, and so the arguments, of all before it."""
    ids = [stage.send(task) for _ in range(20)]
    assert stage.worker("-c", "1", "--burst").wait(60) == 0
    found = [stage.dead()[id]["traceback"].count("raise _SINGLE") for id in ids]
    assert found == [1] * len(ids)
