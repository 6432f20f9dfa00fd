"""Hosts as they are: refused forks, processes that cannot be killed, closed streams, containers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults import leaving
from tests.faults.harness import ROOT, Stage, Worker
from tests.faults.refusing import FORKS
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

STRANGER = 12345
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are kinds of Linux hosts")


# --- forks


@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM", "ENOSYS"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_fork_that_is_refused_is_tried_again_and_logged_once(
    stage: Stage, wait_until: WaitUntil, error: str, times: int
) -> None:
    refused = {"FAULTS_MORE": "tests.faults.refusing", FORKS: f"{error} {times}"}
    worker = stage.worker("-c", "2", **refused)
    ids = stage.send_many([stage.call("nap")] * 10)
    wait_until(lambda: set(ids) <= stage.ended())
    wait_until(lambda: len(worker.children()) == 2)
    (event,) = worker.events("cannot fork a child; retrying")
    assert os.strerror(getattr(errno, error)) in event["why"]
    wait_until(lambda: stage.redis.zcard(stage.keys.sessions) == 2)
    # The signal mask of the supervisor is as it was: it hears a signal.
    blocked = Path(f"/proc/{worker.pid}/status").read_text().split("SigBlk:")[1].split()[0]
    assert int(blocked, 16) == 0
    assert worker.stop() == 0
    assert not stage.check().broken


def test_children_are_forked_when_forks_are_allowed_again_and_the_others_work_meanwhile(
    stage: Stage, wait_until: WaitUntil
) -> None:
    refused = {"FAULTS_MORE": "tests.faults.refusing", FORKS: "EAGAIN 1000000"}
    worker = stage.worker("-c", "1", **refused)
    wait_until(lambda: worker.events("cannot fork a child; retrying"))
    id = stage.send("nap")
    started = time.monotonic()
    assert worker.stop() == 0, "a signal is heard while forks are refused"
    assert time.monotonic() - started < 5.0
    assert id not in stage.ended()
    assert stage.worker("-c", "1", "--burst").wait() == 0
    assert not stage.check().broken


# --- a server that is away


def test_a_worker_that_never_had_a_child_stops_at_once(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with OwnServer(tcp=True) as own, Stage(own.url, namespace, tmp_path) as stage:
        own.kill()
        worker = stage.worker("-c", "2", "--grace", "60")
        wait_until(lambda: worker.events("request to the server failed"))
        asked = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - asked < 5.0
        own.start()


def test_a_worker_whose_children_ended_idle_stops_at_once_without_a_server(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with OwnServer(tcp=True) as own, Stage(own.url, namespace, tmp_path) as stage:
        worker = stage.worker("-c", "2", "--grace", "60")
        stage.send("nap")
        wait_until(lambda: stage.is_drained() and len(worker.children()) == 2)
        own.kill()
        wait_until(lambda: worker.events("request to the server failed"))
        for child in worker.children():
            child.kill()
        asked = time.monotonic()
        assert worker.stop(20.0) == 0
        assert time.monotonic() - asked < 10.0
        own.start()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_is_heard_while_the_server_hangs(
    namespace: str, tmp_path: Path, wait_until: WaitUntil, signals: int
) -> None:
    """Each request takes until its deadline, and there are many that are due."""
    with OwnServer(tcp=True) as own, Stage(own.url, namespace, tmp_path) as stage:
        worker = stage.worker("-c", "1", "--grace", "60", TYPEDQ_ENQUEUE_DEADLINE="1.5")
        if signals == 2:
            stage.send("hold", stage.gate())
            wait_until(lambda: stage.effects("start"))
        else:
            wait_until(lambda: worker.events("worker started"))
        own.pause()
        wait_until(lambda: worker.events("request to the server failed"))
        asked = time.monotonic()
        for number in range(signals):
            worker.signal(signal.SIGTERM)
            wait_until(partial(lambda n: n or worker.events("stopping"), number))
        if signals == 1:
            for child in worker.children():
                child.kill()
        assert worker.wait() == signals - 1
        assert time.monotonic() - asked < 25.0  # the grace would be 60
        own.resume()


def test_a_hard_timeout_is_kept_while_the_server_hangs(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with OwnServer(tcp=True) as own, Stage(own.url, namespace, tmp_path) as stage:
        leaving.declare(stage.app)
        more = {"FAULTS_MORE": "tests.faults.leaving", "TYPEDQ_ENQUEUE_DEADLINE": "1.5"}
        worker = stage.worker("-c", "1", **more)
        stage.send("nap")
        wait_until(stage.is_drained)
        stage.send("overruns", "own child in a session", "0.01")
        (start,) = wait_until(lambda: stage.effects("start", "overruns"))
        own.pause()
        began = time.monotonic()
        wait_until(lambda: not psutil.pid_exists(start.pid))
        assert time.monotonic() - began < 6.0
        own.resume()
        wait_until(lambda: len(stage.dead()) == 1)
        assert worker.stop() == 0


# --- users, namespaces, file systems


def script(*lines: str) -> list[str]:
    """A command that runs what follows it after these lines, in mounts of its own."""
    return ["unshare", "--mount", "sh", "-ec", "\n".join((*lines, 'exec "$@"')), "-"]


def covered(place: str, options: str) -> list[str]:
    """Lines that mount an empty file system, and keep this Python and checkout if below it."""
    needed = {str(Path(sys.base_prefix).resolve()), sys.prefix, str(ROOT)}
    below = sorted(path for path in needed if f"{path}/".startswith(f"{place}/"))
    kept = dict(enumerate(below, 3))
    return [
        *(f"exec {number}<{path}" for number, path in kept.items()),
        f"mount -t tmpfs -o {options} none {place}",
        *(
            f"mkdir -p {path}; mount --no-canonicalize --bind /proc/self/fd/{number} {path}"
            for number, path in kept.items()
        ),
    ]


def reachable() -> list[str]:
    """Lines that let any user run this Python, where it lies below a private directory."""
    lines, tops = list[str](), set[str]()
    for needed in (Path(sys.base_prefix).resolve(), ROOT):
        closed = [p for p in (*needed.parents, needed) if not p.stat().st_mode & 0o001]
        tops |= {str(min(closed, key=lambda path: len(path.parts)))} if closed else set()
    for top in tops:
        lines += covered(top, "mode=755")
    return lines


def may(command: Sequence[str]) -> None:
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel or user does not permit it: {done.stderr.strip()[-200:]}")


AS_STRANGER = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]


@pytest.fixture
def hosted(namespace: str, tmp_path: Path, unmeasured: None) -> Iterator[Stage]:
    """A stage on a server that any user can reach, which anybody may write to.

    Nothing else, so not the data of coverage into the checkout: its workers are not measured.
    """
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and not path.stat().st_mode & 1:
            path.chmod(path.stat().st_mode | 0o711)
    with OwnServer(tcp=True) as own, Stage(own.url, namespace, tmp_path) as stage:
        leaving.declare(stage.app)
        (tmp_path / "effects").chmod(0o1777)
        yield stage


def start(stage: Stage, prefix: Sequence[str], *flags: str, **more: str) -> Worker:
    environment = stage.environment | {"FAULTS_MORE": "tests.faults.leaving"} | more
    log = stage.directory / f"worker-{len(stage.workers)}.log"
    unset = ["env", *(f"-u{name}" for name, value in environment.items() if value == "-")]
    kept = {name: value for name, value in environment.items() if value != "-"}
    stage.workers.append(Worker(flags, kept, log, [*unset, *prefix]))
    return stage.workers[-1]


def work_and_drain(stage: Stage, worker: Worker, wait_until: WaitUntil) -> psutil.Process:
    """Have it run tasks that leave orphans; return the supervisor."""
    ids = stage.send_many([stage.call(("nap", "anap")[n % 2]) for n in range(50)])
    for how in ("in its group", "in a session", "a tree", "a daemon"):
        ids.append(stage.send("leaves", how, "0.05"))
    wait_until(lambda: worker.events("worker started"))
    wait_until(lambda: set(ids) <= stage.ended())
    supervisor = supervisor_of(worker)
    wait_until(lambda: not zombies(worker), 15.0)
    return supervisor


def supervisor_of(worker: Worker) -> psutil.Process:
    """The first process below the prefix that is a worker."""
    top = psutil.Process(worker.pid)
    while top.cmdline()[1:3] != ["-m", "tests.faults.worker"]:
        (top,) = top.children()
    return top


def zombies(worker: Worker) -> list[int]:
    found = list[int]()
    for process in psutil.Process(worker.pid).children(recursive=True):
        try:
            found += [process.pid] if process.status() == psutil.STATUS_ZOMBIE else []
        except psutil.NoSuchProcess:
            continue
    return found


NOWHERE = {"XDG_RUNTIME_DIR": "-", "HOME": "-", "TMPDIR": "-"}


def test_as_pid_1_with_a_read_only_root_and_an_unknown_uid(
    hosted: Stage, wait_until: WaitUntil
) -> None:
    """As in a container that was made strict."""
    read_only = ["mount --make-rprivate /", *reachable()]
    effects = hosted.directory / "effects"
    read_only += [f"mount --bind {effects} {effects}", "mount -o remount,bind,ro /"]
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    prefix = [*script(*read_only), *inside, *AS_STRANGER]
    may(prefix)
    worker = start(hosted, prefix, "-c", "2", **NOWHERE)
    supervisor = work_and_drain(hosted, worker, wait_until)
    assert supervisor.uids().real == STRANGER
    (warning,) = worker.events("cannot keep the lock file")
    assert "XDG_RUNTIME_DIR" in warning["fix"]
    crash = hosted.send("crash_quickly", 1)
    wait_until(lambda: crash in hosted.ended())
    wait_until(hosted.is_drained)
    supervisor.terminate()
    assert worker.wait() == 0
    assert not worker.events("periodic job failed")


def test_pid_1_reaps_what_other_programs_of_its_container_leave_and_kills_none_of_it(
    hosted: Stage, wait_until: WaitUntil
) -> None:
    """An operator's shell starts a program in the background and ends."""
    prefix = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    may(prefix)
    worker = start(hosted, prefix, "-c", "1")
    supervisor = work_and_drain(hosted, worker, wait_until)
    enter = ["nsenter", f"--target={supervisor.pid}", "--pid", "--mount"]
    may(enter)
    mark = f"{50_000 + os.getpid()}.5"
    subprocess.run([*enter, "sh", "-c", f"setsid sleep {mark} >/dev/null 2>&1 &"], check=True)

    def adopted() -> list[psutil.Process]:
        return [p for p in supervisor.children() if p.name() == "sleep"]

    (program,) = wait_until(adopted)
    seen = time.monotonic()
    wait_until(lambda: time.monotonic() - seen > 1.5)  # the supervisor looks every second
    crash = hosted.send("crash_quickly", 1)
    wait_until(lambda: crash in hosted.ended())
    assert adopted() == [program]
    program.kill()
    wait_until(lambda: not psutil.pid_exists(program.pid), 5.0)
    supervisor.terminate()
    assert worker.wait() == 0


@pytest.mark.parametrize(
    ("home", "runtime_dir"),
    [
        ("-", "-"),
        ("-", "/nonexistent/run"),
        ("/", "/root"),
        ("/nonexistent", "/proc/none"),
        ("relative", "relative"),
    ],
)
def test_without_a_home_or_a_runtime_directory_of_its_own(
    hosted: Stage, wait_until: WaitUntil, home: str, runtime_dir: str
) -> None:
    prefix = [*script("mount --make-rprivate /", *reachable()), *AS_STRANGER]
    may(prefix)
    worker = start(hosted, prefix, "-c", "1", HOME=home, XDG_RUNTIME_DIR=runtime_dir, TMPDIR="-")
    supervisor = work_and_drain(hosted, worker, wait_until)
    supervisor.terminate()
    assert worker.wait() == 0
    assert "Traceback" not in worker.log.read_text()
    assert len(worker.events("cannot keep the lock file")) == (runtime_dir != "-")


def test_unusable_directory_disables_only_early_recovery(
    hosted: Stage, wait_until: WaitUntil
) -> None:
    base = hosted.directory / "run"
    base.mkdir()
    os.chown(base, STRANGER, STRANGER) if os.geteuid() == 0 else None
    prefix = [*script("mount --make-rprivate /", *reachable()), *AS_STRANGER]
    may(prefix)
    worker = start(hosted, prefix, "-c", "1", XDG_RUNTIME_DIR=str(base))
    supervisor = work_and_drain(hosted, worker, wait_until)
    (base / f"typedq-{STRANGER}").chmod(0)
    wait_until(lambda: worker.events("cannot keep the lock file"))
    crash = hosted.send("crash_quickly", 1)
    wait_until(lambda: crash in hosted.ended())
    supervisor.terminate()
    assert worker.wait() == 0
    (base / f"typedq-{STRANGER}").chmod(0o700)
    assert not worker.events("periodic job failed")


def test_forks_beyond_the_limit_of_a_user_are_tried_again(
    hosted: Stage, wait_until: WaitUntil
) -> None:
    """The real EAGAIN: a stranger who may have two processes."""
    limit = ["prlimit", "--nproc=1:1000"]
    prefix = [*script("mount --make-rprivate /", *reachable()), *AS_STRANGER, *limit]
    may(prefix)
    worker = start(hosted, prefix, "-c", "2")
    wait_until(lambda: worker.events("cannot fork a child; retrying"))
    id = hosted.send("nap")
    more = ["prlimit", f"--pid={worker.pid}", "--nproc=1000:1000"]
    subprocess.run([*AS_STRANGER, *more], check=True)
    wait_until(lambda: id in hosted.ended())
    assert worker.stop() == 0
    assert len(worker.events("cannot fork a child; retrying")) == 1
    assert not hosted.check().broken


def test_a_program_of_another_user_does_not_stop_the_supervisor(
    hosted: Stage, wait_until: WaitUntil
) -> None:
    """At the hard timeout of the task that started it; it cannot be killed."""
    shell = hosted.directory / "asroot"
    shutil.copy("/bin/bash", shell)
    shell.chmod(0o4755)
    prefix = [*script("mount --make-rprivate /", *reachable()), *AS_STRANGER]
    may(prefix)
    worker = start(hosted, prefix, "-c", "1", FAULTS_SETUID=str(shell), TYPEDQ_LEASE="3")
    mark = f"{70_000 + os.getpid()}.5"
    id = hosted.send("overruns", "as root", mark)
    seen = set[int]()

    def privileged() -> set[int]:
        for p in psutil.process_iter(["cmdline", "uids"]):
            if mark in (p.info["cmdline"] or ()) and p.info["uids"].real == 0:
                seen.add(p.pid)
        return seen

    try:
        if not wait_until(lambda: privileged() or hosted.effects("start")):
            pytest.skip("this file system ignores set-user-ID")
        wait_until(privileged)
        wait_until(lambda: worker.events("hard timeout: child killed"))
        assert worker.events("cannot be killed")
        other = hosted.send("nap")
        wait_until(lambda: other in hosted.ended())
        wait_until(lambda: id in hosted.dead(), 30.0)
        assert not worker.events("periodic job failed")
        asked = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - asked < 5.0
    finally:
        for pid in privileged():
            os.kill(pid, signal.SIGKILL)


FREEZER = "FAULTS_FREEZER"


def test_a_process_in_uninterruptible_sleep_does_not_stop_the_supervisor(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """A frozen program, at the hard timeout of the task that started it."""
    given = os.environ.get(FREEZER)
    if not given:
        pytest.skip(f"{FREEZER} names no directory of the freezer controller")
    leaving.declare(stage.app)
    group = Path(given) / f"typedq-{os.getpid()}"
    group.mkdir()
    tasks, state = group / "cgroup.procs", group / "freezer.state"
    mark = f"{60_000 + os.getpid()}.5"
    try:
        worker = stage.worker("-c", "1", FAULTS_MORE="tests.faults.leaving", TYPEDQ_LEASE="3")
        id = stage.send("overruns", "own child in a session", mark)

        def asleep() -> list[psutil.Process]:
            everybody = psutil.process_iter(["cmdline"])
            return [p for p in everybody if mark in (p.info["cmdline"] or ())]

        wait_until(asleep)
        for process in asleep():
            tasks.write_text(str(process.pid))
        state.write_text("FROZEN")
        wait_until(lambda: worker.events("cannot be killed"))
        other = stage.send("nap")
        wait_until(lambda: other in stage.ended())
        wait_until(lambda: id in stage.dead(), 30.0)
        asked = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - asked < 10.0
    finally:
        state.write_text("THAWED")
        wait_until(lambda: not tasks.read_text().split())
        group.rmdir()
    assert not worker.events("periodic job failed")
