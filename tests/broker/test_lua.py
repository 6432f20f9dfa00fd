"""The Lua scripts, with their parts put in, pass luacheck (Debian: lua-check)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from typedq.broker.script import script

ROOT = Path(__file__).parents[2]
LUA = Path(str(files("typedq.broker") / "lua"))
NAMES = sorted(path.stem for path in LUA.glob("*.lua"))
# What a part defines need not be used by every script.
DEFINED = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def luacheck() -> str:
    """Where a CI must have it, and says so; elsewhere the test is skipped with the reason."""
    found = shutil.which("luacheck")
    if found is None and os.environ.get("CI"):
        pytest.fail("luacheck is not installed: apt-get install lua-check")
    return found or pytest.skip("luacheck is not installed: apt-get install lua-check")


def lint(luacheck: str, path: Path, source: str) -> str:
    """Return what luacheck says of a script; "" if nothing."""
    path.write_text(source)
    parts = "".join(part.read_text() for part in LUA.glob("parts/*.lua"))
    names = {name for line in DEFINED.findall(parts) for name in line.split(", ")}
    ignored = [f"211/{name}" for name in sorted(names)]
    config = str(ROOT / ".luacheckrc")
    command = [luacheck, "--config", config, "--codes", "--no-color", "-q", str(path)]
    ended = subprocess.run(
        [*command, "--ignore", *ignored], capture_output=True, text=True, check=False
    )
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_luacheck_of_each_script_finds_nothing(name: str, luacheck: str, tmp_path: Path) -> None:
    assert lint(luacheck, tmp_path / f"{name}.lua", script(name).source) == ""


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        ("local unused = 1", "211"),
        ("return undefined_function()", "113"),
        ("forgotten_local = 1", "111"),
        ("if x then", "011"),
    ],
)
def test_luacheck_of_a_mistake_names_it(
    mistake: str, code: str, luacheck: str, tmp_path: Path
) -> None:
    source = f"#!lua flags=allow-oom\n{mistake}\n"
    assert f"({'E' if code == '011' else 'W'}{code})" in lint(
        luacheck, tmp_path / "wrong.lua", source
    )


def test_all_scripts_together_stay_within_their_budget() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in LUA.rglob("*.lua"))
    assert lines <= 1_080
