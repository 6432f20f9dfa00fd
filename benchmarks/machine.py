"""The machine that a run used, and the load that other processes put on it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from typing import Any

import psutil

from benchmarks.contender import ROOT
from benchmarks.server import SETTINGS, binary


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
