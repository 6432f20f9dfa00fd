"""A full disk under the server's append-only file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.harness import pause, wait_until
from tests.faults.scene import Scene, scenario
from typedq.errors import ServerError, ServerRefused


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[bool]:
    """Mount a file system of that size. Yield False if this user may not mount one."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    with suppress(FileNotFoundError):
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            try:
                yield True
            finally:
                subprocess.run(["umount", "-l", str(directory)], check=True)
            return
    yield False


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


@scenario(20, "the disk is full under the AOF", "enqueue: clear error; continues when freed")
def disk_full(scene: Scene) -> None:
    folder, ballast = scene.directory / "disk", scene.directory / "disk" / "ballast"
    if not scene.enter(small_disk(folder, "8m")):
        scene.skipped = "needs the right to mount a file system"
        return
    stage = scene.stage(scene.server(directory=folder).url)
    worker, told = stage.worker("-c", "2"), list[str]()

    def is_refused() -> bool:
        try:
            stage.send_many(scene.calls(stage, 100, 0.002))
        except ServerRefused as error:
            told.append(str(error))
        return bool(told)

    def is_accepted() -> bool:
        with suppress(ServerError):
            return bool(stage.send("nap"))
        return False

    for _ in range(max(1, round(scene.seconds / 5))):
        told.clear()
        with scene.producing(stage):
            pause(scene.dice.uniform(0.2, 0.5))
        fill(ballast)
        wait_until(is_refused, 20.0)
        scene.note("refused", error=told[0])
        scene.expect("MISCONF" in told[0] and "No space left" in told[0], f"not clear: {told[0]}")
        pause(scene.dice.uniform(0.5, 1.5))
        ballast.unlink()
        since = scene.note("disk has room")
        wait_until(is_accepted, 20.0)
        scene.probe(stage, "B1 disk has room again", since, 2.0)
    scene.expect(not worker.events("child died"), "a child died")
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
