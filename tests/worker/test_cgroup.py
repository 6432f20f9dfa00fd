"""What this process may use, and whom the kernel killed, by the files of any cgroup hierarchy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from typedq import telemetry
from typedq.worker import WorkerOptions, children
from typedq.worker.cgroup import oom_kills, used_percent
from typedq.worker.children import ChildPool, ChildProcess
from typedq.worker.journal import Journal
from typedq.worker.locks import HostLock

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

MIB = 1 << 20
NO_LIMIT = str((1 << 63) - 4096)  # as version 1 says it
V1, V2 = "sys/fs/cgroup/memory/", "sys/fs/cgroup/"
LIMIT = {V1: "memory.limit_in_bytes", V2: "memory.max"}
USE = {V1: "memory.usage_in_bytes", V2: "memory.current"}
CACHE = {V1: "total_inactive_file", V2: "inactive_file"}
KILLS = {V1: "memory.oom_control", V2: "memory.events"}
OWN = {V1: "5:cpu,cpuacct:/else\n4:memory:{}\n0::/\n", V2: "1:name=systemd:/else\n0::{}\n"}


def tree(root: Path, own: str, files: Mapping[str, object]) -> Path:
    """A root directory with these files, in which the process's group has this line."""
    for name, text in {"proc/self/cgroup": own.strip(), **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize("mount", [V1, V2])
@pytest.mark.parametrize(
    ("own", "groups", "wanted"),
    [  # group -> its limit and its use in MiB
        ("/", {"": (100, 25)}, 25.0),
        ("/a/b", {"a/b": (100, 25)}, 25.0),
        ("/a/b", {"": (1000, 90), "a": (400, 80), "a/b": (100, 25)}, 25.0),
        ("/a/b", {"": (1000, 90), "a": (100, 80), "a/b": (400, 25)}, 80.0),
        ("/a/b", {"": (100, 90), "a": (400, 80), "a/b": ("max", 25)}, 90.0),
        ("/a/b", {"": ("max", 90), "a": (100, 80), "a/b": ("max", 25)}, 80.0),
        ("/a/b", {"a/b/c": (10, 10), "other": (10, 10), "a/b": (100, 25)}, 25.0),
        ("/docker/0123", {"": (100, 25)}, 25.0),  # the container sees only its own group
        ("/../c", {"": (100, 25)}, 25.0),  # it was moved out of its namespace
        ("/a", {"a": (100, None)}, None),
        ("/a", {"a": (None, 25)}, None),
        ("/a", {"a": ("max", 25)}, None),
        ("/a", {"a": (NO_LIMIT, 25)}, None),
        ("/a", {"a": ("", "")}, None),
        ("/a", {}, None),
    ],
)
def test_the_percentage_is_of_the_smallest_limit_of_all_ancestors(
    mount: str,
    own: str,
    groups: dict[str, tuple[int | str | None, int | str | None]],
    wanted: float | None,
    tmp_path: Path,
) -> None:
    files = {
        f"{mount}{group}/{name}": number * MIB if isinstance(number, int) else number
        for group, numbers in groups.items()
        for name, number in zip((LIMIT[mount], USE[mount]), numbers, strict=True)
        if number is not None
    }
    used = used_percent(tree(tmp_path, OWN[mount].format(own), files))
    if wanted is not None:
        assert used == wanted
    else:
        assert abs(used - psutil.virtual_memory().percent) < 10


@pytest.mark.parametrize("mount", [V1, V2])
def test_what_the_kernel_drops_before_it_kills_is_not_in_use(mount: str, tmp_path: Path) -> None:
    a = f"{mount}a/"
    files = {a + LIMIT[mount]: 1000, a + USE[mount]: 990}
    stat = f"cache 900\n{CACHE[mount]} 800\nactive_file 100\nx{CACHE[mount]} 7"
    root = tree(tmp_path, OWN[mount].format("/a"), {**files, a + "memory.stat": stat})
    assert used_percent(root) == 19.0


def test_a_limit_beyond_the_memory_of_the_host_is_none(tmp_path: Path) -> None:
    host = psutil.virtual_memory()
    files = {V2 + "a/memory.max": host.total, V2 + "a/memory.current": host.total}
    assert used_percent(tree(tmp_path, "0::/a", files)) < 99.0


def test_where_the_kernel_tells_nothing_the_host_is_asked(tmp_path: Path) -> None:
    assert abs(used_percent(tmp_path) - psutil.virtual_memory().percent) < 10
    assert oom_kills(tmp_path) == 0


def test_on_this_machine_it_is_a_percentage() -> None:
    assert 0.0 < used_percent() <= 100.0
    assert oom_kills() >= 0


@pytest.mark.parametrize("mount", [V1, V2])
def test_kills_are_counted_in_the_own_group_else_above_it_else_on_the_host(
    mount: str, tmp_path: Path
) -> None:
    root = tree(tmp_path, OWN[mount].format("/a/b"), {"proc/vmstat": "oom_kill 9\nother 1"})
    assert oom_kills(root) == 9
    words = "oom_kill_disable 0\nunder_oom 0\noom_group_kill 1\noom_kill {}"
    for group, count in (("", 7), ("a/", 5), ("a/b/", 3)):
        tree(root, OWN[mount].format("/a/b"), {mount + group + KILLS[mount]: words.format(count)})
        assert oom_kills(root) == count


LABELLED, PLAIN = "child died, probably killed for its memory", "child died"


@pytest.mark.parametrize(
    ("kills", "how", "wanted"),
    [
        (1, ["kill"], [LABELLED]),
        (0, ["kill"], [PLAIN]),
        (1, ["terminate"], [PLAIN]),  # another process was killed for memory
        (2, ["kill", "kill", "kill"], [LABELLED, LABELLED, PLAIN]),  # both before the first is seen
    ],
)
def test_as_many_of_the_killed_are_labelled_as_the_kernel_killed(
    *,
    kills: int,
    how: list[str],
    wanted: list[str],
    stage: Stage,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel itself is asked for this by scenario 24 of the faults."""
    count = 3
    monkeypatch.setattr(children, "oom_kills", lambda: count)
    monkeypatch.setattr(telemetry.logger, "propagate", True)
    own = ChildPool(stage.app, WorkerOptions(["mid"], 0).plan(stage.app), 0, HostLock(tmp_path))
    count += kills
    for signal_name in how:
        with subprocess.Popen(["sleep", "100"]) as process:
            own.members = [ChildProcess(process.pid, Journal(1))]
            getattr(process, signal_name)()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            own.step(0.0)
    assert own.is_gone
    assert [record.getMessage() for record in caplog.records] == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a score for this")
def test_a_child_is_killed_for_memory_before_its_supervisor(
    stage: Stage, wait_until: WaitUntil
) -> None:
    stage.send("hold", stage.gate())
    worker = stage.worker("-c", "1")
    (start,) = wait_until(lambda: stage.effects("start"))
    own, childs = (
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (worker.pid, start.pid)
    )
    assert childs == min(own + 100, 1000)
    assert childs > own or own == 1000
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
