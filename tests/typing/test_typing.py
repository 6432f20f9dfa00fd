"""The types are public: what they accept and what they flag is tested with two checkers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from typedq import Context, ContractError, TypedQ

HERE = Path(__file__).parent
GOOD, MISUSE = HERE / "good.py", HERE / "misuse.py"
Flags = dict[str, dict[int, str]]  # file name -> line -> message


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # findings, not a crash
    return done.stdout


def _mypy() -> Flags:
    flags: Flags = {GOOD.name: {}, MISUSE.name: {}}
    found = map(
        json.loads,
        _run("mypy", "--strict", "--output", "json", str(GOOD), str(MISUSE)).splitlines(),
    )
    for finding in found:
        flags[Path(finding["file"]).name][finding["line"]] = finding["message"]
    return flags


def _pyright() -> Flags:
    flags: Flags = {GOOD.name: {}, MISUSE.name: {}}
    # The project's own configuration leaves the wrong file out.
    output = _run("pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(HERE))
    for finding in json.loads(output)["generalDiagnostics"]:
        line = finding["range"]["start"]["line"] + 1
        flags[Path(finding["file"]).name][line] = finding["message"]
    return flags


@pytest.fixture(scope="module")
def checkers() -> dict[str, Flags]:
    with ThreadPoolExecutor() as pool:
        runs = {"mypy": pool.submit(_mypy), "pyright": pool.submit(_pyright)}
        return {name: run.result() for name, run in runs.items()}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_right_use_is_accepted(checkers: dict[str, Flags], checker: str) -> None:
    assert checkers[checker][GOOD.name] == {}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_exactly_the_marked_lines_are_flagged(checkers: dict[str, Flags], checker: str) -> None:
    lines = enumerate(MISUSE.read_text("utf-8").splitlines(), 1)
    marked = {n: line.partition("# misuse: ")[2] for n, line in lines if "# misuse: " in line}
    flagged = checkers[checker][MISUSE.name]
    missed = {n: name for n, name in marked.items() if n not in flagged}
    surplus = {n: message for n, message in flagged.items() if n not in marked}
    assert (missed, surplus) == ({}, {})
    assert len(marked) > 25


# What no checker can see is refused when the module is imported.


def takes_any(first: Any, second: int) -> None: ...


def takes_object(first: object) -> None: ...


def maybe_context(ctx: Context | None, number: int) -> None: ...


def keyword_context(number: int, *, ctx: Context) -> None: ...


def second_context(number: int, ctx: Context) -> None: ...


def any_inside(numbers: dict[str, Any]) -> None: ...


class Mailer:
    def send(self, to: str) -> None: ...


@pytest.mark.parametrize(
    ("fn", "parameter"),
    [
        (takes_any, "first"),
        (takes_object, "first"),
        (maybe_context, "ctx"),
        (keyword_context, "ctx"),
        (second_context, "ctx"),
        (any_inside, "numbers"),
        (Mailer.send, None),
    ],
)
def test_what_checkers_cannot_see_is_refused_at_import(
    fn: Callable[..., None], parameter: str | None
) -> None:
    app = TypedQ("myapp")
    with pytest.raises(ContractError) as caught:
        app.task(fn)
    assert caught.value.parameter == parameter
    assert dict(app.tasks) == {}
