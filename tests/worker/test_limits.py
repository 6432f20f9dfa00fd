"""Time and memory limits, in real workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import WaitUntil
from tests.faults.harness import Stage
from tests.faults.limited import SERVER, SOFT_S
from tests.faults.limits import LEAK_MB, hammer, leak, prepare
from typedq import telemetry
from typedq.embedded import OwnServer
from typedq.worker.child_process import ChildProcess
from typedq.worker.journal import Journal
from typedq.worker.memory import MemoryLimit

SOFT = f"typedq.errors.SoftTimeout: it ran longer than its soft timeout of {SOFT_S:g} s"


@pytest.fixture
def limits(stage: Stage) -> Stage:
    """A stage whose app has tasks that meet their limits."""
    return prepare(stage)


# --- soft timeouts


def test_no_task_that_finished_is_reported_failed(limits: Stage) -> None:
    seen = hammer(limits, 1_500, random.Random(7))
    assert seen["wrong"] == 0
    for kind in ("hammer", "ahammer"):  # else it would prove nothing
        assert seen[f"{kind} returned"] > 20, seen
        assert seen[f"{kind} raised"] > 20, seen


SYNC: dict[str, tuple[str | None, list[str]]] = {  # task -> how it fails, what it wrote
    "in_python": (SOFT, []),
    "in_c": (SOFT, []),
    "in_finally": (SOFT, ["tried"]),
    "under_bare_except": (None, ["swallowed"]),
    "under_except_exception": (SOFT, []),
    "shielded": (SOFT, ["whole"]),
    "shielded_to_the_end": (None, []),
}
COROUTINES: dict[str, tuple[str | None, list[str]]] = {
    "waiting": (SOFT, []),
    "its_own_timeout": ("TimeoutError", []),
    "in_awaiting_finally": (SOFT, ["cleaned"]),
    "suppressing": (None, ["swallowed"]),
    "blocking": (None, []),
    "ashielded": (SOFT, ["whole"]),
    "ashielded_to_the_end": (None, []),
    "two_shields": (SOFT, ["whole", "whole"]),
}


def test_wherever_it_meets_a_task_it_ends_as_documented(limits: Stage) -> None:
    wanted = SYNC | COROUTINES
    ids = {task: limits.send(task) for task in wanted}
    assert limits.worker("--burst", "-c", "2").wait(25) == 0
    dead = limits.dead()
    for task, id in ids.items():
        error, wrote = wanted[task]
        told = [effect.what for effect in limits.effects(task=task)]
        assert (task, dead[id]["error"] if id in dead else None) == (task, error)
        assert (task, told) == (task, wrote)


def test_an_enqueue_is_not_interrupted(tmp_path: Path, wait_until: WaitUntil) -> None:
    with OwnServer() as server, Stage(server.url, "n", tmp_path) as stage:
        sync = prepare(stage).send("enqueuing")
        worker = stage.worker("-c", "1", **{SERVER: str(server.pid)})
        wait_until(lambda: sync in stage.dead() and stage.ids("end"))
        assert stage.dead()[sync]["error"] == SOFT
        assert [effect.what for effect in stage.effects(task="enqueuing")] == ["asks", "asked"]
        # A coroutine is cancelled where it waits, and the message may have been accepted.
        coroutine = stage.send("aenqueuing")
        wait_until(lambda: coroutine in stage.dead() and stage.is_drained())
        assert stage.dead()[coroutine]["error"] == SOFT
        assert [effect.what for effect in stage.effects(task="aenqueuing")] == ["asks"]
        assert worker.stop() == 0
        assert 1 <= len(stage.ids("end")) <= 2


def test_of_several_limits_the_nearest_to_the_call_holds(limits: Stage) -> None:
    limits.environment["TYPEDQ_SOFT_TIMEOUT"] = "0.05"
    by_app = limits.send("unlimited")
    by_task = limits.send("patient", 0.2)
    by_call = limits.send("patient", 20.0, soft_timeout=0.15)
    assert limits.worker("--burst", "-c", "1").wait() == 0
    dead = limits.dead()
    assert dead.keys() == {by_app, by_call}
    assert dead[by_app]["error"].endswith("soft timeout of 0.05 s")
    assert dead[by_call]["error"].endswith("soft timeout of 0.15 s")
    assert limits.ids("end") == [by_task]


def test_retry_may_name_the_soft_timeout(limits: Stage, wait_until: WaitUntil) -> None:
    id = limits.send("better_later")
    worker = limits.worker("-c", "1")
    wait_until(lambda: id in limits.ended())
    told = [(effect.attempt, effect.what) for effect in limits.effects(task="better_later")]
    assert told == [(1, "start"), (2, "start"), (2, "end")]
    assert worker.stop() == 0
    assert not limits.dead()


# --- hard timeouts


def test_beyond_its_hard_timeout_nothing_of_a_task_is_left(
    limits: Stage, wait_until: WaitUntil
) -> None:
    mark = f"{98_765 + os.getpid()}.25"
    neighbours = [limits.send("ahold", limits.gate()) for _ in range(3)]
    worker = limits.worker("-c", "1")
    wait_until(lambda: set(limits.ids("start")) == set(neighbours))
    id = limits.send("begets", mark)
    wait_until(lambda: worker.events("hard timeout: child killed"))
    limits.open_gate()
    wait_until(lambda: id in limits.dead() and limits.is_drained(), 20)
    everybody = psutil.process_iter(["cmdline"])
    assert not [p.pid for p in everybody if mark in (p.info["cmdline"] or ())]
    assert limits.dead()[id]["kind"] == "hard_timeout"
    assert limits.ids("start").count(id) == 3
    assert set(neighbours) <= limits.ended()
    stats = limits.look().stats
    assert (stats["crashed"], stats.get("lost", 0)) == (3, 0), "the culprit is known"
    assert worker.stop() == 0
    assert limits.check(buried=1).broken == ()


# --- memory


def test_a_child_that_leaks_is_recycled_between_tasks(limits: Stage) -> None:
    seen = leak(limits, 300, random.Random(7))
    assert seen["wrong"] == 0
    assert seen["recycled"] >= 2
    assert LEAK_MB - 5 < seen["most MB"] <= LEAK_MB + 3


GROWING = """
import sys
kept = []
for line in sys.stdin:
    kept.append(bytearray(b"x" * (int(line) << 20)))
    print(flush=True)
"""


def test_memory_used_by_other_processes_recycles_no_child_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry.logger, "propagate", True)
    with subprocess.Popen(
        [sys.executable, "-c", GROWING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin
        assert child.stdout

        def grow(megabytes: int) -> None:
            print(megabytes, file=child.stdin, flush=True)
            assert child.stdout
            child.stdout.readline()

        grow(0)
        member = ChildProcess(child.pid, Journal(1))
        role = MemoryLimit(lambda: [member], 0.001)
        for now in range(3):
            role.step(float(now))
        (record,) = caplog.records
        assert (
            record.getMessage() == "memory limit exceeded, but no child has grown enough to recycle"
        )
        assert child.poll() is None
        grow(64)
        role.step(3.0)
        assert child.wait(10) == -signal.SIGTERM
        assert (
            caplog.records[-1].getMessage() == "memory limit exceeded; recycling the largest child"
        )
    assert len(caplog.records) == 2
