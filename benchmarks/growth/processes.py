"""The time that a command takes from start to exit."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.contender import ROOT


class Took(NamedTuple):
    """Wall-clock and CPU seconds; the latter are steadier on a busy machine."""

    wall: float
    cpu: float


def took(words: Sequence[str], environment: Mapping[str, str], cwd: str = str(ROOT)) -> Took:
    """Run a command until it exits. Raises RuntimeError if the exit status is not 0."""
    started = time.monotonic()
    process = subprocess.Popen(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {said.decode()[-500:]}")
    return Took(wall, usage.ru_utime + usage.ru_stime)


def together(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Took]:
    """Return the median of each command; they alternate, so that all share the noise."""
    found: dict[str, list[Took]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, words in commands.items():
            found[name].append(took(words, os.environ))
    return {
        name: Took(*map(statistics.median, zip(*each, strict=True))) for name, each in found.items()
    }


def imported(module: str, most: int = 12) -> list[tuple[str, float]]:
    """Return the imports that take the longest by themselves, in ms (`-X importtime`)."""
    words = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    found = list[tuple[str, float]]()
    for line in said.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            found.append((name.strip(), int(own) / 1e3))
    return sorted(found, key=lambda each: -each[1])[:most]
