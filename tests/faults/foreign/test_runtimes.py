"""Workers whose app changes the runtime of its process: gevent, uvloop, a thread that reaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.foreign import runtimes
from tests.faults.harness import Stage

if TYPE_CHECKING:
    pass


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.declare(runtimes)
    return stage


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_a_worker_does_all_it_does_under_another_runtime(stage: Stage, runtime: str) -> None:
    """Each task ends once, a hard timeout strikes, and no child is said to have died."""
    tasks = [run.__name__ for run in runtimes.TASKS] + ["enqueues", "aenqueues"]
    ids = {task: stage.send(task) for task in tasks}
    ids["spins"] = stage.send("spins")
    worker = stage.worker("-c", "2", "--burst", RUNTIME=runtime)
    assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
    assert {task for task, id in ids.items() if id not in stage.ended()} == {"spins"}
    ended = stage.ids("end")
    assert len(ended) == len({*ended})
    assert [each["kind"] for each in stage.dead().values()] == ["hard_timeout"]
    assert not worker.events("child died")


def test_a_signal_that_a_library_takes_in_c_code_for_good_stays_with_it(stage: Stage) -> None:
    """gevent sets its handler once, with the first fork; a child that ends without it hangs."""
    ids = [stage.send(task) for task in ("forks", "sleeps", "catches_sigchld")]
    worker = stage.worker("-c", "1", "--burst", RUNTIME="gevent")
    assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
    assert stage.ids("end") == ids
