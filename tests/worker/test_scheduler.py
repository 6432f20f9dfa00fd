"""The scheduler of periodic jobs: whatever one of them raises, the others run."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psutil
import pytest

from typedq import telemetry
from typedq.errors import ServerRefused, ServerUnavailable
from typedq.worker.scheduler import MAX_RETRY_S, RETRY_S, Scheduler
from typedq.worker.waiting import Waiter

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

ERRORS: dict[str, Callable[[], Exception]] = {
    "OSError": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "FileNotFoundError": lambda: FileNotFoundError(errno.ENOENT, "No such file"),
    "BlockingIOError": lambda: BlockingIOError(errno.EAGAIN, "try again"),
    "MemoryError": MemoryError,
    "NoSuchProcess": lambda: psutil.NoSuchProcess(1),
    "AccessDenied": lambda: psutil.AccessDenied(1),
    "TimeoutExpired": lambda: psutil.TimeoutExpired(1.0),
    "RuntimeError": lambda: RuntimeError("surprise"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "RecursionError": RecursionError,
    "ServerUnavailable": lambda: ServerUnavailable("redis://x", "gone"),
    "ServerRefused": lambda: ServerRefused("redis://x", "NOPERM"),
}


class Job:
    """Counts its runs; raises what it is told to."""

    def __init__(self, pause: float = 0.01) -> None:
        self.pause, self.runs, self.raises = pause, list[float](), None

    raises: Callable[[], Exception] | None

    def step(self, now: float) -> float:
        self.runs.append(now)
        if self.raises:
            raise self.raises()
        return self.pause


@pytest.fixture
def waiter(stage: Stage) -> Iterator[Waiter]:
    made = Waiter(stage.app.broker, [stage.keys.wake("high")], persistent=True)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.logger, "propagate", True)


def turn(scheduler: Scheduler, done: Callable[[], bool]) -> None:
    """Run until done."""
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        scheduler.run_due()
        scheduler.wait()


@pytest.mark.parametrize("error", ERRORS)
def test_a_job_that_raises_stops_no_other_and_is_called_again(
    waiter: Waiter, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    bad, good = Job(), Job()
    bad.raises = ERRORS[error]
    scheduler = Scheduler([bad, good], waiter)
    turn(scheduler, lambda: len(bad.runs) == 3)
    assert len(good.runs) > 10
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    is_server = error.startswith("Server")
    wanted = "request to the server failed" if is_server else "periodic job failed"
    assert record.getMessage() == f"{wanted}; retrying"
    assert not scheduler.is_server_away(bad, time.monotonic()), "not since then"
    first, second = (b - a for a, b in zip(bad.runs, bad.runs[1:], strict=False))
    assert first >= RETRY_S
    assert second >= (RETRY_S if is_server else 2 * RETRY_S)
    bad.raises = None
    turn(scheduler, lambda: len(bad.runs) == 6)
    assert not scheduler.is_server_away(bad, 0.0)


def test_each_kind_of_error_is_logged_once_until_the_job_succeeds(
    waiter: Waiter, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job()
    scheduler = Scheduler([job], waiter)
    told = list[str]()
    for kind in ("OSError", "RuntimeError", "OSError", "RuntimeError", None, "OSError"):
        job.raises = ERRORS[kind] if kind else None
        scheduler.wake(job)
        caplog.clear()
        scheduler.run_due()
        told.append("".join(type(r.exc_info[1]).__name__ for r in caplog.records if r.exc_info))
    assert told == ["OSError", "RuntimeError", "", "", "", "OSError"]


def test_one_line_says_that_the_server_is_away_and_another_that_it_refuses(
    waiter: Waiter, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [Job(), Job(), Job()]
    scheduler = Scheduler(jobs, waiter)
    for job in jobs:
        job.raises = ERRORS["ServerUnavailable"]
    turn(scheduler, lambda: all(len(job.runs) >= 2 for job in jobs))
    assert [r.getMessage() for r in caplog.records] == ["request to the server failed; retrying"]
    jobs[1].raises = ERRORS["ServerRefused"]
    turn(scheduler, lambda: len(jobs[1].runs) >= 4)
    assert [r.levelno for r in caplog.records] == [logging.ERROR] * 2


def test_a_server_is_away_when_it_has_failed_a_job_for_a_second(waiter: Waiter) -> None:
    """A single connection that was lost is no such server."""
    job = Job()
    job.raises = ERRORS["ServerUnavailable"]
    scheduler = Scheduler([job], waiter)
    scheduler.run_due()
    started = time.monotonic()
    assert not scheduler.is_server_away(job, 0.0)
    turn(scheduler, lambda: scheduler.is_server_away(job, 0.0))
    assert 0.8 < time.monotonic() - started < 3.0
    now = time.monotonic()
    assert not scheduler.is_server_away(job, now), "nothing is known since"
    turn(scheduler, lambda: scheduler.is_server_away(job, now))
    job.raises = ERRORS["OSError"]
    scheduler.wake(job)
    scheduler.run_due()
    assert not scheduler.is_server_away(job, 0.0)


def test_requests_that_fail_do_not_follow_each_other_without_a_look_at_the_rest(
    waiter: Waiter,
) -> None:
    """Each may have taken seconds; signals are seen between rounds."""
    first, second, _, third = jobs = [Job(), Job(), Job(), Job()]
    for job in (first, second, third):
        job.raises = ERRORS["ServerUnavailable"]
    scheduler = Scheduler(jobs, waiter)
    rounds = list[list[int]]()
    for _ in range(4):
        scheduler.run_due()
        rounds.append([len(job.runs) for job in jobs])
    assert rounds[:3] == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    for job in jobs:
        scheduler.wake(job)
    first.raises = second.raises = third.raises = None
    scheduler.run_due()
    assert [len(job.runs) for job in jobs] == [n + 1 for n in rounds[3]]


def test_the_wait_between_tries_is_bounded(waiter: Waiter) -> None:
    job = Job()
    job.raises = ERRORS["OSError"]
    scheduler = Scheduler([job], waiter)
    pauses = list[float]()
    for _ in range(8):
        scheduler.wake(job)
        scheduler.run_due()
        pauses.append(round(scheduler._due[0] - time.monotonic(), 1))
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(MAX_RETRY_S, abs=0.2)


def test_a_wait_that_fails_neither_spins_nor_stops_the_jobs(
    waiter: Waiter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, waits = Job(0.05), list[float]()

    def fail(timeout: float) -> None:
        waits.append(timeout)
        raise ValueError("filedescriptor out of range")

    monkeypatch.setattr(waiter, "wait", fail)
    turn(Scheduler([job], waiter), lambda: len(job.runs) == 5)
    assert len(waits) <= 10
    (record,) = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], ValueError)


def test_a_token_wakes_the_job_of_its_key(stage: Stage, waiter: Waiter) -> None:
    first, second = Job(60.0), Job(60.0)
    scheduler = Scheduler([first, second], waiter)
    scheduler.run_due()
    stage.redis.rpush(stage.keys.wake("high"), "1")
    turn(scheduler, lambda: len(first.runs) == 2)
    assert len(second.runs) == 1


def test_another_thread_can_end_a_wait(waiter: Waiter, wait_until: WaitUntil) -> None:
    scheduler = Scheduler([Job(60.0)], waiter)
    scheduler.run_due()
    thread = threading.Thread(target=scheduler.wait)
    thread.start()
    waiter.wake()
    wait_until(lambda: not thread.is_alive(), 5.0)
    thread.join()
