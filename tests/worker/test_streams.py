"""Standard streams that are closed, full or gone, at the start of a worker or by a task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from typedq import TypedQ

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

APP = """
import os, sys
from typedq import Queue, TypedQ
app = TypedQ(os.environ["NAMESPACE"], queues=[Queue("mid")])

@app.task
def speak(words: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            print(words, file=stream)
        except (OSError, ValueError):
            pass
    with open("ran", "a") as file:
        file.write(words + "\\n")

@app.task
def damage(how: str) -> None:
    exec(how)
    with open("ran", "a") as file:
        file.write(how + "\\n")
"""
DAMAGE = [
    "sys.stdout = None",
    "sys.stderr = sys.stdout = None",
    "sys.stdout.close()",
    "sys.stdout.close(); sys.stderr.close()",
    "sys.stdout = object()",
    "os.close(1)",
    "os.close(1); os.close(2)",
    "sys.stdout = open('/dev/full', 'w'); print('x', flush=False)",
]
CLOSED = ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full"]


@pytest.fixture
def app(
    server: OwnServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TypedQ:
    (tmp_path / "spoken.py").write_text(APP)
    monkeypatch.setenv("NAMESPACE", namespace)
    monkeypatch.setenv("TYPEDQ_URL", server.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("spoken", None)
    import spoken  # type: ignore[import-not-found]

    made: TypedQ = spoken.app
    return made


def run(tmp_path: Path, redirect: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = f'exec "$@" {redirect}'
    words = [sys.executable, "-m", "typedq", "worker", "spoken:app", "-b", *flags]
    return subprocess.run(
        ["sh", "-c", command, "-", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def ran(tmp_path: Path) -> list[str]:
    return (tmp_path / "ran").read_text().splitlines()


@pytest.mark.parametrize("flags", [("-c", "1"), ("--solo",)], ids=" ".join)
@pytest.mark.parametrize("redirect", CLOSED)
def test_a_worker_runs_though_a_stream_is_closed(
    app: TypedQ, tmp_path: Path, redirect: str, flags: tuple[str, ...]
) -> None:
    for n in range(3):
        app.declarations.find("speak").enqueue(f"words {n}")
    done = run(tmp_path, redirect, *flags)
    assert (done.returncode, sorted(ran(tmp_path))) == (0, ["words 0", "words 1", "words 2"])
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", DAMAGE)
def test_a_child_whose_task_damaged_a_stream_ends_well(
    app: TypedQ, tmp_path: Path, how: str
) -> None:
    """Its process is replaced after each task, so that each ends with damaged streams."""
    for word in ("first", "second"):
        app.declarations.find("speak").enqueue(word)
        app.declarations.find("damage").enqueue(how)
    done = run(tmp_path, "", "-c", "1", "--max-tasks-per-child", "1")
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == ["first", how, "second", how]
    assert "child died" not in done.stderr


def test_connections_never_get_the_number_of_a_closed_stream(app: TypedQ, tmp_path: Path) -> None:
    """Else a library that prints to stderr writes into a socket or the lock file."""
    numbers = "[os.readlink(f'/proc/self/fd/{n}') for n in range(3)]"
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc here")
    app.declarations.find("damage").enqueue(f"open('streams', 'w').write(repr({numbers}))")
    assert run(tmp_path, "<&- >&- 2>&-", "-c", "1").returncode == 0
    assert (tmp_path / "streams").read_text() == repr(["/dev/null"] * 3)
