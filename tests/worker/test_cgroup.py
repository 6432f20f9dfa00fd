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
from typedq.cgroup import oom_kills, usable_cores, used_percent
from typedq.worker import WorkerOptions, children
from typedq.worker.child_process import ChildProcess
from typedq.worker.children import ChildPool
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


def test_memory_limit_without_cgroups_is_that_of_the_host(tmp_path: Path) -> None:
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


QUOTA = {V1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), V2: ("cpu.max",)}
CPU = {V1: "sys/fs/cgroup/cpu/", V2: "sys/fs/cgroup/"}


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize(
    ("groups", "wanted"),
    [  # group -> its quota and period
        ({"a/b": (100_000, 100_000)}, 1),
        ({"a/b": (50_000, 100_000)}, 1),
        ({"a/b": (1_000, 100_000)}, 1),
        ({"a/b": (150_000, 100_000)}, 2),
        ({"a/b": (250_000, 100_000)}, 3),
        ({"a/b": (30_000, 10_000)}, 3),
        ({"a/b": ("max", 100_000), "a": (120_000, 100_000)}, 2),
        ({"": (100_000, 100_000), "a": ("max", 100_000), "a/b": (300_000, 100_000)}, 1),
        ({"a/b": (9_900_000, 100_000)}, 4),
        ({"a/b": ("max", 100_000)}, 4),
        ({"a/b": (0, 100_000)}, 4),
        ({"a/b": (100_000, 0)}, 4),
        ({"a/b": ("", "")}, 4),
        ({"other": (100_000, 100_000)}, 4),
        ({}, 4),
    ],
)
def test_the_cores_are_the_smallest_cpu_quota_rounded_up(
    version: str,
    groups: dict[str, tuple[int | str, int | str]],
    wanted: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    own = "3:cpu,cpuacct:/a/b\n0::/" if version == V1 else "0::/a/b"
    files = dict[str, object]()
    for group, (quota, period) in groups.items():
        numbers = (quota if quota != "max" else -1, period)
        texts = numbers if version == V1 else (f"{quota} {period}",)
        for name, text in zip(QUOTA[version], texts, strict=True):
            files[f"{CPU[version]}{group}/{name}"] = text
    assert usable_cores(tree(tmp_path, own, files)) == wanted


def test_without_cgroups_the_cores_are_those_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.skipif(not Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists(), reason="no cgroup v1")
def test_the_quota_of_a_real_group_is_seen(tmp_path: Path) -> None:
    given = os.environ.get("FAULTS_CPU_CGROUP")
    if not given:
        pytest.skip("FAULTS_CPU_CGROUP names no directory of the cpu controller")
    group = Path(given) / f"typedq-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("50000")
        code = "from typedq.cgroup import usable_cores; print(usable_cores())"
        join = f"echo $$ > {group}/cgroup.procs; exec {sys.executable} -c '{code}'"
        done = subprocess.run(["sh", "-c", join], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "1"
    finally:
        group.rmdir()


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
    own = ChildPool(
        stage.app, WorkerOptions(["mid"], 0).child_config(stage.app), 0, HostLock(lambda: tmp_path)
    )
    count += kills
    for signal_name in how:
        with subprocess.Popen(["sleep", "100"]) as process:
            own.children = [ChildProcess(process.pid, Journal(1))]
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
