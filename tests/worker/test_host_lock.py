"""Directories and disks that fail under a running worker: only early recovery is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from typedq import runtime, telemetry
from typedq.worker.locks import HostLock

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

CANNOT = "cannot keep the lock file"


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.logger, "propagate", True)


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


def replace_by_dangling_link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / "nowhere")


def remove_file(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


BROKEN: dict[str, Callable[[Path], None]] = {
    "removed": remove,
    "file removed": remove_file,
    "a file": replace_by_file,
    "a dangling link": replace_by_dangling_link,
}
MENDED_BY_ITSELF = {"removed", "file removed"}


@pytest.mark.parametrize("how", BROKEN)
def test_a_lock_whose_directory_was_broken_is_kept_again_when_it_can_be(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "locks"
    lock = HostLock(lambda: folder)
    lock.record(["old"], ["mid"])
    BROKEN[how](folder)
    for _ in range(3):
        lock.record(["old", "new"], ["mid"])
        assert list(lock.dead_groups()) == []
    # A child of before holds no lock that others can see: it is not listed.
    listed = ["mid", "new"]
    if how not in MENDED_BY_ITSELF:
        (record,) = caplog.records
        assert record.getMessage().startswith(CANNOT)
        folder.unlink()
        lock.record(["old", "new", "newer"], ["mid"])
        listed = ["mid", "newer"]
    (text,) = (path.read_text() for path in folder.iterdir())
    assert text.split("\n") == listed
    lock.release()
    assert not folder.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB and eight files, or a skip where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=64k,nr_inodes=8,mode=700",
        "typedq-test",
        str(place),
    ]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"may not mount a tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    path = disk / "full"
    with suppress(OSError):
        path.write_bytes(b"x" * (1 << 20))
    return path


def test_full_disk_loses_only_the_list_of_sessions(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_disk / "locks"
    lock = HostLock(lambda: folder)
    lock.record(["a"], ["mid"])
    full = fill(small_disk)
    many = [f"{n:016x}" for n in range(1_000)]  # more than the page that the file has
    for _ in range(3):
        lock.record(many, ["mid"])
    (record,) = caplog.records
    assert record.getMessage().startswith(CANNOT)
    full.unlink()
    lock.record(many, ["mid"])
    (text,) = (path.read_text() for path in folder.iterdir())
    assert text.split("\n") == ["mid", *many]
    lock.release()


@pytest.mark.parametrize("where", ["/proc/typedq-test", "/dev/null/typedq-test", "full"])
def test_without_any_directory_a_lock_warns_once(
    where: str, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    if where == "full":
        disk: Path = request.getfixturevalue("small_disk")
        with suppress(OSError):
            for number in range(8):
                (disk / f"{number}").touch()
        folder = disk / "locks"
    else:
        folder = Path(where)
    lock = HostLock(lambda: runtime.private(folder, "…"))
    for _ in range(3):
        lock.record(["a"], ["mid"])
        assert list(lock.dead_groups()) == []
    lock.release()
    (record,) = caplog.records
    assert record.getMessage().startswith(CANNOT)


@pytest.mark.parametrize("how", BROKEN)
def test_a_worker_outlives_the_loss_of_its_runtime_directory(
    stage: Stage, wait_until: WaitUntil, tmp_path: Path, how: str
) -> None:
    base = tmp_path / "run"
    base.mkdir(mode=0o700)
    worker = stage.worker("-c", "2", XDG_RUNTIME_DIR=str(base))
    held = stage.send("hold", stage.gate())
    (start,) = wait_until(lambda: stage.effects("start"))
    (folder,) = (base / f"typedq-{os.geteuid()}").glob("workers-*")
    BROKEN[how](folder)
    if how not in MENDED_BY_ITSELF:
        wait_until(lambda: worker.events(CANNOT))
    # A child that dies is replaced, and its message runs again; the other ran on.
    crash = stage.send("crash_quickly", 1)
    wait_until(lambda: crash in stage.ended())
    stage.open_gate()
    wait_until(stage.is_drained)
    assert held in stage.ended()
    assert {e.pid for e in stage.effects() if e.id == held} == {start.pid}
    assert worker.stop() == 0
    assert len(worker.events(CANNOT)) <= 1
    assert not worker.events("periodic job failed")
    assert not stage.check().broken
