"""A Django project with typedq: transactions, workers, Django's tasks and the gate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest

from tests.postgres import running
from typedq.embedded import OwnServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
HOW = (
    "6 needs Python 3.12; make VENV=.venv-3.12 PYTHON=python3.12 venv"
    " && .venv-3.12/bin/pytest tests/django"
)
_AFTER = """
import django, json
django.setup()
from django.core.management import call_command
from tests.django.project.models import Note
print(json.dumps([*Note.objects.order_by("id").values_list("text", "read")]), flush=True)
call_command("typedq", "info", "--json")
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, Any]]:
    with running() as home:
        engine = "django.db.backends.postgresql"
        yield {"ENGINE": engine, "NAME": "postgres", "USER": "shop", "HOST": str(home)}


class Project:
    """The project on one database and one server."""

    def __init__(self, directory: Path, url: str, database: dict[str, Any]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TYPEDQ_")}
        self.env = kept | {
            "DJANGO_SETTINGS_MODULE": "tests.django.project.settings",
            "PYTHONPATH": str(ROOT),
            "SHOP_DATABASE": json.dumps(database),
            "SHOP_TYPEDQ": json.dumps({"namespace": "shop"}),
            "TYPEDQ_URL": url,
            "COLUMNS": "200",
        }
        self.directory = directory

    def manage(self, *words: str, code: int = 0, **env: str) -> str:
        return self.python("-m", "django", *words, code=code, **env)

    def python(self, *words: str, code: int = 0, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.directory,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with OwnServer() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, server: OwnServer) -> Project:
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    (tmp_path / "pyproject.toml").write_text("")
    return Project(tmp_path, server.url, sqlite)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_is_committed_runs_and_what_is_rolled_back_never(
    project: Project, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "postgres":
        project.env["SHOP_DATABASE"] = json.dumps(request.getfixturevalue("postgres"))
    project.env["SHOP_TYPEDQ"] = json.dumps({"namespace": kind})
    said = json.loads(project.python("-m", "tests.django.project.scenario"))
    assert said == {
        "refused": "read: Expected `int`, got `str` - at $.note",
        "unreadable": "tests.django.project.tasks.write: Expected `str`, got `int` - at $.text",
        "never": 0,
        "result": ["READY", ["written"], {"day": "2027-01-31"}, True],
        "told": 4,
        "flags": ["defer", "async_task"],
        "priority": "Backend does not support setting priority of tasks.",
        "queue": "Queue 'hihg' is not valid for backend.",
        "QUEUES": "TASKS['x']: no queue named 'defualt' (did you mean 'default'?)",
        "OPTIONS": "TASKS['x']: no option named 'retries' (did you mean 'retry'?)",
    }
    project.manage("typedq", "worker", "-b", "-c", "1")
    rows, _, facts = project.python("-c", _AFTER).partition("\n")
    found = dict(json.loads(rows))
    assert found == {
        "kept": "Ada",
        "kept too": "a coroutine",
        "written 2027-01-31": "",
        "counted 1 RUNNING True": "",
    }
    assert (json.loads(facts)["waiting"], json.loads(facts)["dead"]) == (1, 1)  # later; fail


def test_the_backend_does_what_django_asks_of_one(project: Project) -> None:
    settings = {"namespace": "asked", "queues": ["high", "default"]}
    project.python("-m", "tests.django.project.conformance", SHOP_TYPEDQ=json.dumps(settings))


@pytest.mark.skipif(django.VERSION < (6,), reason=f"this is Django {django.__version__}: {HOW}")
def test_these_tests_ran_with_the_framework_of_django_6(project: Project) -> None:
    found = project.python(
        "-c", "from tests.django.project.framework import *; print(is_in_django)"
    )
    assert found == "True\n"


def test_a_task_without_annotations_is_refused_at_start(project: Project) -> None:
    told = project.manage("check", code=1, SHOP_BREAKS="unannotated")
    assert "InvalidTask" in told
    reason = "parameter 'text': it has no annotation; write its type"
    assert f"task 'tests.django.project.tasks.wrong' has no contract: {reason}" in told


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SHOP_TYPEDQ", "null", "the setting TYPEDQ is missing or no dict: expected the arguments"),
        ("SHOP_TYPEDQ", '{"namespce": "shop"}', "TYPEDQ: "),
    ],
)
def test_wrong_settings_are_refused_with_what_is_expected(
    project: Project, variable: str, value: str, told: str
) -> None:
    assert told in project.manage("check", code=1, **{variable: value})


def test_the_gate_is_a_system_check(project: Project) -> None:
    assert "typedq.W001" in project.manage("check", "--fail-level", "WARNING", code=1)
    project.manage("typedq", "export-schemas", SHOP_BREAKS="contract")
    project.manage("check", "--fail-level", "WARNING", SHOP_BREAKS="contract")
    told = project.manage("check", SHOP_BREAKS="changed", code=1)
    assert "later: (typedq.E002) The contract of task 'later' changed in a way that is not" in told
    assert "manage.py typedq check-schemas shows the change" in told


def test_the_command_of_typedq_finds_the_project_by_itself(project: Project) -> None:
    command = ("-m", "typedq", "tasks", "typedq.django:app", "--json")
    names = {task["name"] for task in json.loads(project.python(*command))}
    assert names >= {"read", "aread", "tests.django.project.tasks.write"}
