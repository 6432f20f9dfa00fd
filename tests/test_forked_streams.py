"""Forks made while a thread writes to stderr: what the forked process writes must not wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = """
import logging, os, select, signal, sys, threading
from typedq.process import end_if_copy, own_process
from typedq.telemetry import configure, event

own_process()
sys.stderr = open(2, "w", buffering=1, closefd=False)  # Python knows only the first one at a fork
configure("info", "text")
threading.Thread(target=lambda: {write}, daemon=True).start()
full = select.poll()
full.register(2, select.POLLOUT)
while full.poll(0):  # until the pipe is full: then the thread is in the middle of its write
    pass
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    {then}
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.stdout.flush()
os._exit(0)
"""
LOGS = "event(logging.INFO, 'x' * 1_000_000)"
PRINTS = "print('x' * 1_000_000, file=sys.stderr)"


@pytest.mark.parametrize(
    ("write", "then", "code"),
    [
        (LOGS, "print('in the copy', file=sys.stderr, flush=True)", 7),
        (LOGS, "sys.stderr.flush()", 7),
        (LOGS, "event(logging.ERROR, 'in the copy')", 7),
        (LOGS, "end_if_copy(ValueError('in the copy'))", 1),
        (PRINTS, "event(logging.ERROR, 'in the copy')", 7),
        (PRINTS, "end_if_copy(ValueError('in the copy'))", 1),
        (PRINTS, "end_if_copy(SystemExit(3))", 3),
    ],
)
def test_a_process_forked_while_a_thread_writes_to_stderr_can_write(
    write: str, then: str, code: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BEFORE.format(write=write, then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout  # and nobody reads stderr
        assert process.stdout.read().decode().strip() == str(code)
