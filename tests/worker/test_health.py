"""`typedq health` beside real workers: live, ready, stuck, stopping, killed, and none at all."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import WaitUntil
from tests.faults.app import MORE
from tests.faults.harness import Stage, Worker
from tests.faults.processes import ROOT
from typedq.embedded import OwnServer

COMMAND = str(Path(sys.executable).with_name("typedq"))


class Reply(NamedTuple):
    code: int
    line: str


def ask(environment: Mapping[str, str], *words: str) -> Reply:
    """Run the command; it prints one line on stdout and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TYPEDQ_")}
    runtime = {"XDG_RUNTIME_DIR": environment["XDG_RUNTIME_DIR"]}
    done = subprocess.run(
        [COMMAND, "health", *words],
        env=kept | runtime,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert not done.stderr
    assert done.stdout.count("\n") == 1
    return Reply(done.returncode, done.stdout.strip())


def starts(stage: Stage, wait_until: WaitUntil, *flags: str, **environment: str) -> Worker:
    worker = stage.worker(*flags, **environment)
    wait_until(lambda: not ask(stage.environment, "--ready", f"--pid={worker.pid}").code)
    return worker


def test_without_a_worker_it_fails_and_says_what_to_do(stage: Stage) -> None:
    for words in ([], ["--ready"]):
        code, line = ask(stage.environment, *words)
        assert code == 1
        assert "no worker of this user runs here; start `typedq worker`" in line


@pytest.mark.parametrize("flags", [("-c", "2"), ("--solo",)])
def test_a_worker_that_is_stopped_is_not_live_until_it_continues(
    stage: Stage, wait_until: WaitUntil, flags: tuple[str, ...]
) -> None:
    worker = starts(stage, wait_until, *flags)
    assert ask(stage.environment) == (0, f"live: {stage.app.settings.namespace} (pid {worker.pid})")
    worker.signal(signal.SIGSTOP)
    assert ask(stage.environment).line.endswith("its supervisor is stopped by a signal")
    worker.signal(signal.SIGCONT)
    assert ask(stage.environment).code == 0
    assert worker.stop() == 0
    assert "no worker" in ask(stage.environment).line
    assert not [*(stage.directory / f"typedq-{os.geteuid()}" / "health").iterdir()]


def test_without_a_server_a_worker_is_live_and_not_ready(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with OwnServer() as server, Stage(server.url, namespace, tmp_path, lease=9.0) as stage:
        starts(stage, wait_until, "-c", "1")
        server.kill()
        wait_until(lambda: ask(stage.environment, "--ready").code)
        assert "the server has not answered for" in ask(stage.environment, "--ready").line
        assert ask(stage.environment).code == 0
        # One that starts without a server.
        worker = stage.worker("-c", "1")
        wait_until(lambda: ask(stage.environment, f"--pid={worker.pid}").code == 0)
        code, line = ask(stage.environment, "--ready", f"--pid={worker.pid}")
        assert code == 1
        assert line.endswith("the server has not answered yet")


def test_a_worker_that_drains_is_live_and_not_ready(stage: Stage, wait_until: WaitUntil) -> None:
    worker = starts(stage, wait_until, "-c", "1")
    stage.send("hold", stage.gate())
    wait_until(lambda: stage.ids("start"))
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "it is stopping" in ask(stage.environment, "--ready").line)
    assert ask(stage.environment).code == 0
    stage.open_gate()
    assert worker.wait() == 0


def test_what_a_killed_worker_leaves_is_not_taken_for_a_worker(
    stage: Stage, wait_until: WaitUntil
) -> None:
    killed = starts(stage, wait_until, "-c", "1")
    killed.kill_group()
    code, line = ask(stage.environment)
    assert code == 1
    assert f"(pid {killed.pid}) was killed; start `typedq worker`" in line
    (left,) = (stage.directory / f"typedq-{os.geteuid()}" / "health").iterdir()
    # Another process has its pid by now: the lock counts, not the number.
    left.write_text(left.read_text().replace(f"pid={killed.pid}\n", f"pid={os.getpid()}\n"))
    assert ask(stage.environment).code == 1
    starts(stage, wait_until, "-c", "1")
    assert ask(stage.environment).code == 0
    assert not left.exists()


def test_of_several_workers_each_must_be_healthy_unless_one_is_chosen(
    stage: Stage, wait_until: WaitUntil
) -> None:
    one, two = (starts(stage, wait_until, "-c", "1") for _ in range(2))
    namespace, app = stage.app.settings.namespace, "tests.faults.app:build"
    assert ask(stage.environment).line.count("(pid ") == 2
    one.signal(signal.SIGSTOP)
    assert f"(pid {one.pid}): its supervisor is stopped" in ask(stage.environment).line
    assert ask(stage.environment, "--pid", str(one.pid)).code == 1
    assert (
        ask(stage.environment, "--pid", str(two.pid), "--namespace", namespace, "-A", app).code == 0
    )
    for words, told in (
        (["other:app"], "for app other:app"),
        (["--app=o:a"], "app o:a"),
        (["--namespace=x"], "namespace x"),
    ):
        code, line = ask(stage.environment, *words)
        assert code == 1
        assert told in line
    found: dict[str, Any] = json.loads(ask(stage.environment, "--json").line)
    assert found["ok"] is False
    assert {each["pid"]: each["live"] for each in found["workers"]} == {
        one.pid: False,
        two.pid: True,
    }


def test_a_child_that_hangs_as_it_starts_makes_its_worker_not_live(
    stage: Stage, wait_until: WaitUntil
) -> None:
    stage.environment |= {MORE: "tests.faults.hooked", "FAULTS_START": "hang"}
    stage.worker("-c", "1", TYPEDQ_START_TIMEOUT="0.5")
    wait_until(lambda: "a child has been starting for" in ask(stage.environment).line)


def test_a_directory_that_others_may_write_is_believed_by_neither_side(stage: Stage) -> None:
    folder = stage.directory / f"typedq-{os.geteuid()}" / "health"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    folder.chmod(0o777)
    code, line = ask(stage.environment)
    assert code == 1
    assert f"{folder} must be a directory of this user alone (mode 0700): remove it, or" in line
    worker = stage.worker("-c", "1")
    assert worker.wait() == 1
    assert f"{folder} must be a directory of this user alone" in worker.log.read_text()


def test_without_a_writable_directory_a_worker_runs_and_is_not_found(
    stage: Stage, wait_until: WaitUntil
) -> None:
    stage.environment["XDG_RUNTIME_DIR"] = "/proc/none"
    worker = stage.worker("-c", "1")
    wait_until(lambda: worker.events("cannot write the status file"))
    stage.send("nap")
    wait_until(stage.ended)
    assert ask(stage.environment).code == 1
    assert len(worker.events("cannot write the status file")) == 1


@pytest.mark.usefixtures("unmeasured")
def test_it_takes_milliseconds_and_imports_nothing_heavy(stage: Stage) -> None:
    code = "import sys; from typedq.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    words = [sys.executable, "-c", code, "health", "--ready"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    heavy = {"redis", "pydantic", "typer", "rich", "msgspec", "asyncio", "typedq.app"}
    assert "typedq.health" in done.stdout
    assert not heavy & set(done.stdout.split())

    def cpu_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ask(stage.environment, "--ready")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_s() for _ in range(5)) < 0.1
