"""Messages that are cancelled while a worker holds them, in real workers."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.faults import cancelling
from tests.faults.harness import Stage
from typedq.admin.dead_letters import DeadLetters

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

# task -> what it writes, from its start to its end
MET = {
    "python_code": ["start", "cancelled"],
    "c_code": ["start", "cancelled"],
    "except_exception": ["start", "cancelled"],
    "catching": ["start", "met", "end"],
    "failing_then": ["start"],
    "shielded": ["start", "whole", "cancelled"],
    "sleeping": ["start", "cancelled"],
    "acatching": ["start", "met", "end"],
    "ashielded": ["start", "whole", "cancelled"],
    "returning": ["start", "cancelled"],
}


def started(stage: Stage, id: str) -> bool:
    return id in stage.ids("start")


@pytest.fixture
def cancels(stage: Stage) -> Stage:
    """A stage whose app has tasks that are cancelled."""
    stage.declare(cancelling)
    return stage


@pytest.mark.parametrize("prefix", ["", "limited_"])
@pytest.mark.parametrize("solo", [False, True])
def test_a_running_task_meets_it_as_it_would_a_soft_timeout(
    cancels: Stage, wait_until: WaitUntil, prefix: str, solo: bool
) -> None:
    worker = cancels.worker("--solo" if solo else "-c1")
    for task, written in MET.items():
        id = cancels.send(f"{prefix}{task}")
        wait_until(partial(started, cancels, id))
        assert cancels.app.cancel(id).outcome == "told"
        wait_until(cancels.is_drained)
        assert (task, [e.what for e in cancels.effects() if e.id == id]) == (task, written)
    stats = cancels.look().stats
    assert (stats["cancelled"], stats["done"]) == (len(MET) - 2, 2)
    assert not cancels.dead()
    assert not any(cancels.look().counts.values())
    assert worker.stop() == 0


def test_the_caller_is_told_which_worker_holds_it(cancels: Stage, wait_until: WaitUntil) -> None:
    id = cancels.send("c_code")
    worker = cancels.worker("-c1")
    wait_until(lambda: id in cancels.ids("start"))
    wait_until(lambda: cancels.app.get(id).worker)
    seen = cancels.app.get(id)
    assert (seen.state, seen.task, seen.queue) == ("in flight", "c_code", "mid")
    assert f"-{worker.pid}-" in str(seen.worker)
    assert not seen.cancelled
    told = cancels.app.cancel(id)
    assert (told.outcome, told.message.worker, told.done) == ("told", seen.worker, True)
    wait_until(cancels.is_drained)
    assert cancels.app.get(id).state == "unknown"
    assert worker.stop() == 0


def test_what_is_held_unstarted_never_starts(cancels: Stage, wait_until: WaitUntil) -> None:
    first = cancels.send("nap")  # short ones, so that the next are fetched at once
    worker = cancels.worker("-c1")
    wait_until(lambda: first in cancels.ended())
    with_gate = cancels.call("hold", cancels.gate())
    nap = cancels.call("nap")  # an idle child takes the first alone
    _, gate, *held = cancels.send_many([nap, with_gate, *[nap] * 3])
    wait_until(lambda: gate in cancels.ids("start"))
    outcomes = {cancels.app.cancel(id).outcome for id in held}
    assert outcomes <= {"told", "dropped"}  # it may have been requeued behind the long task
    cancels.open_gate()
    wait_until(cancels.is_drained)
    assert not set(held) & set(cancels.ids("start"))
    assert cancels.look().stats["cancelled"] == 3
    assert worker.stop() == 0


@pytest.mark.parametrize("children", [(1,), (2,), (1, 1)], ids=str)
def test_a_dead_letter_that_is_retried_at_once_is_not_cancelled_again(
    cancels: Stage, wait_until: WaitUntil, children: tuple[int, ...]
) -> None:
    """It has the same id, and the worker that takes it may have just read of the cancellation."""
    workers = [cancels.worker("-c", str(count)) for count in children]
    wait_until(lambda: [len(worker.children()) for worker in workers] == [*children])
    wait_until(lambda: len(cancels.look().workers) == len(workers))
    id = cancels.send("burying")
    wait_until(lambda: id in cancels.ids("start"))
    assert cancels.app.cancel(id).outcome == "told"
    wait_until(lambda: id in cancels.dead())
    assert list(DeadLetters(cancels.app).requeue([id])) == [1]
    wait_until(cancels.is_drained)
    assert [e.what for e in cancels.effects() if e.id == id] == ["start", "start", "end"]
    stats = cancels.look().stats
    assert (stats["done"], stats.get("cancelled", 0), cancels.dead()) == (1, 0, {})
    assert [worker.stop() for worker in workers] == [0] * len(workers)


def test_a_marked_message_of_a_killed_child_does_not_run_again(
    cancels: Stage, wait_until: WaitUntil
) -> None:
    id = cancels.send("hold", cancels.gate())
    worker = cancels.worker("-c1")
    wait_until(lambda: id in cancels.ids("start"))
    pid = worker.children()[0].pid
    os.kill(pid, signal.SIGSTOP)  # it cannot meet it
    assert cancels.app.cancel(id).outcome == "told"
    assert cancels.app.get(id).cancelled
    os.kill(pid, signal.SIGKILL)
    wait_until(cancels.is_drained)
    cancels.open_gate()
    assert worker.stop() == 0
    assert cancels.ids("start") == [id]
    assert (cancels.look().stats["cancelled"], cancels.dead()) == (1, {})
    assert not any(cancels.look().counts.values())
