"""Settings: who wins, what is refused, and that every problem is told at once with its source."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from typedq.cgroup import usable_cores
from typedq.configuration import resolve
from typedq.errors import ConfigurationError
from typedq.policy import Queue
from typedq.settings import Settings
from typedq.worker.supervisor import LEAVE_S, WorkerOptions


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, "")
    return tmp_path


def write(project: Path, table: str) -> None:
    (project / "pyproject.toml").write_text(f"[tool.typedq]\n{table}\n", encoding="utf-8")


def settings(project: Path, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    return resolve({"namespace": "n", **arguments}, start=project, environ=environ or {})


def problems(
    project: Path, environ: Mapping[str, str] | None = None, **arguments: Any
) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        settings(project, environ, **arguments)
    return caught.value.problems


def test_arguments_win_over_environment_over_project_over_defaults(project: Path) -> None:
    write(project, "lease = 11\ngrace = 12\nmax_depth = 13")
    found = settings(project, {"TYPEDQ_LEASE": "21", "TYPEDQ_GRACE": "22"}, lease=31)
    assert (found.lease, found.grace, found.max_depth, found.max_body) == (31, 22, 13, 1 << 20)


def test_none_and_empty_count_as_not_given(project: Path) -> None:
    write(project, 'url = "redis://h"')
    found = settings(project, {"TYPEDQ_URL": ""}, url=None).url
    assert found is not None
    assert found.get_secret_value() == "redis://h"


def test_the_nearest_project_file_above_is_read(project: Path) -> None:
    write(project, "lease = 11")
    inside = project / "a" / "b"
    inside.mkdir(parents=True)
    assert resolve({"namespace": "n"}, start=inside, environ={}).lease == 11
    (project / "a" / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    assert resolve({"namespace": "n"}, start=inside, environ={}).lease == 30


def test_no_project_is_needed(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    expected = Settings(namespace="n")
    assert resolve({"namespace": "n"}, start=project, environ={}) == expected


def test_queues_from_every_source(project: Path) -> None:
    assert settings(project, queues=[Queue("high"), "low"]).queues == (Queue("high"), Queue("low"))
    found = settings(project, {"TYPEDQ_QUEUES": "high, low"})
    assert found.queues == (Queue("high"), Queue("low"))
    assert found.default_queue == "low"
    write(project, 'queues = [{name = "high", soft_timeout = 3}, "low"]\ndefault_queue = "high"')
    found = settings(project)
    assert found.queues == (Queue("high", soft_timeout=3), Queue("low"))
    assert found.default_queue == "high"


def test_times_are_seconds_or_timedelta(project: Path) -> None:
    found = settings(project, {"TYPEDQ_GRACE": "1.5"}, soft_timeout=timedelta(minutes=1))
    assert (found.grace, found.soft_timeout) == (1.5, 60.0)


def test_modules_from_environment(project: Path) -> None:
    assert settings(project, {"TYPEDQ_IMPORTS": "a.b, c"}).imports == ("a.b", "c")


def test_keys_of_the_command_line_are_known(project: Path) -> None:
    write(project, 'app = "myapp:app"')
    assert settings(project, {"TYPEDQ_APP": "x:y"}).namespace == "n"


def test_every_problem_is_told_at_once_with_its_source(project: Path) -> None:
    write(project, 'namespce = "a"\nsoft_timeout = 30\ngrace = true')
    found = problems(
        project, {"TYPEDQ_DEAD_MAX_AGE": "long"}, namespace=None, concurrency=0, hard_timeout=3
    )
    file = project / "pyproject.toml"
    assert len(found) == 6
    text = "\n".join(found)
    for part in (
        f"namespce ([tool.typedq] in {file}): there is no such setting (did you mean 'namespace'?)",
        "namespace: missing; give it as argument, TYPEDQ_NAMESPACE or in [tool.typedq]",
        "hard_timeout 3 (argument): soft_timeout (30 s) must be below it",
        "concurrency 0 (argument): it should be greater than or equal to 1; expected a whole",
        f"grace True ([tool.typedq] in {file}): this is not a number; expected seconds from 0",
        "dead_max_age 'long' (TYPEDQ_DEAD_MAX_AGE): this is not a number; expected seconds above 0",
    ):
        assert part in text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"namespace": "My App"}, "expected a name of 1 to 64 characters a-z 0-9"),
    "newline": ({"namespace": "a\n"}, "expected a name of 1 to 64 characters"),
    "long": ({"namespace": "a" * 65}, "expected a name of 1 to 64 characters"),
    "queue name": ({"queues": ["High"]}, "queue name 'High': 1 to 64 of a-z 0-9"),
    "no queue": ({"queues": []}, "queues [] (argument)"),
    "queues": ({"queues": 3}, "this is not a list of queues"),
    "nameless": ({"queues": [{"soft_timeout": 3}]}, "a queue has no name"),
    "queue key": (
        {"queues": [{"name": "a", "soft_timout": 3}]},
        "a queue has no 'soft_timout' (did you mean 'soft_timeout'?)",
    ),
    "twice": ({"queues": ["a", "b", "a"]}, "declared twice: a"),
    "no default": (
        {"queues": ["high", "low"], "default_queue": ""},
        "default_queue '' (argument): the queues are high, low; expected the name of one",
    ),
    "default": (
        {"queues": ["high", "low"], "default_queue": "lwo"},
        "default_queue 'lwo' (argument): the queues are high, low (did you mean 'low'?)",
    ),
    "equal timeouts": ({"soft_timeout": 3, "hard_timeout": 3}, "soft_timeout (3 s) must be below"),
    "zero timeout": ({"soft_timeout": 0}, "it should be greater than 0; expected seconds above 0"),
    "NaN": ({"grace": float("nan")}, "grace nan (argument)"),
    "negative": ({"lease": timedelta(seconds=-1)}, "lease"),
    "percent": ({"max_mem_percent": 101}, "expected a percentage, 1 to 100"),
    "infinite": ({"grace": "inf"}, "grace 'inf' (argument): this is not a number; expected"),
    "ages": ({"grace": timedelta(days=9_999)}, "it should be less than or equal to 315360000"),
    "fraction": ({"concurrency": "1.5"}, "it should be a whole number; expected a whole number"),
    "length": ({"max_depth": timedelta(seconds=3)}, "this is not a number; expected a whole"),
    "no text": ({"url": 3}, "url (argument): this is not text"),
    "module": ({"imports": ["my-app"]}, "expected modules that define tasks: myapp.tasks"),
    "modules": ({"imports": 3}, "this is not a list of modules; expected modules"),
    "durability": (
        {"durability": "replicas"},
        "it should be one of memory, replica, fsync (did you mean 'replica'?)",
    ),
    "url": ({"url": "http://h"}, "url (argument): a URL looks like one of redis://"),
    "empty url": ({"url": ""}, "url (argument): a URL looks like one of redis://"),
    "unknown": ({"concurency": 3}, "did you mean 'concurrency'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_setting_is_refused_with_the_expected_value(project: Path, case: str) -> None:
    arguments, message = WRONG[case]
    found = problems(project, **arguments)
    assert len(found) == 1
    assert message in found[0]


def test_a_broken_project_file_is_one_problem_among_others(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.typedq\n", encoding="utf-8")
    found = problems(project, lease=0)
    assert len(found) == 2
    assert f"{project / 'pyproject.toml'} cannot be read: " in found[0]
    (project / "pyproject.toml").write_text("[tool]\ntypedq = 3\n", encoding="utf-8")
    assert "this is not a table" in problems(project)[0]
    (project / "pyproject.toml").write_text("tool = 3\n", encoding="utf-8")
    assert "cannot be read: " in problems(project)[0]


def test_no_password_is_shown(project: Path) -> None:
    found = settings(project, url="redis://u:hunter2@h")
    assert found.url is not None
    assert found.url.get_secret_value() == "redis://u:hunter2@h"
    assert "redis://u:***@h" in repr(found)
    wrong = problems(project, {"TYPEDQ_URL": "redis://u:hunter2#@h"})
    for text in (repr(found), str(found), *wrong):
        assert "hunter2" not in text
    assert "url (TYPEDQ_URL): " in wrong[0]


def test_settings_are_frozen(project: Path) -> None:
    found: Any = settings(project)
    with pytest.raises(ValueError, match="frozen"):
        found.lease = 3


@pytest.mark.parametrize("source", ["argument", "environment", "project"])
def test_a_url_from_a_mounted_secret_may_end_with_a_newline(project: Path, source: str) -> None:
    url = "redis://u:hunter2@h/1"
    if source == "project":
        write(project, f'url = "{url}\\n"')
    environ = {"TYPEDQ_URL": f"{url}\r\n"} if source == "environment" else {}
    found = settings(project, environ, url=f" {url}\n" if source == "argument" else None).url
    assert found is not None
    assert found.get_secret_value() == url


class Provider:
    def get_credentials(self) -> tuple[str, str]:
        return "user", "hunter2"


async def login() -> str:
    return "hunter2"


@pytest.mark.parametrize("given", [Provider(), login, lambda: ("user", "hunter2")])
def test_credentials_are_kept_as_given_and_not_shown(project: Path, given: Any) -> None:
    found = settings(project, credentials=given)
    assert found.credentials is given
    assert "credentials=" not in repr(found)


@pytest.mark.parametrize("given", ["hunter2", ("user", "hunter2"), 3])
def test_credentials_that_cannot_be_asked_are_refused_unseen(project: Path, given: Any) -> None:
    (problem,) = problems(project, credentials=given)
    assert problem.startswith("credentials (argument): this is neither callable nor a Credential")
    assert "hunter2" not in problem


def test_credentials_come_as_an_argument_only(project: Path) -> None:
    write(project, 'credentials = "hunter2"')
    found = problems(project, {"TYPEDQ_CREDENTIALS": "hunter2"})
    assert [problem.partition(":")[0] for problem in found] == [
        f"credentials ([tool.typedq] in {project / 'pyproject.toml'})",
        "credentials (TYPEDQ_CREDENTIALS)",
    ]
    assert all("give it as an argument of TypedQ" in problem for problem in found)
    assert "hunter2" not in "".join(found)


@pytest.mark.usefixtures("unmeasured")
def test_pydantic_is_imported_with_the_settings_and_not_before() -> None:
    code = (
        "import sys, typedq, typedq.telemetry\n"
        "app = typedq.TypedQ('n', queues=['high'])\n"
        "@app.task\n"
        "def tick(n: int) -> None: ...\n"
        "tick.options(queue='high').call(1)\n"
        "before = 'pydantic' in sys.modules\n"
        "app.settings\n"
        "print(before, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["False", "True"]


def test_each_setting_can_come_from_a_file(project: Path) -> None:
    (secret := project / "url").write_text("redis://u:hunter2@h/1\n")
    (lease := project / "lease").write_text(" 1m ")
    found = settings(project, {"TYPEDQ_URL_FILE": str(secret), "TYPEDQ_LEASE_FILE": str(lease)})
    assert found.url is not None
    assert (found.url.get_secret_value(), found.lease) == ("redis://u:hunter2@h/1", 60)
    assert settings(project, {"TYPEDQ_LEASE_FILE": str(lease)}, lease=3).lease == 3


def test_a_file_that_gives_no_value_is_a_problem(project: Path) -> None:
    (project / "empty").write_text("\n")
    (project / "bytes").write_bytes(b"\xff")
    (project / "wrong").write_text("http://u:hunter2@h")
    for given, told in {
        "none": "url (TYPEDQ_URL_FILE): none cannot be read: No such file or directory",
        str(project): f"url (TYPEDQ_URL_FILE): {project} cannot be read: Is a directory",
        str(project / "empty"): f"url (TYPEDQ_URL_FILE): {project / 'empty'} is empty",
        str(project / "bytes"): f"{project / 'bytes'} cannot be read: it is not text in UTF-8",
        str(project / "wrong"): "url (TYPEDQ_URL_FILE): a URL looks like one of redis://",
    }.items():
        (problem,) = problems(project, {"TYPEDQ_URL_FILE": given})
        assert told in problem
        assert "hunter2" not in problem


def test_a_value_and_a_file_are_not_both_given(project: Path) -> None:
    (project / "url").write_text("redis://a")
    both = {"TYPEDQ_URL": "redis://b", "TYPEDQ_URL_FILE": str(project / "url")}
    expected = ("url (TYPEDQ_URL_FILE): TYPEDQ_URL is set too; unset one of them",)
    assert problems(project, both) == expected


def test_no_problem_quotes_what_a_file_holds(project: Path) -> None:
    (project / "grace").write_text("hunter2")
    (problem,) = problems(project, {"TYPEDQ_GRACE_FILE": str(project / "grace")})
    assert problem.startswith("grace (TYPEDQ_GRACE_FILE): this is not a number; expected seconds")
    assert "hunter2" not in problem


def test_lengths_and_processes_can_be_written_as_on_the_command_line(project: Path) -> None:
    found = settings(
        project, {"TYPEDQ_GRACE": "90s", "TYPEDQ_CONCURRENCY": "cores * 2"}, lease="2m"
    )
    assert (found.grace, found.lease) == (90, 120)
    assert found.concurrency == 2 * usable_cores()
    assert (
        "expected a whole number from 1 upward, cores" in problems(project, concurrency="cores*")[0]
    )


def test_the_default_grace_and_the_killing_after_it_fit_into_kubernetes_30_s() -> None:
    assert Settings(namespace="n").grace + LEAVE_S < 30
    assert WorkerOptions([], 1).grace_s == Settings(namespace="n").grace
