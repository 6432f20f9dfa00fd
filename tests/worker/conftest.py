"""A stage with short leases for each test; its workers are gone when the test is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.harness import Stage

if TYPE_CHECKING:
    from typedq.embedded import OwnServer


@pytest.fixture
def brief(server: OwnServer, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose leases last 1 s instead of 30."""
    with Stage(server.url, namespace, tmp_path, lease=1.0) as here:
        yield here
