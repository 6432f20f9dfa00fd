"""A periodic job that fails, in a real worker: leases, signals, other jobs and children go on."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.refusing import ERRORS, JOB

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

MORE = "tests.faults.refusing"
JOBS = [
    "periodic.Ticker",
    "periodic.LeaseRenewer",
    "periodic.Janitor",
    "periodic.EvictionCheck",
    "periodic.Summary",
    "cancellations.StreamReader",
    "limits.TimeoutMonitor",
    "memory.MemoryLimit",
    "children.ChildPool",
]
OF_SOLO = [*JOBS[:4], JOBS[5]]
# What a worker must be given so that the job exists.
OPTIONS = {"memory.MemoryLimit": ("--max-mem-percent", "100")}
# Each job with one error, and each error with one job: all pairs would prove no more.
PAIRS = list(zip(JOBS, itertools.cycle(ERRORS), strict=False))


@pytest.mark.parametrize(("job", "error"), PAIRS)
def test_a_job_that_fails_twice_is_logged_once_and_the_worker_works(
    stage: Stage, wait_until: WaitUntil, job: str, error: str
) -> None:
    options = OPTIONS.get(job, ())
    worker = stage.worker("-c", "2", *options, FAULTS_MORE=MORE, **{JOB: f"{job} {error} 2"})
    ids = stage.send_many([stage.call(("nap", "anap")[n % 2]) for n in range(20)])
    wait_until(lambda: set(ids) <= stage.ended())
    (event,) = wait_until(lambda: worker.events("periodic job failed; retrying"))
    assert event["job"] == job.partition(".")[2]
    assert error in event["traceback"]
    assert worker.stop() == 0
    assert not stage.check().broken


@pytest.mark.parametrize("job", sorted({*JOBS} - {"children.ChildPool"}))
def test_a_job_that_always_fails_stops_neither_tasks_nor_signals(
    stage: Stage, wait_until: WaitUntil, job: str
) -> None:
    always = {JOB: f"{job} RuntimeError 1000000"}
    worker = stage.worker("-c", "1", *OPTIONS.get(job, ()), FAULTS_MORE=MORE, **always)
    id = stage.send("nap")
    wait_until(lambda: id in stage.ended())
    crash = stage.send("crash_quickly", 1)
    wait_until(lambda: crash in stage.ended())
    asked = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - asked < 5.0
    assert len(worker.events("periodic job failed")) == 1


def test_leases_are_renewed_while_another_job_fails(brief: Stage, wait_until: WaitUntil) -> None:
    failing = {JOB: "periodic.Ticker OSError 1000000"}
    worker = brief.worker("-c", "1", FAULTS_MORE=MORE, **failing)
    id = brief.send("hold", brief.gate())
    wait_until(lambda: brief.effects("start"))
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 3.0)  # three leases
    assert id in brief.in_flight()
    brief.open_gate()
    wait_until(brief.is_drained)
    assert worker.stop() == 0
    verdict = brief.check()
    assert (verdict.broken, verdict.extra_runs) == ((), 0)


@pytest.mark.parametrize("job", OF_SOLO)
def test_a_job_of_a_solo_worker_fails_and_is_tried_again(
    stage: Stage, wait_until: WaitUntil, job: str
) -> None:
    """Its thread used to end in silence."""
    worker = stage.worker("--solo", FAULTS_MORE=MORE, **{JOB: f"{job} OSError 2"})
    id = stage.send("nap", delay=0.5)
    wait_until(lambda: id in stage.ended())
    wait_until(lambda: worker.events("periodic job failed; retrying"))
    assert worker.stop() == 0
    assert not stage.check().broken


def test_a_solo_worker_is_known_to_others_of_its_host_before_it_fetches(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """Killed, its message runs again at once and not when its lease ends."""
    worker = stage.worker("--solo")
    id = stage.send("hold", stage.gate())
    wait_until(lambda: stage.effects("start"))
    worker.kill_group()
    other = stage.worker("-c", "1")
    wait_until(lambda: other.events("worker started"))
    wait_until(lambda: len(stage.effects("start")) == 2, 10.0)
    stage.open_gate()
    wait_until(lambda: id in stage.ended())
    wait_until(stage.is_drained)
    assert other.stop() == 0
    assert not stage.check().broken
