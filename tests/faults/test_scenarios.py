"""A short selection of the faults; `make faults` runs all of them, `make soak` mixes them."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.harness import ROOT
from tests.faults.plan import ELSEWHERE, SCENARIOS, SOAK
from tests.faults.scene import play

if TYPE_CHECKING:
    from pathlib import Path

SHORT = {
    3: 4,
    6: 3,
    7: 4,
    8: 4,
    9: 3,
    10: 2,
    11: 2,
    13: 4,
    16: 4,
    19: 5,
    26: 1,
    27: 2,
    34: 1,
    38: 1,
    48: 3,
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", SHORT)
def test_scenario_keeps_its_promise(number: int, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 24)
    scene = play(number, seed, tmp_path, SHORT[number])
    again = f"python -m tests.faults {number} --seed {seed} --seconds {SHORT[number]}"
    assert not scene.broken, f"{again}\n{scene.outcome()}"
    if scene.skipped:
        pytest.skip(scene.skipped)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_faults_at_random(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 24)
    scene = play(SOAK, seed, tmp_path, 12)
    assert not scene.broken, f"python -m tests.faults soak --seed {seed}\n{scene.outcome()}"


def test_the_history_can_be_read_by_others(tmp_path: Path) -> None:
    scene = play(26, 1, tmp_path, 1)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines[:-1]] == ["enqueued"] * 2 + ["start", "end"] * 2
    assert [line["at"] for line in lines[:-1]] == sorted(line["at"] for line in lines[:-1])
    assert lines[-1]["accepted"] == 2
    assert tuple(lines[-1]["broken"]) == tuple(scene.broken) == ()


def test_every_fault_of_the_plan_has_its_place() -> None:
    assert not SCENARIOS.keys() & ELSEWHERE.keys()
    assert set(range(1, 40)) - SCENARIOS.keys() - ELSEWHERE.keys() == set()
    for where in ELSEWHERE.values():
        path, _, names = where.partition(": ")
        for file in filter(lambda part: part.startswith("tests/"), path.split(", ")):
            text = (ROOT / file).read_text()
            wanted = names.split(";")[0].split(", ") if names else []
            assert all(f"def test_{name}" in text for name in wanted), (file, wanted)
