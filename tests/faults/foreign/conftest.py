"""The stage of the situations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.foreign import app

if TYPE_CHECKING:
    from tests.faults.harness import Stage


@pytest.fixture
def foreign(stage: Stage) -> Stage:
    """A stage whose app declares every situation."""
    stage.declare(app)
    return stage
