"""A server of its own for what is done to one, and a stage on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Place
from tests.faults.harness import Stage
from typedq.embedded import OwnServer


@pytest.fixture(scope="module")
def private() -> Iterator[OwnServer]:
    """A server whose users and keys the tests of one file may spoil."""
    with OwnServer(tcp=True) as own:
        yield own


@pytest.fixture
def stage(private: OwnServer, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(private.url, namespace, tmp_path, lease=1.0) as here:
        yield here


@pytest.fixture
def place(tmp_path: Path, namespace: str, capfd: pytest.CaptureFixture[str]) -> Place:
    return tmp_path, namespace, capfd
