"""How a worker ends: drained, interrupted, done, worn out, or never well begun."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults.harness import ROOT, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil

from typedq.broker import stats
from typedq.embedded import OwnServer


def counted(message: bytes) -> bytes:
    """Crashes, losses and attempts, as they stand in the header."""
    return message[2:10]


UNCOUNTED = b"0 00 000"


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Some programs start others with all signals blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("task", ["hold", "ahold"])
def test_the_first_signal_lets_what_runs_end_and_hands_back_the_rest(
    stage: Stage, wait_until: WaitUntil, task: str
) -> None:
    with blocked_signals():
        worker = stage.worker("-c", "1", "--async-concurrency", "1")
    stage.send_many([stage.call("nap")] * 40)
    wait_until(stage.is_drained)
    nap = stage.call("nap")  # an idle child takes the first alone
    _, first, *rest = stage.send_many([nap, stage.call(task, stage.gate()), *[nap] * 9])
    wait_until(lambda: first in stage.ids("start"))
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.events("stopping"))
    stage.open_gate()
    assert worker.wait() == 0
    waiting = stage.redis.lrange(stage.keys.ready("mid"), 0, -1)
    ready = [message[25:51].decode() for message in waiting]
    assert ready == [id for id in rest if id not in stage.ended()]  # in their old order
    assert all(counted(message) == UNCOUNTED for message in waiting)
    assert first in stage.ended()
    assert stage.redis.hlen(stage.keys.workers) == 0
    assert stage.worker("-c", "1", "--burst").wait() == 0
    assert not stage.check().broken


def test_the_second_signal_interrupts_and_hands_back_uncounted(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "2")
    ids = stage.send_many([stage.call("hold", stage.gate())] * 2)
    wait_until(lambda: len(stage.effects("start")) == 2)
    worker.signal(signal.SIGINT)
    wait_until(lambda: worker.events("stopping"))
    worker.signal(signal.SIGINT)
    assert worker.wait() == 1
    waiting = stage.redis.lrange(stage.keys.ready("mid"), 0, -1)
    assert {message[25:51].decode() for message in waiting} == set(ids)
    assert all(counted(message) == UNCOUNTED for message in waiting)
    assert not stage.leaked() - {stage.keys.ready("mid")}


def test_the_grace_bounds_a_stop(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "1", "--grace", "0.3")
    stage.send("hold", stage.gate())
    wait_until(lambda: stage.effects("start"))
    asked = time.monotonic()
    assert worker.stop() == 1
    assert 0.3 <= time.monotonic() - asked < 2.3
    assert worker.events("worker stopped")[0]["interrupted"] == 1


def test_leases_are_renewed_while_a_stop_waits(brief: Stage, wait_until: WaitUntil) -> None:
    worker = brief.worker("-c", "1")
    id = brief.send("hold", brief.gate())
    wait_until(lambda: brief.effects("start"))
    worker.signal(signal.SIGTERM)
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 2.2)
    assert id in brief.in_flight()
    brief.open_gate()
    assert worker.wait() == 0
    verdict = brief.check()
    assert not verdict.broken
    assert verdict.extra_runs == 0


@pytest.mark.parametrize("moment", range(4))
def test_a_signal_in_the_moments_of_a_start_is_not_lost(
    stage: Stage, wait_until: WaitUntil, moment: int
) -> None:
    worker = stage.worker("-c", "4")
    wait_until(lambda: worker.events("worker started"))
    wait_until(lambda: len(worker.children()) >= moment)
    assert worker.stop(5.0) == 0


def test_a_worker_ends_though_its_server_is_gone(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with OwnServer() as own, Stage(own.url, namespace, tmp_path) as stage:
        worker = stage.worker("-c", "2")
        stage.send("hold", stage.gate())
        wait_until(lambda: stage.effects("start"))
        own.kill()
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.events("stopping"))
        worker.signal(signal.SIGTERM)
        assert worker.wait(15.0) == 1
        assert len(worker.events("request to the server failed; retrying")) <= 3
        own.start()  # so that the stage can look once more


@pytest.mark.parametrize("flags", [("-c", "2", "--burst"), ("--solo", "--burst")])
def test_a_burst_ends_when_nothing_is_ready_and_nothing_runs(
    stage: Stage, flags: tuple[str, ...]
) -> None:
    calls = [stage.call(("nap", "anap")[n % 2], 0.002) for n in range(200)]
    ids = stage.send_many([*calls, stage.call("flaky", 0)])
    later = stage.send("nap", delay=3600)
    assert stage.worker(*flags).wait(30.0) == 0
    assert stage.ended() == set(ids)
    assert stage.look().queues["mid"].delayed == 1
    stage.redis.delete(stage.keys.delayed("mid"))
    stage.accepted.remove(later)
    assert not [what for what in stage.check().broken if "counts" not in what]


@pytest.mark.parametrize("flags", [("-c", "1", "--burst"), ("--solo", "--burst")])
def test_a_burst_leaves_a_paused_queue_alone(stage: Stage, flags: tuple[str, ...]) -> None:
    ids = stage.send_many([stage.call("nap", 0.001) for _ in range(5)])
    stage.ask(stats.pause(stage.keys, "mid"))
    assert stage.worker(*flags).wait(30.0) == 0
    assert not stage.ended()
    assert stage.look().queues["mid"].ready == 5
    stage.ask(stats.resume(stage.keys, "mid"))
    assert stage.worker(*flags).wait(30.0) == 0
    assert stage.ended() == set(ids)


def test_a_solo_worker_stops_in_good_order(stage: Stage, wait_until: WaitUntil) -> None:
    with blocked_signals():
        worker = stage.worker("--solo")
    ids = stage.send_many([stage.call("hold", stage.gate()), stage.call("ahold", stage.gate())])
    wait_until(lambda: len(stage.effects("start")) >= 1)
    assert len(worker.children()) == 0
    worker.signal(signal.SIGTERM)
    stage.open_gate()
    assert worker.wait() == 0
    assert stage.worker("--solo", "--burst").wait() == 0
    assert stage.ended() == set(ids)
    assert not stage.check().broken


def test_a_solo_worker_outlives_the_shell_that_started_it(
    stage: Stage, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """Its parent is not a supervisor."""
    import subprocess
    import sys

    command = f"{sys.executable} -m tests.faults.worker --solo >{tmp_path}/solo.log 2>&1 & echo $!"
    shell = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | stage.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    worker = psutil.Process(int(shell.stdout))
    try:
        id = stage.send("nap")
        wait_until(lambda: id in stage.ended())
        idle = time.monotonic()
        wait_until(lambda: time.monotonic() - idle > 1.5)  # it looks every second
        id = stage.send("nap")
        wait_until(lambda: id in stage.ended())
    finally:
        worker.terminate()
        wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert "gone" not in (tmp_path / "solo.log").read_text()


def test_a_child_is_replaced_after_its_share_of_tasks(stage: Stage) -> None:
    ids = stage.send_many([stage.call(("nap", "anap")[n % 2]) for n in range(120)])
    worker = stage.worker("-c", "2", "--max-tasks", "20", "--burst")
    assert worker.wait(30.0) == 0
    assert stage.ended() == set(ids)
    assert len({effect.pid for effect in stage.effects("start")}) >= 3
    assert not worker.events("child died")
    verdict = stage.check()
    assert not verdict.broken
    assert verdict.extra_runs == 0


@pytest.mark.parametrize("how", ["exit", "raise"])
def test_worker_whose_children_die_at_start_exits(stage: Stage, how: str) -> None:
    worker = stage.worker("-c", "2", FAULTS_BIRTH=how)
    started = time.monotonic()
    assert worker.wait(20.0) == 1
    assert time.monotonic() - started < 15.0
    if how == "raise":
        births = sum("born" in event["traceback"] for event in worker.events("child failed"))
    else:
        births = worker.log.read_text().count("born to die\n")
    assert 3 <= births <= 10
    assert worker.events("giving up: children die at start")
    assert not stage.leaked()


def test_worker_started_without_a_server_logs_it_and_waits(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with OwnServer(tcp=True) as own, Stage(own.url, namespace, tmp_path) as stage:
        own.kill()
        worker = stage.worker("-c", "1")
        (event,) = wait_until(lambda: worker.events("request to the server failed"))
        assert own.url in event["why"]
        assert "is it running" in event["why"]
        own.start()
        id = stage.send("nap")
        wait_until(lambda: id in stage.ended())
        assert worker.stop() == 0
        assert not stage.check().broken


@pytest.mark.parametrize("flags", [(), ("--solo",)], ids=["worker", "solo"])
def test_signals_until_the_very_end_do_not_change_the_exit_code(
    stage: Stage, wait_until: WaitUntil, flags: tuple[str, ...]
) -> None:
    worker = stage.worker("-c", "1", *flags)
    id = stage.send("nap")
    wait_until(lambda: id in stage.ended())

    def has_exited() -> bool:
        worker.signal(signal.SIGTERM)
        return worker.exit_code is not None

    wait_until(has_exited)
    assert worker.exit_code == 0


def test_other_threads_at_the_fork_are_named(stage: Stage) -> None:
    script = """
import ctypes, threading
from tests.faults.app import build
from typedq.telemetry import configure
from typedq.worker import WorkerOptions, Supervisor
configure("info", "json")
threading.Thread(target=threading.Event().wait, name="reporter", daemon=True).start()
libc = ctypes.CDLL(None)
libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, None)
Supervisor(build(), WorkerOptions(["mid"], 1, burst=True)).run()
"""
    import json
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | stage.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    (line,) = [line for line in done.stderr.splitlines() if "threads run at the fork" in line]
    assert json.loads(line)["names"] == ["reporter", "1 that Python did not start"]
