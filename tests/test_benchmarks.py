"""The benchmarks measure every column, compare within one run, and say what they could not do."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import catalog, plot, report
from benchmarks.__main__ import run, save
from benchmarks.call_path import CallPath, Recorder
from benchmarks.contender import Contender, Unavailable, export_commit, install_all
from benchmarks.machine import awake
from benchmarks.server import Server
from benchmarks.targets import MEASURES, best_rival, verdicts
from benchmarks.trial import Effort, Trial

ROOT = Path(__file__).parents[1]
LOAD = {"load": 0.0, "busy %": 0.0, "steal s": 0.0}
MACHINE = dict.fromkeys(
    ("cores", "system", "python", "server", "server settings", "commit", "date"), ""
)


def page(figures: dict[str, dict[str, float]], busy: float = 0.0) -> str:
    """Return the report of one round with these figures."""
    trials = [
        {"round": 0, "name": name, "foreign load": LOAD | {"busy %": busy}, "figures": measured}
        for name, measured in figures.items()
    ]
    about = {"machine": MACHINE, "settings": {}, "unavailable": {"ardiq": "it needs Python 3.12"}}
    return report.write(about | {"trials": trials}, "test")


def test_a_short_run_measures_every_column_of_typedq_and_the_floor(tmp_path: Path) -> None:
    contenders = catalog.choose([catalog.OWN, catalog.FLOOR])
    trials = run(contenders, 1, Effort(enqueue_s=0.05, backlog=0.01, latencies=5), tmp_path / "log")
    assert [trial.get("failed") for trial in trials] == [None, None]
    figures = report.medians(trials)
    measures = {measure.name for measure in MEASURES}
    assert measures <= figures[catalog.OWN].keys()
    only_coroutines = {"drain, coroutine", "PSS with coroutines, MB"}
    assert measures - figures[catalog.FLOOR].keys() == only_coroutines
    assert min(figure for each in figures.values() for figure in each.values()) > 0
    about = {"machine": MACHINE, "settings": {}, "unavailable": {}}
    text = save(about | {"trials": trials}, tmp_path, "short")
    assert "## Divided by the figures of `floor`" in text
    assert json.loads((tmp_path / "short.json").read_text())["trials"] == trials
    assert (tmp_path / "short.svg").read_text().count("<rect") == 5 + 4


AT_ONCE = """
import os, struct, time
from pathlib import Path
now = time.monotonic_ns()
record = Path("unseen")
record.write_bytes(struct.pack("qqq", 10, now, now - 1_000_000_000))
record.rename(Path(os.environ["BENCH_RUNS"]) / "1-1")
time.sleep(60)
"""


def test_a_backlog_that_ran_between_two_looks_has_the_rate_of_all_its_tasks(
    tmp_path: Path,
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(AT_ONCE)
    contender = Contender("quick", "floor", (f"{sys.executable} {script}",), 10, "")
    with Server() as server:
        trial = Trial(contender, server, tmp_path, tmp_path / "log")
        with trial.worker("noop") as worker:
            drain = trial.drain(worker, 10)
    assert drain.rate == pytest.approx(10)
    assert drain.cpu_us > 0


def test_a_contender_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    broken: Any = catalog.choose([catalog.FLOOR])[0]
    broken = type(broken)("broken", "no_such_module", ("true",), 1, "")
    trials = run([broken], 1, Effort(0.05, 0.01, 5), tmp_path / "log")
    assert "enqueue" in trials[0]["failed"]


def test_a_commit_that_is_not_in_the_clone_is_left_out_with_the_way_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(Unavailable, match=r"commit 0123456 is not in this clone; .* --unshallow"):
        export_commit("0123456789" * 4, tmp_path / "out", tmp_path)


def test_without_git_the_version_before_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="git is needed to read commit 44e09fd"):
        export_commit(catalog.BEFORE_COMMIT, tmp_path)


def test_a_contender_that_cannot_be_installed_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = type(catalog.DEFAULT[0])
    other = kind("ancient", "none", (), 1, "", ("nothing",), python="2.0")
    installed, unavailable = install_all([*catalog.choose([catalog.OWN]), other])
    assert [each.name for each in installed] == [catalog.OWN]
    assert unavailable == {"ancient": "it needs Python 2.0, which was not found"}
    assert "ancient is left out: it needs Python 2.0" in capsys.readouterr().out


def test_the_default_run_has_celery_and_rq_and_the_version_before() -> None:
    names = {contender.name for contender in catalog.DEFAULT}
    assert {"typedq", "before", "floor", "floor-packages", "celery", "rq"} <= names
    assert set(catalog.QUICK) <= names


def test_the_floor_with_packages_loads_no_part_of_them_that_a_worker_can_do_without() -> None:
    code = """
import os, runpy, sys
def fork():
    print(*(name for name in sys.modules if name.startswith(("pydantic", "typer"))), flush=True)
    os._exit(0)
os.fork = fork
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
    worker = ("typedq", "worker", "benchmarks.contenders.typedq_:app", "-c", "1")
    loaded = list[set[str]]()
    with Server() as server:
        for words in (("benchmarks.contenders.floor_packages",), worker):
            command = [sys.executable, "-c", code, *words]
            env = os.environ | {"BENCH_URL": server.url}
            out = subprocess.check_output(command, cwd=ROOT, env=env, text=True)
            loaded.append(set(out.split()))
    floor, own = loaded
    assert {"pydantic.main", "pydantic_core", "typer.main"} <= floor <= own


def test_an_unknown_contender_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match=r"no such contender: celrey; there are typedq, before"):
        catalog.choose(["typedq", "celrey"])


def test_contenders_without_an_environment_of_their_own_have_a_module() -> None:
    for contender in (*catalog.DEFAULT, *catalog.MORE):
        assert (ROOT / "benchmarks" / "contenders" / f"{contender.module}.py").exists()


@pytest.mark.parametrize(
    ("own", "floor", "met"),
    [(50.0, 100.0, True), (49.0, 100.0, False)],
)
def test_a_target_is_met_from_its_bound_on(own: float, floor: float, met: bool) -> None:
    found = {"typedq": {"drain, sync": own}, "floor": {"drain, sync": floor}}
    assert next(verdicts(found)).met is met


def test_the_best_rival_is_neither_a_floor_nor_typedq_itself() -> None:
    figures = {"typedq": 1.0, "before": 1.0, "floor-batch": 1.0, "rq": 3.0, "celery": 5.0}
    found = {name: {"latency p50, ms": f, "drain, sync": f} for name, f in figures.items()}
    assert best_rival(found, "latency p50, ms") == ("rq", 3.0)
    assert best_rival(found, "drain, sync") == ("celery", 5.0)


def test_the_table_for_the_readme_sets_typedq_beside_celery_and_rq() -> None:
    text = page(
        {
            "typedq": {"drain, sync": 500.0, "latency p50, ms": 0.2},
            "celery": {"drain, sync": 2.0, "latency p50, ms": 1.0},
            "rq": {"drain, sync": 1.0},
            "floor": {"drain, sync": 1000.0, "latency p50, ms": 0.1},
        }
    )
    table = text[text.index("## For the README") :]
    rows = {line.split(" | ")[0]: line for line in table.splitlines() if line.startswith("| than")}
    assert re.search(r"\| 250 x \|.*\| 5 x \|", rows["| than celery"])
    assert "| 500 x |" in rows["| than rq"]
    assert re.search(r"\| 0.5 x \|.*\| 0.5 x \|", rows["| than floor"])
    assert "- ardiq: left out, it needs Python 3.12" in text
    assert "This run has no figures for: drain, sync (floor-wide)" in text


def test_no_table_for_the_readme_without_what_its_readers_use() -> None:
    assert "## For the README" not in page({"typedq": {"drain, sync": 1.0}})


@pytest.mark.parametrize(("busy", "warned"), [(20.0, False), (21.0, True), (100.0, True)])
def test_the_report_warns_if_other_processes_kept_the_machine_busy(
    busy: float, warned: bool
) -> None:
    text = page({"typedq": {"drain, sync": 1.0}}, busy)
    assert ("**The machine was busy: rates and latencies mean little" in text) is warned


def test_cpu_times_are_of_the_best_round_and_rates_are_medians() -> None:
    measure = "CPU, drain, sync, us"
    rounds = [{measure: 9.0, "drain, sync": 1.0}, {measure: 3.0, "drain, sync": 5.0}]
    rounds.append({measure: 5.0, "drain, sync": 2.0})
    found = report.medians([{"name": "typedq", "figures": figures} for figures in rounds])
    assert found["typedq"] == {measure: 3.0, "drain, sync": 2.0}


def test_a_rival_s_bars_differ_from_those_of_typedq_before_and_floors() -> None:
    svg = plot.draw({n: {"drain, sync": 1.0} for n in ("typedq", "before", "floor", "rq")})
    assert re.findall(r'<rect class="(\w+)"', svg) == ["own", "before", "floor", "rival"]


def test_call_paths_count_calls_files_and_moves() -> None:
    assert CallPath(["a", "a", "b", "a", "c"]).counts == {"calls": 5, "files": 3, "moves": 3}
    assert CallPath([]).counts == {"calls": 0, "files": 0, "moves": 0}


def test_a_recorder_counts_only_calls_below_its_root(tmp_path: Path) -> None:
    def function(file: Path | str, name: str) -> Any:
        names: dict[str, Any] = {}
        exec(compile(f"def {name}(): pass", str(file), "exec"), names)
        return names[name]

    inside, outside = function(tmp_path / "a.py", "f"), function("elsewhere.py", "g")
    task, recorder = function("tasks.py", "noop"), Recorder(tmp_path, "noop")
    calls: Sequence[Any] = (inside, outside, task, outside, inside, inside, task)
    sys.setprofile(recorder)
    for call in calls:
        call()
    sys.setprofile(None)
    assert [path.files for path in recorder.paths] == [["a.py"], ["a.py", "a.py"]]


def printed(module: str) -> str:
    """Return what `python -m MODULE` prints."""
    ran = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_the_call_path_of_an_enqueue_and_of_a_worker_s_message_is_within_its_goals() -> None:
    table = printed("benchmarks.call_path")
    for name in ("enqueue", r"worker, one message"):
        counts = re.search(rf"^{name} +(\d+) +(\d+) +(\d+)  files <= ", table, re.MULTILINE)
        assert counts, table
        calls, files, moves = map(int, counts.groups())
        assert calls > moves >= files - 1 > 0
    assert (table.count(": met"), table.count("missed")) == (3, 0)


def test_the_steps_of_an_enqueue_and_of_a_task_make_up_the_whole() -> None:
    for whole in printed("benchmarks.steps").split("\n\n"):
        assert whole.startswith(("one enqueue", "one task"))
        times = [float(us) for us in re.findall(r" (-?\d+\.\d\d) ", whole)]
        total = re.search(r"^  sum +(\d+\.\d\d)$", whole, re.MULTILINE)
        assert total, whole
        assert len(times) >= 4
        assert sum(times) == pytest.approx(float(total[1]), abs=0.05)


def test_processors_are_kept_awake_by_processes_of_idle_priority_that_end() -> None:
    before = set(psutil.Process().children())
    with awake():
        spinners = set(psutil.Process().children()) - before
        assert len(spinners) == len(os.sched_getaffinity(0))
        deadline = time.monotonic() + 10
        while {os.sched_getscheduler(each.pid) for each in spinners} != {os.SCHED_IDLE}:
            assert time.monotonic() < deadline
    assert not any(each.is_running() for each in spinners)
