from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contracts.fuzz_pydantic import run


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_verdict_on_pydantic_types_promises_more_than_they_keep() -> None:
    seed = time.time_ns() % 1_000_000
    report = run(1_500, seed)
    print(f"seed {seed}: {report}")
    assert not report.crashes, report.crashes[0]
    assert not report.dangerous, report.dangerous[0]
    assert report.compatible >= report.answers / 4
