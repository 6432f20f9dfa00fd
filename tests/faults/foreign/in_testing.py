"""The table under `app.testing()`, in a process of its own: writes what ended otherwise."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import cast

from tests.faults.app import EFFECTS, build, noted
from tests.faults.foreign.app import TABLE, declare, names
from tests.faults.foreign.table import Mode, state
from typedq import Reject
from typedq.testing import TestQueue

# Nothing limits the time of a task here, and the loop is that of the test.
LEFT_OUT = {"returns_slow", "leaves_tasks", "stops_the_loop", "callback_forks", "left_task_forks"}
LEFT_OUT |= {name for name in TABLE if name.startswith("limited")}
# No worker handles the signal: if the machine is busy for a millisecond, it ends the process.
LEFT_OUT.add("timer_without_handler")


def main(mode: Mode) -> dict[str, str]:
    app = build("n", url="redis://127.0.0.1:1/0")
    declare(app)
    wrong, before = dict[str, str](), state()
    for task in names(mode):
        each = TABLE[task.rpartition(".")[0]]
        if each.name in LEFT_OUT:
            continue
        with app.testing() as outbox:
            app.declarations.find(task).enqueue()
            _run(outbox)
            outbox.advance(60)
            _run(outbox)
            letters = outbox.dead
        seen = "done"
        if letters:
            error = letters[0].error
            group = issubclass(type(error), BaseExceptionGroup) and "reject" in each.name
            seen = "rejected" if issubclass(type(error), Reject) or group else "failed"
        lines = Counter(
            line.split()[3]
            for line in noted(Path(os.environ[EFFECTS]))
            if line.endswith(f" {task}")
        )
        counts = (lines["start"], lines["end"])
        wanted = {"done": ("done", 1, 1), "retried": ("done", 2, 1)}
        if (seen, *counts) != wanted.get(each.outcome, (each.outcome, 1, 0)):
            wrong[task] = f"{seen} {counts}"
        if (now := state()) != before:
            wrong[task] = str({key: now[key] for key in now if now[key] != before[key]})
    return wrong


def _run(outbox: TestQueue) -> None:
    for _ in range(3):
        try:
            outbox.run(raise_errors=False)
        except BaseException as error:
            if not outbox.dead:
                raise
            del error


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as answer:
        answer.write(json.dumps(main(cast("Mode", sys.argv[1]))))
