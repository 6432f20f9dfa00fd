"""A short kill loop; `python -m tests.faults.kill_loop` runs the long one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.harness import Effect, Stage
from tests.faults.kill_loop import KillLoop, report

if TYPE_CHECKING:
    from pathlib import Path

    from typedq.embedded import OwnServer


@pytest.mark.slow
def test_killed_children_lose_bury_and_repeat_nothing(
    server: OwnServer, namespace: str, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with Stage(server.url, namespace, tmp_path) as stage:
        loop = KillLoop(stage, messages=3000, kills=30, children=2, seed=seed)
        verdict = loop.run()
        told = f"--kills 30 --messages 3000 --seed {seed}\n{report(loop, verdict, 0)}"
    assert not verdict.broken, told
    assert len(loop.killed) == 30
    assert sorted(loop.recoveries)[15] < 0.3, told


def test_checker_reports_each_violation(
    server: OwnServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stage(server.url, namespace, tmp_path) as stage:
        ids = stage.send_many([stage.call("nap")] * 3)
        assert "3 lost" in stage.check().broken
        assert stage.worker("-c", "1", "--burst").wait(20.0) == 0
        assert not stage.check().broken
        stage.redis.hset(stage.keys.in_flight("ghost"), "x", "y")
        assert any("keys are left" in what for what in stage.check().broken)
        stage.redis.delete(stage.keys.in_flight("ghost"))
        stage.redis.hincrby(stage.keys.counts, "nap@0", 1)
        stage.redis.hincrby(stage.keys.stats, "done", 1)
        broken = stage.check().broken
        assert any("waiting counts" in what for what in broken)
        assert any("ends for 3 messages" in what for what in broken)
        twice = [*stage.effects(), Effect(ids[0], 1, 1, "start", 0.0, "nap")]
        twice += [Effect(ids[0], 1, 1, "end", 0.0, "nap"), Effect("?", 1, 1, "start", 0.0, "nap")]
        monkeypatch.setattr(
            Stage, "effects", lambda _, what="": [e for e in twice if what in ("", e.what)]
        )
        twice.pop()
        assert "1 extra runs" in stage.check().broken
        twice.append(Effect("?", 1, 1, "start", 0.0, "nap"))
        assert "1 ids that nobody sent" in stage.check().broken
