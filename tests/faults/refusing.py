"""A machine that refuses: what a worker asks of it fails, as often as the environment says."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import Any

import psutil

from typedq import TypedQ

FORKS = "FAULTS_FORKS_REFUSED"  # such as "EAGAIN 3"
JOB = "FAULTS_JOB_FAILS"  # such as "periodic.Ticker OSError 3"
ERRORS: dict[str, Exception] = {
    "OSError": OSError(errno.EIO, "Input/output error"),
    "MemoryError": MemoryError(),
    "AccessDenied": psutil.AccessDenied(1),
    "NoSuchProcess": psutil.NoSuchProcess(1),
    "RuntimeError": RuntimeError("surprise"),
}


def declare(app: TypedQ) -> None:
    """Put what fails first in the place of the real thing."""
    if forks := os.environ.get(FORKS):
        _refuse_forks(*forks.split())
    if job := os.environ.get(JOB):
        _fail_job(*job.split())


def _refuse_forks(code: str, times: str) -> None:
    left, fork, supervisor = [int(times)], os.fork, os.getpid()

    def refuse() -> int:
        if os.getpid() == supervisor and left[0]:
            left[0] -= 1
            number = getattr(errno, code)
            raise OSError(number, os.strerror(number))
        return fork()

    os.fork = refuse


def _fail_job(name: str, error: str, times: str) -> None:
    module, _, job = name.partition(".")
    kind: Any = getattr(import_module(f"typedq.worker.{module}"), job)
    left, step = [int(times)], kind.step

    def fail(self: object, now: float) -> Any:
        if left[0]:
            left[0] -= 1
            raise ERRORS[error]
        return step(self, now)

    kind.step = fail
