"""Run the demo as a newcomer does, and test its checks: none reports a broken promise as kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from examples.codestats import promises
from examples.codestats.__main__ import library, main
from examples.codestats.counting import Lines, NotPython, count
from examples.codestats.promises import Promise
from examples.codestats.store import Run
from typedq import InvalidArguments

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

ROOT = Path(__file__).parents[2]
# A demo takes 10 s on a quiet machine, and runs beside two other tests.
pytestmark = pytest.mark.timeout(150)
DEMO = ["-m", "examples.codestats"]
KEPT = (
    "wrong argument refused  count_file: Expected `str`, got `int` - at $.path",
    "urgent task ran first",
    "invalid messages kept   the body is not valid JSON: Input data was truncated - at $; Expected",
    "kill -9 lost nothing",
    "delayed task on time",
    "every file counted",
    "report mailed           mails 1, attempts 2, refused by the mail server 1",
    "nothing lost",
    "worker stopped cleanly  exit code 0 after SIGTERM",
)


def start(arguments: list[str], temporary: Path) -> subprocess.Popen[str]:
    """Start the demo as a process, with all its temporary files in one directory."""
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def run(arguments: list[str], temporary: Path) -> tuple[int, str]:
    with start(arguments, temporary) as process:
        try:
            output, _ = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            process.terminate()
            pytest.fail(f"not within 100 s: {process.communicate()[0]}")
    return process.returncode, output


def left_in(temporary: Path) -> list[Path]:
    """Return what was not removed, except the directory of this user's lock files."""
    return [path for path in temporary.iterdir() if path.name != f"typedq-{os.getuid()}"]


def changed(how: str) -> list[str]:
    """Return arguments for Python that change the demo's modules, then run it."""
    return ["-c", f"import sys\n{how}\nsys.exit(main(['--files', '60']))"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the demo prints if each promise is kept."""
    temporary = tmp_path_factory.mktemp("demo")
    code, output = run([*DEMO, "--files", "200"], temporary)
    assert code == 0, output
    assert not left_in(temporary)
    return output


@pytest.mark.parametrize("line", KEPT)
def test_each_promise_is_printed_with_a_check_mark(shown: str, line: str) -> None:
    assert f"✓ {line}" in shown


def test_the_mail_shows_the_sums_of_the_files(shown: str) -> None:
    total, counts = 0, Lines(0, 0, 0)
    for file in library(200):
        try:
            counts = Lines(*map(sum, zip(counts, count(file), strict=True)))
            total += 1
        except NotPython:
            pass
    assert "To: ada@example.org" in shown
    assert re.search(
        rf"all +{total} +{counts.code:,} +{counts.comments:,} +{counts.blanks:,} ", shown
    )


def test_the_summary_shows_the_figures_of_the_run(shown: str) -> None:
    assert re.search(r"messages +done \d+, retried 1, crashed 1, dead \d+\n", shown)
    assert re.search(r"rate +[\d,]+ files/s, [\d,]+ lines/s\n", shown)
    assert re.search(r"idle p50 [\d.,]+ ms, p99 [\d.,]+ ms; in the backlog p50 [\d.,]+ ms", shown)
    assert f"{len(KEPT)} of {len(KEPT)} kept" in shown
    assert "\x1b" not in shown


def test_a_broken_promise_leads_to_exit_code_1(tmp_path: Path) -> None:
    how = "from examples.codestats import promises\nfrom examples.codestats.__main__ import main"
    code, output = run(changed(f"{how}\npromises.LATE_S = -1.0"), tmp_path)
    assert "✗ delayed task on time" in output
    assert f"{len(KEPT) - 1} of {len(KEPT)} kept" in output
    assert code == 1


def test_a_worker_that_does_not_start_is_reported_with_its_log(tmp_path: Path) -> None:
    how = "from examples.codestats import services\nfrom examples.codestats.__main__ import main"
    worker = "services.WORKER = [sys.executable, '-c', 'raise SystemExit(\"none today\")']"
    code, output = run(changed(f"{how}\n{worker}"), tmp_path)
    assert "the worker exited unexpectedly:\nnone today" in output
    assert code == 1
    assert not left_in(tmp_path)


def test_too_few_files_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--files", "5"])
    assert "--files must be 50 or more, not 5" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, wait_until: WaitUntil
) -> None:
    with start(DEMO, tmp_path) as process:
        assert process.stdout
        assert any("urgent task" in line for line in process.stdout)  # in the middle of the backlog
        others = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.endswith("interrupted; stopped the worker and the servers\n")
    assert len(others) >= 4  # the server, the worker, its two children
    wait_until(lambda: not any(other.is_running() for other in others))
    assert not left_in(tmp_path)


# --- the checks ----------------------------------------------------------------------------------

REFUSAL = InvalidArguments("count_file", "$.path", "Expected `str`, got `int`")
INVALID = {"kind": "invalid_body", "error": "no"}


def ran(
    *,
    place: int = 1,
    pid: int = 1,
    attempt: int = 1,
    started: float = 10.0,
    ended: float | None = 11.0,
) -> Run:
    return Run(place, "a", "t", "high", attempt, pid, 8.0, 9.9, started, ended)


DIED, AGAIN = ran(ended=None), ran(place=2, pid=2, started=10.6)

CHECKS: list[tuple[str, bool, Callable[[], Promise]]] = [
    ("refused", True, lambda: promises.refused(REFUSAL, 0)),
    ("accepted", False, lambda: promises.refused(None, 1)),
    ("refused but sent", False, lambda: promises.refused(REFUSAL, 1)),
    ("ran first", True, lambda: promises.ran_first(ran(), 1000, 990)),
    ("ran late", False, lambda: promises.ran_first(ran(), 1000, 700)),
    ("nothing was waiting", False, lambda: promises.ran_first(ran(), 0, 0)),
    ("urgent never started", False, lambda: promises.ran_first(None, 1000, 1000)),
    ("on time", True, lambda: promises.on_time(ran(started=9.95))),
    ("too early", False, lambda: promises.on_time(ran(started=9.8))),
    ("too late", False, lambda: promises.on_time(ran(started=11.0))),
    ("never due", False, lambda: promises.on_time(None)),
    ("dead-lettered", True, lambda: promises.dead_lettered(["a"], {"a": INVALID})),
    ("not dead-lettered", False, lambda: promises.dead_lettered(["a", "b"], {"a": INVALID})),
    (
        "for another reason",
        False,
        lambda: promises.dead_lettered(["a"], {"a": {**INVALID, "kind": "x"}}),
    ),
    ("nothing sent", False, lambda: promises.dead_lettered([], {})),
    ("survived", True, lambda: promises.survived(10.5, [DIED, AGAIN], 1)),
    ("never back", False, lambda: promises.survived(10.5, [DIED], 1)),
    ("not killed in it", False, lambda: promises.survived(10.5, [ran(), AGAIN], 1)),
    ("crash not counted", False, lambda: promises.survived(10.5, [DIED, AGAIN], 0)),
    ("ran three times", False, lambda: promises.survived(10.5, [DIED, DIED, AGAIN], 1)),
    ("back too late", False, lambda: promises.survived(1.0, [DIED, AGAIN], 1)),
    ("died again", False, lambda: promises.survived(10.5, [DIED, AGAIN._replace(ended=None)], 1)),
    ("counted", True, lambda: promises.counted(10, 8, 2, 0)),
    ("one file missing", False, lambda: promises.counted(10, 7, 2, 0)),
    ("rejected though readable", False, lambda: promises.counted(10, 8, 2, 1)),
    ("no file at all", False, lambda: promises.counted(0, 0, 0, 0)),
    ("mailed", True, lambda: promises.mailed(1, 1, [DIED, ran(attempt=2)])),
    ("mailed twice", False, lambda: promises.mailed(2, 1, [DIED, ran(attempt=2)])),
    ("not mailed", False, lambda: promises.mailed(0, 1, [DIED])),
    ("no attempt", False, lambda: promises.mailed(1, 0, [])),
    ("accounted", True, lambda: promises.accounted(["a", "b"], {"a"}, {"b"}, 0)),
    ("lost", False, lambda: promises.accounted(["a", "b"], {"a"}, {}, 0)),
    ("still waiting", False, lambda: promises.accounted(["a"], {"a"}, {}, 1)),
    ("done and dead", False, lambda: promises.accounted(["a"], {"a"}, {"a"}, 0)),
    ("from nowhere", False, lambda: promises.accounted(["a"], {"a"}, {"b"}, 0)),
    ("nothing accepted", False, lambda: promises.accounted([], {}, {}, 0)),
    ("drained", True, lambda: promises.drained(0)),
    ("interrupted", False, lambda: promises.drained(1)),
    ("did not end", False, lambda: promises.drained(None)),
]


@pytest.mark.parametrize(
    ("kept", "check"), [c[1:] for c in CHECKS], ids=[c[0].replace(" ", "-") for c in CHECKS]
)
def test_a_promise_is_checked_against_the_evidence(
    kept: bool, check: Callable[[], Promise]
) -> None:
    assert check().kept is kept


def test_exit_code_is_0_only_if_all_promises_were_kept() -> None:
    kept, broken = promises.drained(0), promises.drained(1)
    assert promises.exit_code([kept, kept]) == 0
    assert promises.exit_code([kept, broken]) == 1
    assert promises.exit_code([]) == 1


# --- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", (0, 0, 0)),
        ("x = 1", (1, 0, 0)),
        ("x = 1  # why\n\n\n# end\n", (1, 1, 2)),
        ('"""Doc.\n\nMore.\n"""\nx = """\n\n"""\n', (3, 4, 0)),
        ('def f():\n    "doc"\n    return "s"\n', (2, 1, 0)),
        ('f(\n    # inside\n    1,\n\n)\n"a" "b"\n', (4, 1, 1)),
    ],
)
def test_lines_are_code_comments_or_blanks(
    source: str, lines: tuple[int, int, int], tmp_path: Path
) -> None:
    file = tmp_path / "m.py"
    file.write_text(source)
    assert count(file) == lines


@pytest.mark.parametrize("source", [b"x = (", b"# coding: uft-8\n", b"\xff = 1", b"  x\n y\n"])
def test_a_file_without_valid_tokens_is_refused(source: bytes, tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_bytes(source)
    with pytest.raises(NotPython, match=r"^m\.py: "):
        count(file)
