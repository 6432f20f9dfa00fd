"""Run tests with the oldest supported release of a dependency."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_with(
    release: str,
    directory: Path,
    selection: Sequence[str],
    environment: Mapping[str, str],
    *,
    python: str = sys.executable,
    paths: Sequence[Path] = (),
) -> None:
    """Run a selection of tests with a release that is installed before all others.

    release: as `redis==5.2.0`; its declared minimum is checked, too
    directory: where it is installed; paths: of what `python` does not have by itself
    """
    name, _, version = release.partition("==")
    declared = (ROOT / "pyproject.toml").read_text()
    assert f'"{name}>={version.removesuffix(".0")}"' in declared
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    if subprocess.run([*install, str(directory), release], check=False).returncode:
        pytest.skip("it cannot be installed here")
    where = os.pathsep.join(map(str, (directory, *paths, ROOT)))
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *selection],
        env={**os.environ, **environment, "PYTHONPATH": where},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
