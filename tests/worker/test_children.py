"""What the supervisor makes of its children: fates of messages, errors with one of several."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from typedq import telemetry
from typedq.broker.script import script
from typedq.broker.settlements import settle_and_fetch
from typedq.errors import ServerUnavailable
from typedq.worker import WorkerOptions, limits, processes
from typedq.worker.child_process import ChildProcess
from typedq.worker.children import ChildPool
from typedq.worker.journal import Journal, Phase, State
from typedq.worker.limits import TimeoutMonitor
from typedq.worker.locks import HostLock
from typedq.worker.processes import AdoptedZombies, Orphans, child_pids, kill_descendants

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage
    from typedq.broker.keys import Keys

A, B, C, D = (letter * 26 for letter in (b"a", b"b", b"c", b"d"))


def journal(**states: State) -> Journal:
    made = Journal(8)
    made.session = "s"
    for slot, (name, state) in enumerate(states.items()):
        made.hold([slot], [name.encode() * 26], bytes([0]))
        made.set_state(slot, state)
    return made


RUNNING, HELD, DONE, WAITING = State.RUNNING, State.HELD, State.DONE, State.WAITING


@pytest.mark.parametrize(
    ("states", "overdue", "stopped", "wanted"),
    [
        ({}, (), False, {}),
        ({"a": HELD, "b": WAITING}, (), False, {}),
        ({"a": DONE}, (), False, {A: "done"}),
        ({"a": RUNNING}, (), False, {A: "crash"}),
        ({"a": RUNNING, "b": DONE, "c": HELD}, (), False, {A: "crash", B: "done"}),
        ({"a": RUNNING, "b": RUNNING}, (), False, {A: "lost", B: "lost"}),
        (
            {"a": RUNNING, "b": RUNNING, "c": RUNNING},
            [B],
            False,
            {A: "back", B: "crash", C: "back"},
        ),
        ({"a": RUNNING, "b": RUNNING}, [A, B], False, {A: "crash", B: "crash"}),
        # It ended just before the kill: nobody else is guilty of what it was killed for.
        ({"a": RUNNING, "b": DONE}, [B], False, {A: "back", B: "done"}),
        ({"a": RUNNING}, (), True, {A: "back"}),
        ({"a": RUNNING, "b": RUNNING, "c": DONE}, (), True, {A: "back", B: "back", C: "done"}),
        ({"a": RUNNING, "b": RUNNING}, [A], True, {A: "back", B: "back"}),
    ],
)
def test_the_fate_of_each_message_of_a_dead_child(
    states: dict[str, State], overdue: list[bytes], stopped: bool, wanted: dict[bytes, str]
) -> None:
    child = ChildProcess(1, journal(**states), overdue=overdue)
    assert child.fates(list(child.journal.entries()), stopped=stopped) == wanted


# --- one child among others


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    made = [subprocess.Popen(["sleep", "100"], start_new_session=True) for _ in range(3)]
    yield made
    for process in made:
        process.kill()
        process.wait()


def busy(process: subprocess.Popen[bytes], *, deadline: float = float("inf")) -> ChildProcess:
    """A child that has been running for long, beside a message that it has not started."""
    made = journal(a=HELD, b=HELD)
    made.set_lease_deadline(float("inf"))
    made.phase = Phase.BUSY
    made.claim(0, time.monotonic() - 10.0, deadline + 10.0)
    return ChildProcess(process.pid, made)


ERRORS = [OSError(5, "I/O error"), psutil.AccessDenied(1), RuntimeError("surprise"), ValueError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_hard_timeouts_of_other_children_hold_after_an_error_with_one(
    *,
    stage: Stage,
    sleepers: list[subprocess.Popen[bytes]],
    error: Exception,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
) -> None:
    children = [busy(process, deadline=0.0) for process in sleepers]
    kill = ChildProcess.kill

    def fails(self: ChildProcess, now: float) -> bool:
        if self is children[0]:
            raise error
        return kill(self, now)

    monkeypatch.setattr(ChildProcess, "kill", fails)
    monkeypatch.setattr(telemetry.logger, "propagate", True)
    monitor = TimeoutMonitor(stage.app.broker, lambda: children, ["mid"])
    for _ in range(3):
        assert monitor.step(0.0) <= 0.2, "the others are checked as often as ever"
    (record,) = [r for r in caplog.records if "cannot check a child" in r.getMessage()]
    assert record.exc_info
    assert record.exc_info[1] is error
    assert [child.overdue for child in children] == [[A]] * 3
    wait_until(lambda: [p.poll() for p in sleepers] == [None, -9, -9])


def test_hard_timeouts_hold_while_the_server_is_unavailable(
    stage: Stage,
    sleepers: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ServerUnavailable("redis://x", "no server")

    monkeypatch.setattr(limits, "settle_and_fetch", away)
    children = [busy(sleepers[0]), busy(sleepers[1]), busy(sleepers[2], deadline=0.0)]
    monitor = TimeoutMonitor(stage.app.broker, lambda: children, ["mid"])

    def step() -> bool:
        with suppress(ServerUnavailable):
            monitor.step(0.0)
        return True

    wait_until(lambda: step() and sleepers[2].poll() == -9)
    # The others are let run on, and give back themselves what was revoked.
    wait_until(lambda: step() and all(c.journal.is_revoked(1) for c in children[:2]))
    assert not any(map(_stopped, sleepers[:2]))


def test_messages_are_released_only_from_the_session_that_held_them_when_revoked(
    stage: Stage,
    sleepers: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
) -> None:
    """A child that runs on may fetch them again under another session before the server is told."""
    child, told = busy(sleepers[0]), list[str]()
    journal, send_signal = child.journal, processes.send_signal

    def replace_session(pid: int, number: int) -> bool:
        if number == signal.SIGCONT:
            journal.session = "another"
        return send_signal(pid, number)

    def release(keys: Keys, session: str, *args: Any, **kwargs: Any) -> Any:
        told.append(session)
        return settle_and_fetch(keys, session, *args, **kwargs)

    monkeypatch.setattr(limits, "send_signal", replace_session)
    monkeypatch.setattr(limits, "settle_and_fetch", release)
    monitor = TimeoutMonitor(stage.app.broker, lambda: [child], ["mid"])
    wait_until(lambda: monitor.step(0.0) and told)
    assert journal.is_revoked(1)
    assert told == ["s"]


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def test_a_child_that_does_not_stop_is_not_waited_for(
    stage: Stage, sleepers: list[subprocess.Popen[bytes]], wait_until: WaitUntil
) -> None:
    """It is asked again and again, a millisecond each, and let run on after 50 ms."""
    child = busy(sleepers[0])
    child.pid = os.getpid() if os.getpid() == 1 else 1  # no child of ours: it never stops
    monitor = TimeoutMonitor(stage.app.broker, lambda: [child], ["mid"])
    sent = list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", lambda pid, number: sent.append(number))
        pauses, longest = list[float](), 0.0
        while signal.SIGCONT not in sent:
            before = time.monotonic()
            pauses.append(monitor.step(0.0))
            longest = max(longest, time.monotonic() - before)
    assert sent == [signal.SIGSTOP, signal.SIGCONT]
    assert longest < 0.04
    assert pauses[0] == pytest.approx(0.001)
    assert not child.journal.is_revoked(1)


def test_the_group_of_a_dead_child_is_killed_while_its_pid_is_still_taken(
    monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    """Once the status is taken, the number may be that of a stranger's group."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    child, killed = ChildProcess(pid, Journal(1)), list[str]()
    monkeypatch.setattr(
        processes, "kill_group", lambda group: killed.append(psutil.Process(group).status())
    )
    wait_until(lambda: processes.has_ended(pid))
    assert not limits._has_stopped(child)  # nor does this take it
    child.poll()
    assert killed == [psutil.STATUS_ZOMBIE]
    assert child.exit_code == 7
    child.poll()
    assert len(killed) == 1


def test_a_child_whose_status_somebody_took_counts_as_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitpid(pid, 0)
    child = ChildProcess(pid, Journal(1))
    assert not limits._has_stopped(child)
    child.poll()
    assert child.exit_code == 255


def test_a_journal_that_cannot_be_read_keeps_no_other_child_from_being_settled(
    stage: Stage, tmp_path: Path, wait_until: WaitUntil
) -> None:
    pool = ChildPool(
        stage.app, WorkerOptions(["mid"], 0).child_config(stage.app), 0, HostLock(lambda: tmp_path)
    )
    spoiled, whole = journal(a=RUNNING), journal(a=DONE)
    spoiled._memory[:32] = b"\xff" * 32  # as user code may do that writes where it should not
    whole.session = "0123456789abcdef"
    with (
        subprocess.Popen(["true"], start_new_session=True) as one,
        subprocess.Popen(["true"], start_new_session=True) as two,
    ):
        pool.children = [ChildProcess(one.pid, spoiled), ChildProcess(two.pid, whole)]
        wait_until(lambda: pool.step(0.0) > 0 and pool.is_gone)


def test_the_script_of_every_fetch_is_read_before_the_fork(stage: Stage, tmp_path: Path) -> None:
    script.cache_clear()
    config = WorkerOptions(["mid"], 0).child_config(stage.app)
    ChildPool(stage.app, config, 0, HostLock(lambda: tmp_path))
    files_read = script.cache_info().misses
    settle_and_fetch(stage.app.broker.keys, "0123456789abcdef", ["mid"])
    assert script.cache_info().misses == files_read


# --- what they leave


def test_kill_descendants_names_what_was_alive(wait_until: WaitUntil) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 50 & sleep 50 & wait"]) as shell:
        below = psutil.Process(shell.pid)
        wait_until(lambda: len(below.children()) == 2)
        pids = {process.pid for process in below.children()}
        assert set(kill_descendants(shell.pid)) == pids
        shell.wait(10)
    assert kill_descendants(shell.pid) == []


def test_only_what_appears_when_a_child_died_is_killed(wait_until: WaitUntil) -> None:
    """What is adopted at any other time is somebody else's: it is reaped when it ends."""
    kept = subprocess.Popen(["sleep", "50"])
    orphans = Orphans()
    foreign = subprocess.Popen(["sleep", "50"])
    ours = {kept.pid, foreign.pid}

    def step(*, child_died: bool = False) -> float:
        return orphans.step(0.0, child_pids() & ours, child_died=child_died)

    assert step() == 1.0
    left = subprocess.Popen(["sleep", "50"])
    ours.add(left.pid)
    step(child_died=True)
    wait_until(lambda: step() and orphans.is_done)
    assert not psutil.pid_exists(left.pid)
    assert [kept.poll(), foreign.poll()] == [None, None]
    foreign.kill()
    wait_until(lambda: step() and not psutil.pid_exists(foreign.pid))
    kept.kill()
    step()
    assert kept.wait() == -9, "its status is left to whoever started it"
    for process in (foreign, left):
        process.wait()


def test_a_process_that_is_no_subreaper_reaps_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        AdoptedZombies().reap(busy=False)
        assert process.wait() == 0
