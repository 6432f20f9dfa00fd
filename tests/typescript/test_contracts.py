"""Types and checks under a real compiler and a real Node."""

from __future__ import annotations

import json

import pytest

from tests.typescript import differential, hostile
from tests.typescript.conftest import CASES, CONFORMANCE
from tests.typescript.node import Project, lines


def test_good_calls_compile_and_each_misuse_is_an_error(project: Project) -> None:
    """programs/misuse.ts marks each misuse; a mark without an error is an error itself."""
    assert not project.said


def test_the_vectors_hold_in_typescript(project: Project) -> None:
    assert json.loads(project.run("vectors", str(CONFORMANCE))) == []


def test_checks_accept_what_the_workers_decoder_accepts_and_nothing_else(project: Project) -> None:
    """A short version of `python -m tests.typescript.differential`."""
    calls = [(name, text) for name, case in CASES.items() for text in case.texts]
    answers = project.run("differential", input=lines(calls)).splitlines()
    assert differential.judge(CASES, calls, answers) == []
    assert 0.3 < sum(answer != '""' for answer in answers) / len(answers) < 0.9


def test_nothing_in_a_bundle_becomes_code(project: Project) -> None:
    """The project compiles with it, too."""
    tasks = len(hostile.BUNDLE.tasks)
    told = json.loads(project.run("inert"))
    assert told == {"pwned": None, "tasks": tasks, "refused": tasks}


@pytest.mark.parametrize("folder", ["shop", "models", "hostile"])
def test_a_generated_folder_needs_nothing_else(project: Project, folder: str) -> None:
    for path in (project.root / folder).glob("*.ts"):
        found = [
            line
            for line in path.read_text().splitlines()
            if line.startswith(("import", "export *"))
        ]
        assert all('from "./' in line for line in found), path
