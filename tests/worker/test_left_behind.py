"""What tasks leave behind: programs end with their child, zombies are reaped, statuses are kept."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults import leaving
from tests.faults.harness import Worker
from tests.faults.harness import wait_until as deadline

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

MORE = {"FAULTS_MORE": "tests.faults.leaving"}


@pytest.fixture(autouse=True)
def leaving_app(stage: Stage) -> None:
    leaving.declare(stage.app)


@pytest.fixture
def mark(namespace: str) -> str:
    """The argument of a sleep that no other test has."""
    return f"{90_000 + os.getpid()}.{int(namespace[1:], 16)}"


def running(mark: str) -> list[int]:
    found = psutil.process_iter(["cmdline", "status"])
    return [
        p.pid
        for p in found
        if mark in (p.info["cmdline"] or ()) and p.info["status"] != psutil.STATUS_ZOMBIE
    ]


def zombies(worker: Worker) -> list[psutil.Process]:
    found = list[psutil.Process]()
    for process in psutil.Process(worker.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [process] if process.status() == psutil.STATUS_ZOMBIE else []
    return found


def kill(worker: Worker, child: psutil.Process) -> None:
    child.kill()


def crash(worker: Worker, child: psutil.Process) -> None:
    child.send_signal(signal.SIGSEGV)


def end_of_grace(worker: Worker, child: psutil.Process) -> None:
    assert worker.stop() == 1


def second_signal(worker: Worker, child: psutil.Process) -> None:
    worker.signal(signal.SIGTERM)
    deadline(lambda: worker.events("stopping"))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1


@pytest.mark.parametrize("how", leaving.LEAVE)
@pytest.mark.parametrize("death", [kill, crash, end_of_grace, second_signal])
def test_programs_of_tasks_end_when_their_child_is_dead(
    stage: Stage, wait_until: WaitUntil, mark: str, how: str, death: object
) -> None:
    assert callable(death)
    worker = stage.worker("-c", "1", "--grace", "0.3", **MORE)
    stage.send("leaves", how, mark, "hold")
    (start,) = wait_until(lambda: stage.effects("start"))
    wait_until(lambda: running(mark))
    before = set(running(mark))
    death(worker, psutil.Process(start.pid))
    wait_until(lambda: not before & set(running(mark)), 5.0)
    if worker.exit_code is None:
        wait_until(lambda: len(stage.effects("start")) == 2)
        assert worker.stop() == 1  # the second run is interrupted
    wait_until(lambda: not running(mark), 5.0)


@pytest.mark.parametrize("how", leaving.LEAVE)
def test_programs_of_a_task_that_ended_its_process_end(
    stage: Stage, wait_until: WaitUntil, mark: str, how: str
) -> None:
    worker = stage.worker("-c", "1", **MORE)
    id = stage.send("leaves", how, mark, "exit")
    wait_until(lambda: id in stage.dead())
    wait_until(lambda: not running(mark), 5.0)
    wait_until(lambda: not zombies(worker), 5.0)
    assert worker.stop() == 0
    assert not running(mark)


@pytest.mark.parametrize("how", leaving.LEAVE)
def test_programs_of_a_task_end_at_its_hard_timeout(
    stage: Stage, wait_until: WaitUntil, mark: str, how: str
) -> None:
    worker = stage.worker("-c", "1", **MORE)
    id = stage.send("overruns", how, mark)
    wait_until(lambda: id in stage.dead())
    wait_until(lambda: not running(mark), 5.0)
    assert stage.dead()[id]["kind"] == "hard_timeout"
    assert worker.stop() == 0


def test_what_the_app_started_at_import_outlives_children(
    stage: Stage, wait_until: WaitUntil, mark: str
) -> None:
    worker = stage.worker("-c", "1", FAULTS_HELPER=mark, **MORE)
    wait_until(lambda: worker.events("worker started"))
    (helper,) = wait_until(lambda: running(mark))
    wait_until(worker.children)
    for deaths in (3, 6):
        stage.send("leaves", "in a session", f"{mark}1", "exit")
        wait_until(partial(lambda most: len(stage.effects("start")) >= most, deaths))
    wait_until(lambda: not running(f"{mark}1"))
    assert running(mark) == [helper]
    assert worker.stop() == 0
    psutil.Process(helper).kill()


@pytest.mark.parametrize("flags", [("-c", "1"), ("-c", "2")])
def test_orphans_below_a_child_leave_no_zombies(
    stage: Stage, wait_until: WaitUntil, flags: tuple[str, ...]
) -> None:
    worker = stage.worker(*flags, **MORE)
    for how in ("in its group", "in a session", "a tree", "a daemon"):
        stage.send("leaves", how, "0.05")
    wait_until(stage.is_drained)
    wait_until(lambda: zombies(worker) or len(psutil.Process(worker.pid).children()) == 1)
    wait_until(lambda: not zombies(worker), 15.0)
    assert worker.stop() == 0


def test_a_status_that_a_task_will_ask_for_is_kept(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "1", **MORE)
    stage.send("starts", "own", 5)
    stage.send("leaves", "in a session", "0.01")
    wait_until(lambda: len(zombies(worker)) == 2)
    wait_until(lambda: len(zombies(worker)) == 1, 15.0)  # the orphan was reaped, and only it
    stage.send("asks", "own")
    wait_until(stage.is_drained)
    (answer,) = [e.what for e in stage.effects() if e.what.startswith("code=")]
    assert answer == "code=5"
    assert worker.stop() == 0


def test_neighbours_of_a_stuck_coroutine_go_back_uncounted_and_run_beside_each_other(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1", "--async-concurrency", "20", **MORE)
    stuck = stage.send("stuck", stage.gate())
    ids = stage.send_many([stage.call("ahold", stage.gate())] * 15)
    wait_until(lambda: len(stage.effects("start")) == 16)
    wait_until(lambda: worker.events("hard timeout: child killed"))
    wait_until(lambda: len(set(stage.ids("start")[16:]) & set(ids)) == 15, 5.0)
    flying = stage.in_flight()
    assert {flying[id][2:10] for id in ids} == {b"0 00 000"}
    stage.open_gate()
    wait_until(lambda: stuck in stage.dead() and stage.is_drained())
    assert set(ids) <= stage.ended()
    assert stage.look().stats.get("lost", 0) == 0
    assert worker.stop() == 0
