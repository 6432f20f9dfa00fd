from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat.fuzz import run


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_verdict_promises_more_than_the_decoders_keep() -> None:
    seed = time.time_ns() % 1_000_000
    report = run(3_000, seed)
    print(f"seed {seed}: {report}")
    assert not report.crashes, report.crashes[0]
    assert not report.dangerous, report.dangerous[0]
    assert report.conservative_percent <= 3
    assert len(report.false_examples) <= report.examples / 50
