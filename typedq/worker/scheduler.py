"""One thread that runs periodic jobs in turn; an error of one job never stops another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from typedq.errors import ServerError
from typedq.telemetry import event
from typedq.worker.waiting import Waiter

RETRY_S = 0.3  # after an error; doubles with each, unless it is the server that fails
MAX_RETRY_S = 5.0
AWAY_S = 1.0  # a connection that was lost is no server that is away


class PeriodicJob(Protocol):
    """Work that one thread does again and again. It runs no user code and never waits for long."""

    def step(self, now: float) -> float:
        """Do what is due at `now` (monotonic); return how many seconds until the next time.

        May raise anything: the scheduler logs it and calls again later.
        """
        ...


@dataclass
class _Failure:
    """A job that has failed since it last succeeded: which errors were logged, and the next wait.

    is_server: whether the last error came from the server
    first, last: when it failed
    """

    first: float
    last: float
    logged: set[type[Exception]] = field(default_factory=set[type[Exception]])
    retry_s: float = RETRY_S
    is_server: bool = False


@final
class Scheduler:
    """Runs jobs when they are due and waits for events in between.

    jobs: the first are in the order of the waiter's keys; what arrives for a key wakes its job
    """

    def __init__(
        self,
        jobs: Sequence[PeriodicJob],
        waiter: Waiter,
        on_server_error: Callable[[], None] | None = None,
    ) -> None:
        self._jobs, self._waiter, self._on_server_error = jobs, waiter, on_server_error
        self._due = [0.0] * len(jobs)
        self._failures: dict[PeriodicJob, _Failure] = {}

    def is_server_away(self, job: PeriodicJob, since: float) -> bool:
        """Return True if the server failed a job for a second, and once more after `since`."""
        failure = self._failures.get(job)
        if failure is None or not failure.is_server:
            return False
        return failure.last >= since and failure.last - failure.first >= AWAY_S

    def wake(self, job: PeriodicJob) -> None:
        """Let a job run in the next round."""
        self._due[self._jobs.index(job)] = 0.0

    def run_due(self) -> None:
        """Run each job that is due, once, the longest overdue first.

        Return early after one that failed for the server. A request to a server that hangs takes
        seconds, and neither signals nor hard timeouts may wait for one request after another.
        """
        for place in sorted(range(len(self._jobs)), key=self._due.__getitem__):
            if self._due[place] > time.monotonic():
                return
            job = self._jobs[place]
            pause = self._run(job)
            self._due[place] = time.monotonic() + pause
            if job in self._failures and self._failures[job].is_server:
                return

    def wait(self) -> None:
        """Sleep until a job is due, a token arrives, or a signal or thread ends the wait."""
        timeout = max(0.0, min(self._due) - time.monotonic())
        try:
            woken = self._waiter.wait(timeout)
        except Exception as error:  # noqa: BLE001 - without tokens, jobs still run when due
            time.sleep(min(timeout, self._fail(_WAIT, error)))
            return
        self._failures.pop(_WAIT, None)
        if woken is not None:
            self._due[woken] = 0.0

    def _run(self, job: PeriodicJob) -> float:
        try:
            pause = job.step(time.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever fails must not stop the other jobs
            return self._fail(job, error)
        self._failures.pop(job, None)
        return pause

    def _fail(self, job: PeriodicJob, error: Exception) -> float:
        """Log an error once; return how long to wait before the next try."""
        kind, is_server, now = type(error), isinstance(error, ServerError), time.monotonic()
        failure = self._failures.setdefault(job, _Failure(now, now))
        failure.last = now
        # A server that is away fails all jobs, and one line says it; a refusal after that is news.
        known = [each.logged for each in self._failures.values()] if is_server else [failure.logged]
        is_news = not any(kind in logged for logged in known)
        failure.logged.add(kind)
        failure.is_server = is_server
        if is_server:
            if self._on_server_error:
                self._on_server_error()
            if is_news:
                event(logging.ERROR, "request to the server failed; retrying", why=str(error))
            return RETRY_S
        if is_news:
            name = type(job).__name__
            event(logging.ERROR, "periodic job failed; retrying", error=error, job=name)
        pause, failure.retry_s = failure.retry_s, min(2 * failure.retry_s, MAX_RETRY_S)
        return pause


class _Wait:
    """Stands for the wait between jobs, which may fail as they do."""

    def step(self, now: float) -> float:
        return 0.0


_WAIT = _Wait()
