"""The fixtures that all tests rely on do fail where they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
LEAVES_A_CHILD = """
import subprocess
def test_culprit():
    global child  # kept, so that its warning is not what fails
    child = subprocess.Popen(["sleep", "60"])
def test_next():
    assert child.poll() is not None
"""
LEAVES_A_ZOMBIE = """
import os
def test_culprit(wait_until):
    if not (pid := os.fork()):
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
"""
WAITS_IN_VAIN = """
def test_culprit(wait_until):
    wait_until(lambda: [], deadline=0.05)
"""
WAITS = """
def test_innocent(wait_until):
    answers = iter(["", "", "yes"])
    assert wait_until(lambda: next(answers)) == "yes"
"""


@pytest.mark.parametrize(
    ("code", "told", "summary"),
    [
        (LEAVES_A_CHILD, r"Failed: left behind: \d+ \(sleeping\): sleep 60", "2 passed, 1 error"),
        (LEAVES_A_ZOMBIE, r"\(zombie\): python", "1 passed, 1 error"),
        (WAITS_IN_VAIN, r"Failed: not within 0\.05 s; last answer: \[\]", "1 failed"),
        (WAITS, "1 passed", "1 passed"),
    ],
)
def test_fixtures_tell(code: str, told: str, summary: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_a.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert re.search(told, done.stdout)
    assert summary in done.stdout
