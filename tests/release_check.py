"""Build wheel and sdist, check both, and use the wheel in an empty environment.

    python -m tests.release_check [--tag v1.2.3]

Needs the group `release`. What it built is left in dist/, with its SHA-256 printed, and with a list
of all dependencies and their licences (CycloneDX). With a tag, version and changelog must be of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

from tests.snippets import snippets

ROOT = Path(__file__).parents[1]
ENQUEUE = """\
from tasks import EmailArgs, send_email
print(send_email.enqueue(EmailArgs(to="ada@example.org", subject="Hello")).task)
"""
PYPROJECT = "[tool.typedq]\n"
WANTED = {
    *("typedq/py.typed", "typedq/broker/lua/enqueue.lua", "typedq/cli/__init__.py"),
    *("typedq/dashboard/templates/now.html", "typedq/dashboard/static/htmx.LICENSE.txt"),
}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, show what it says, and return it. Raises CalledProcessError."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TYPEDQ_"))}
    environment["SOURCE_DATE_EPOCH"] = "1767225600"  # the same sources make the same bytes
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    print(f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}", flush=True)
    done.check_returncode()
    return done.stdout


def build(directory: Path) -> list[Path]:
    """Build sdist and wheel into a directory, in an isolated environment."""
    run(sys.executable, "-m", "build", "--outdir", directory)
    return sorted(directory.iterdir())


def names(archive: Path) -> set[str]:
    """Return the paths in an archive; those of an sdist without its leading folder."""
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def use(wheel: Path, directory: Path) -> Path:
    """Install the wheel into an empty environment; run the README's first example there.

    Returns its interpreter.
    """
    venv.create(directory / "venv", with_pip=True)
    programs = directory / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python, typedq = programs / "python", programs / "typedq"
    run(python, "-m", "pip", "install", "-q", f"typedq[embedded] @ {wheel.as_uri()}")
    (directory / "tasks.py").write_text(next(snippets((ROOT / "README.md").read_text())).text)
    (directory / "pyproject.toml").write_text(PYPROJECT)
    try:
        assert run(python, "-c", ENQUEUE, cwd=directory) == "send_email\n"
        told = run(typedq, "worker", "tasks:app", "--burst", cwd=directory)
        assert "to ada@example.org: Hello" in told, told
    finally:
        run(typedq, "server", "stop", "-A", "tasks:app", cwd=directory)
    return python


def list_dependencies(python: Path, path: Path) -> None:
    """Write what an environment has, as CycloneDX. Raises AssertionError without a licence."""
    run(sys.executable, "-m", "cyclonedx_py", "environment", python, "-o", path)
    parts = json.loads(path.read_text())["components"]
    for part in sorted(parts, key=lambda part: str(part["name"]).lower()):
        licences = [each.get("license", each) for each in part.get("licenses", ())]
        names = [each.get("id") or each.get("name") or each["expression"] for each in licences]
        assert names, f"{part['name']} names no licence"
        print(f"{part['name']:24} {part.get('version', ''):10} {'; '.join(names)[:60]}")


def check_tag(tag: str) -> None:
    """Raise AssertionError unless version and changelog are those of the tag."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tag == f"v{version}", f"the tag is {tag}, and pyproject.toml has {version}"
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    found = re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found, f"CHANGELOG.md has no heading `## [{version}] - YYYY-MM-DD`"


def main() -> None:
    """Do all of it; the first failure ends it."""
    parser = argparse.ArgumentParser(description="Build and check what is to be released.")
    parser.add_argument("--tag", help="such as v0.1.0")
    if tag := parser.parse_args().tag:
        check_tag(tag)
    with tempfile.TemporaryDirectory(prefix="tq") as temporary:
        first, second = Path(temporary, "first"), Path(temporary, "second")
        built, again = build(first), build(second)
        for one, other in zip(built, again, strict=True):
            assert one.read_bytes() == other.read_bytes(), f"{one.name}: two builds differ"
            missing = WANTED - names(one)
            assert not missing, f"{one.name} lacks {missing}"
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        (wheel,) = (path for path in built if path.suffix == ".whl")
        (place := Path(temporary, "use")).mkdir()
        python = use(wheel, place)
        run(python, "-m", "pip", "uninstall", "-q", "-y", "pip", "setuptools")
        shutil.rmtree(dist := ROOT / "dist", ignore_errors=True)
        dist.mkdir()
        list_dependencies(python, dist / f"{wheel.name.rpartition('-py3')[0]}.cdx.json")
        for path in built:
            shutil.copy(path, dist)
            print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


if __name__ == "__main__":
    main()
