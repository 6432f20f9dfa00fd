"""Supervisors that die or stand still: who may take over their messages, and when."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil

from tests.faults.harness import Stage, lives
from typedq.worker.locks import HostLock
from typedq.worker.periodic import Janitor
from typedq.worker.supervisor import WorkerOptions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil
    from typedq.embedded import OwnServer


def test_children_end_with_their_supervisor_and_another_of_the_host_takes_over_at_once(
    stage: Stage, wait_until: WaitUntil
) -> None:
    first = stage.worker("-c", "2")
    ids = stage.send_many([stage.call("hold", stage.gate())] * 2)
    wait_until(lambda: len(stage.effects("start")) == 2)
    children = first.children()
    first.kill()
    wait_until(lambda: not any(map(lives, children)), 1.0)
    second = stage.worker("-c", "2")
    wait_until(lambda: second.events("worker started"))  # the start of Python may take longer
    started = time.monotonic()
    wait_until(lambda: len(stage.effects("start")) == 4)
    assert time.monotonic() - started < 5.0  # B1 is 2 s; the lease is 30 s
    assert all(message[4:6] == b"01" for message in stage.in_flight().values())
    stage.open_gate()
    wait_until(stage.is_drained)
    assert second.stop() == 0
    assert stage.ended() == set(ids)
    verdict = stage.check()
    assert not verdict.broken


def test_a_child_born_a_moment_ago_is_known_to_the_other_supervisor(
    stage: Stage, wait_until: WaitUntil
) -> None:
    first = stage.worker("-c", "1")
    id = stage.send("hold", stage.gate())
    wait_until(lambda: stage.effects("start"))
    first.children()[0].kill()
    wait_until(lambda: len(stage.effects("start")) == 2)
    first.kill_group()
    second = stage.worker("-c", "1")
    wait_until(lambda: second.events("worker started"))  # the start of Python may take longer
    started = time.monotonic()
    wait_until(lambda: len(stage.effects("start")) == 3)
    assert time.monotonic() - started < 5.0
    stage.open_gate()
    wait_until(lambda: id in stage.ended())
    assert second.stop() == 0
    assert not stage.check().broken


def test_worker_on_another_host_recovers_after_the_lease_ends(
    brief: Stage, wait_until: WaitUntil, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = brief.worker("-c", "2", XDG_RUNTIME_DIR=str(elsewhere))
    wait_until(lambda: second.events("worker started"))
    first = brief.worker("-c", "1")
    # Two at most run there already: of three, one is the first worker's.
    ids = brief.send_many([brief.call("hold", brief.gate())] * 3)
    wait_until(lambda: len(brief.effects("start")) == 3)
    killed = time.monotonic()
    first.kill_group()
    brief.open_gate()
    wait_until(lambda: brief.ended() == set(ids))
    assert 0.5 < time.monotonic() - killed < 6.0  # the lease, and a tick
    wait_until(brief.is_drained)
    assert second.stop() == 0
    verdict = brief.check()
    assert not verdict.broken
    assert verdict.extra_runs == verdict.starts_without_end == 1


def test_supervisor_stopped_for_three_leases_continues(
    brief: Stage, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """Others take the work; its own children start nothing more, and settle nothing late."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    first = brief.worker("-c", "1")
    held = brief.send("hold", brief.gate())
    (start,) = wait_until(lambda: brief.effects("start"))
    first.signal(signal.SIGSTOP)
    stopped = time.time()
    second = brief.worker("-c", "1", XDG_RUNTIME_DIR=str(elsewhere))
    wait_until(lambda: len(brief.effects("start")) == 2)
    others = [brief.send("nap") for _ in range(5)]
    brief.open_gate()
    wait_until(lambda: {held, *others} <= brief.ended() and time.time() - stopped > 3.0)
    late = [e for e in brief.effects("start") if e.pid == start.pid and e.at > stopped]
    assert not late
    first.signal(signal.SIGCONT)
    again = brief.send("nap", queue="high")
    wait_until(lambda: again in brief.ended())
    wait_until(brief.is_drained)
    assert [first.stop(), second.stop()] == [0, 0]
    verdict = brief.check()
    assert verdict.extra_runs == 1  # it could not know, and ended what it had begun
    assert (verdict.lost, verdict.buried) == (0, 0)
    assert brief.look().stats["done"] == 7  # one of the two ends was refused
    assert not brief.leaked()


def test_a_child_without_a_lease_takes_nothing_from_others(
    server: OwnServer, namespace: str, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """It used to fetch what it was not allowed to start, a lease long, again and again."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lease_s = 3.0  # longer than thirty short tasks take on a machine that is busy
    with Stage(server.url, namespace, tmp_path, lease=lease_s) as stage:
        first = stage.worker("-c", "1")
        stage.send("nap")
        wait_until(stage.ended)
        own = stage.redis.zrange(stage.keys.sessions, 0, -1)
        first.signal(signal.SIGSTOP)
        second = stage.worker("-c", "1", XDG_RUNTIME_DIR=str(elsewhere))
        wait_until(
            lambda: (
                second.events("recovered the session")
                or not stage.redis.zscore(stage.keys.sessions, own[0])
            )
        )
        ids = stage.send_many([stage.call("nap")] * 30)
        started = time.monotonic()
        wait_until(lambda: set(ids) <= stage.ended())
        assert time.monotonic() - started < lease_s
        assert stage.look().stats.get("lost", 0) == 0
        first.signal(signal.SIGCONT)
        assert [first.stop(), second.stop()] == [0, 0]
        assert not stage.check().broken


def test_stopped_child_keeps_its_lease(brief: Stage, wait_until: WaitUntil) -> None:
    worker = brief.worker("-c", "2")
    id = brief.send("hold", brief.gate())
    (start,) = wait_until(lambda: brief.effects("start"))
    psutil.Process(start.pid).suspend()
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 3.2)
    assert id in brief.in_flight()
    assert brief.ids("start") == [id]
    psutil.Process(start.pid).resume()
    brief.open_gate()
    wait_until(brief.is_drained)
    assert worker.stop() == 0
    verdict = brief.check()
    assert not verdict.broken
    assert verdict.extra_runs == 0


def test_a_lock_is_free_when_its_group_is_gone(tmp_path: Path) -> None:
    first, second = (HostLock(lambda: tmp_path / "locks") for _ in range(2))
    first.record(["s1", "s2"], ["high", "low"])
    assert list(second.dead_groups()) == []
    first.record(["s2"], ["high", "low"])  # shorter than before
    path = first._path
    first._path = tmp_path / "another"
    first.release()
    assert list(second.dead_groups()) == [(["s2"], ["high", "low"])]
    assert not path.exists()
    assert list(second.dead_groups()) == []
    second.release()
    assert not (tmp_path / "locks").exists()


def test_an_orphan_stays_until_its_sessions_were_ended(tmp_path: Path) -> None:
    first, second = (HostLock(lambda: tmp_path / "locks") for _ in range(2))
    first.record(["s1"], ["mid"])
    first._path = tmp_path / "another"
    first.release()
    for _ in second.dead_groups():
        break  # as when the server does not answer
    assert list(second.dead_groups()) == [(["s1"], ["mid"])]
    assert list(second.dead_groups()) == []
    second.release()


def test_a_lock_can_be_made_while_others_leave(tmp_path: Path) -> None:
    """The last to leave takes the folder along."""
    folder, over = tmp_path / "locks", threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            HostLock(lambda: folder).release()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            lock = HostLock(lambda: folder)
            assert lock._path.exists()
            list(lock.dead_groups())
            assert lock._path.exists()
            lock.release()
    finally:
        over.set()
        thread.join()


def test_reports_of_workers_that_died_long_ago_go_whatever_they_hold(stage: Stage) -> None:
    nested, now_ms = b'{"a":' + b"[" * 100_000, round(time.time() * 1000)
    reports = {"old": b'{"seen_ms":1}', "strange": nested, "new": b'{"seen_ms":%d}' % now_ms}
    stage.redis.hset(stage.keys.workers, mapping=reports)
    Janitor(stage.app, WorkerOptions(["mid"], 1).child_config(stage.app)).step(0.0)
    assert stage.redis.hkeys(stage.keys.workers) == [b"new"]
