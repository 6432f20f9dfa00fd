from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat.fuzz import PARTS, run


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PARTS)
def test_no_verdict_promises_more_than_readers_keep(name: str) -> None:
    seed = time.time_ns() % 1_000_000
    (report,) = run([name], 2_000, seed)
    print(f"seed {seed}: {report}")
    for bad in (report.dangerous, report.crashes, report.slow):
        assert not len(bad), bad[0]
    assert report.is_good, report.conservative[0]
    assert report.compatible >= report.answers / 4
    assert len(report.wrong_examples) <= report.examples / 50, report.wrong_examples[0]
