"""Count the calls inside the typedq package for one message: `python -m benchmarks.call_path`.

The counts are of one warm enqueue and of one message of a warm worker: Python calls, distinct
files, and moves, which are calls whose file differs from that of the call before. They say how far
somebody who reads the code has to follow a message. Other packages are not counted.
"""

from __future__ import annotations

import importlib
import inspect
import os
import runpy
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any, NamedTuple

import typedq
from benchmarks.runs import DIRECTORY
from benchmarks.server import Server

WARM_UP, MESSAGES = 50, 150
TASK = "noop"
APP = "benchmarks.contenders.typedq_"  # it and the command below are all that is known of typedq
WORKER = ("typedq", "worker", f"{APP}:app", "--solo", "--burst", "--no-cron", "-l", "warning")
GOALS = {"enqueue": {"files": 9}, "worker, one message": {"files": 12, "moves": 25}}


class CallPath(NamedTuple):
    """The files of the package whose functions are called for one message, in that order."""

    files: Sequence[str]

    @property
    def counts(self) -> dict[str, int]:
        moves = sum(one != other for one, other in zip(self.files, self.files[1:], strict=False))
        return {"calls": len(self.files), "files": len(set(self.files)), "moves": moves}


class Recorder:
    """Records calls of functions below `root`, split where a function named `task` is called."""

    def __init__(self, root: Path, task: str) -> None:
        self._root, self._task = f"{root}{os.sep}", task
        self._names: dict[CodeType, str] = {}
        self._path: list[str] = []
        self.paths: list[CallPath] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Serve as the argument of `sys.setprofile`."""
        if event != "call":
            return
        code = frame.f_code
        name = self._names.get(code)
        if name is None:
            within = code.co_filename.startswith(self._root)
            name = code.co_filename.removeprefix(self._root) if within else ""
            self._names[code] = name
        if name:
            self._path.append(name)
        elif code.co_name == self._task:
            self.cut()

    def cut(self) -> None:
        """End the path of one message, and begin that of the next."""
        self.paths.append(CallPath(self._path))
        self._path = []


def typical(paths: Sequence[CallPath]) -> CallPath:
    """Return the median by moves, then calls."""

    def by_moves(path: CallPath) -> tuple[int, int]:
        return path.counts["moves"], path.counts["calls"]

    return sorted(paths, key=by_moves)[len(paths) // 2]


def record_enqueue(root: Path) -> CallPath:
    """Return the path of one enqueue by a producer that is connected."""
    module: Any = sys.modules[APP]
    recorder = Recorder(root, TASK)
    for number in range(WARM_UP + MESSAGES):
        if number == WARM_UP:
            sys.setprofile(recorder)
        module.enqueue(TASK)
        if number >= WARM_UP:
            recorder.cut()
    sys.setprofile(None)
    return typical(recorder.paths)


def record_worker(root: Path) -> CallPath:
    """Return the path from one task's call to the next, in a worker that runs in this thread.

    Its process holds one message at a time, so that each has a fetch and a settlement of its own.
    """
    module: Any = sys.modules[APP]
    module.enqueue_many(TASK, WARM_UP + MESSAGES)
    recorder = Recorder(root, TASK)
    sys.argv = [*WORKER]
    sys.setprofile(recorder)
    try:
        with suppress(SystemExit):
            runpy.run_module("typedq", run_name="__main__", alter_sys=True)
    finally:
        sys.setprofile(None)
    if len(recorder.paths) < WARM_UP + MESSAGES:
        raise RuntimeError(f"{len(recorder.paths)} of {WARM_UP + MESSAGES} tasks ran")
    return typical(recorder.paths[WARM_UP : WARM_UP + MESSAGES])


def table(paths: dict[str, CallPath]) -> str:
    """Return the counts beside their goals, then the calls in each file."""
    lines = [f"{'':22}{'calls':>6}{'files':>6}{'moves':>6}  goal"]
    for name, path in paths.items():
        counts = path.counts
        goals = [
            f"{what} <= {goal}: {'met' if counts[what] <= goal else 'missed'}"
            for what, goal in GOALS[name].items()
        ]
        numbers = "".join(f"{counts[what]:6}" for what in ("calls", "files", "moves"))
        lines.append(f"{name:22}{numbers}  {', '.join(goals)}")
    for name, path in paths.items():
        lines.append(f"\n{name}: calls in each file, in the order of the first")
        lines += [f"{count:6}  {file}" for file, count in Counter(path.files).items()]
    return "\n".join(lines)


def main() -> None:
    with Server() as server, TemporaryDirectory(prefix="bench-") as directory:
        places = {"XDG_RUNTIME_DIR": directory, DIRECTORY: directory}
        os.environ |= places | {"BENCH_URL": server.url}
        importlib.import_module(APP)  # not before: it reads the environment
        root = Path(inspect.getfile(typedq)).parent
        paths = {"enqueue": record_enqueue(root)}
        server.client.flushall()
        paths["worker, one message"] = record_worker(root)
    print(table(paths))


if __name__ == "__main__":
    main()
