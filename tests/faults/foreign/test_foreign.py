"""Foreign code in real workers: every message ends as it must, the process is as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.app import MORE
from tests.faults.foreign.app import TABLE, declare, names
from tests.faults.harness import Stage

if TYPE_CHECKING:
    from tests.faults.foreign.table import Mode
    from typedq.embedded import OwnServer


@pytest.fixture
def foreign(server: OwnServer, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(server.url, namespace, tmp_path) as stage:
        declare(stage.app)
        stage.environment[MORE] = "tests.faults.foreign.app"
        yield stage


def send(stage: Stage, tasks: Sequence[str]) -> dict[str, str]:
    """Each with a probe behind it; returns the ids of the tasks by name."""
    stage.send("probe")
    ids = dict[str, str]()
    for task in tasks:
        ids[task] = stage.send(task)
        stage.send("probe")
    return ids


def broken(stage: Stage, ids: dict[str, str]) -> dict[str, str]:
    """What did not end as the table says."""
    dead, found = stage.dead(), dict[str, str]()
    starts, ends = stage.ids("start"), stage.ids("end")
    for task, id in ids.items():
        each = TABLE[task.rpartition(".")[0]]
        kind = dead[id]["kind"] if id in dead else "done" if id in ends else "nothing"
        seen = (kind, starts.count(id), ends.count(id))
        wanted = {
            "done": ("done", 1, 1),
            "retried": ("done", 2, 1),
        }.get(each.outcome, (each.outcome, 1, 0))
        if seen != wanted:
            found[task] = f"{seen}, not {wanted}: {dead.get(id)}"
    return found


def changed(stage: Stage, tasks: Sequence[str]) -> dict[str, list[Any]]:
    """What the probe behind each task saw that the first of its process did not."""
    found, first = dict[str, list[Any]](), dict[int, dict[str, Any]]()
    probes = [each for each in stage.effects() if each.what.startswith("state:")]
    for task, probe in zip(["", *tasks], probes, strict=True):
        seen = json.loads(probe.what.removeprefix("state:"))
        before = first.setdefault(probe.pid, seen)
        if differences := [{k: (before[k], seen[k])} for k in seen if seen[k] != before[k]]:
            found[task] = differences
    return found


def drain(stage: Stage, *flags: str) -> list[dict[str, Any]]:
    for _ in range(3):
        worker = stage.worker("-c", "1", *flags)
        assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
        assert not worker.events("child died"), worker.events("child died")
        if stage.is_drained():
            break
    return [event for worker in stage.workers for event in worker.events()]


@pytest.mark.parametrize("flags", [("--burst",), ("--burst", "--solo")], ids=["worker", "solo"])
@pytest.mark.parametrize("mode", ["sync", "coroutine"])
def test_every_situation_ends_as_it_must(
    foreign: Stage, mode: Mode, flags: tuple[str, ...]
) -> None:
    tasks = names(mode)
    ids = send(foreign, tasks)
    drain(foreign, *flags)
    wrong = broken(foreign, ids)
    assert not wrong, "\n".join(f"{task}: {what}" for task, what in wrong.items())
    if mode == "sync":
        left = changed(foreign, tasks)
        assert not left, "\n".join(f"{task}: {what}" for task, what in left.items())
    assert foreign.ids("start").count(ids[tasks[0]]) == 1
