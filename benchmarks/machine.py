"""The machine that a run used, and the load that other processes put on it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.contender import ROOT
from benchmarks.server import SETTINGS, binary

_SPIN = """
import os, sys
parent = os.getppid()
os.sched_setaffinity(0, [int(sys.argv[1])])
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def awake() -> Iterator[None]:
    """Keep every processor busy at idle priority, which gives way to all other processes.

    On a virtual machine, waking a halted processor can take longer than all the rest of a message.
    Whether it has to be woken depends on where the scheduler puts a process, so that rates of the
    same code differed by a factor of ten.
    """
    spinners = [
        subprocess.Popen([sys.executable, "-c", _SPIN, str(cpu)])
        for cpu in sorted(os.sched_getaffinity(0))
    ]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def foreign_load() -> dict[str, float]:
    """Measure the load of other processes for 0.3 s: load average, CPU in %, stolen seconds."""
    before = psutil.cpu_times()
    busy = psutil.cpu_percent(interval=0.3)
    after = psutil.cpu_times()
    steal = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    return {"load": os.getloadavg()[0], "busy %": busy, "steal s": round(steal, 3)}


def machine() -> dict[str, Any]:
    """Return cores, versions, the server's settings, commit and date."""
    version = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True)
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "server": version.stdout.strip(),
        "server settings": " ".join(word or "''" for word in SETTINGS),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
