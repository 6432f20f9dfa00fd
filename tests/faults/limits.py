"""The long tests of limits; the test suite runs short versions.

python -m tests.faults.limits hammer --tasks 20000
python -m tests.faults.limits leak --tasks 2000
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults import limited
from tests.faults.harness import Stage
from typedq import Call
from typedq.embedded import OwnServer

# The tasks end this long before or after their deadline. A sleep takes longer than asked for.
AROUND_S = {"hammer": (0.0002, 0.0002), "ahammer": (0.0015, 0.0001)}
LEAK_MB = 100


def prepare(stage: Stage) -> Stage:
    """Add the tasks that reach their limits to the app of a stage."""
    stage.declare(limited)
    return stage


def hammer(stage: Stage, tasks: int, dice: random.Random) -> Counter[str]:
    """Run tasks that end close to their soft timeout. Count by kind how many returned or raised.

    "wrong" counts tasks that returned and are reported as failed, or raised and are not.
    """
    calls = list[Call]()
    for _ in range(tasks):
        kind = dice.choice(list(AROUND_S))
        early, late = AROUND_S[kind]
        near = dice.uniform(limited.HAMMER_S - early, limited.HAMMER_S + late)
        calls.append(stage.call(kind, near))
    stage.send_many(calls)
    _run(stage, 60 + tasks / 100)
    dead, seen = stage.dead(), Counter[str]()
    witnessed = [effect for effect in stage.effects() if effect.what in ("returned", "raised")]
    for effect in witnessed:
        seen[f"{effect.task} {effect.what}"] += 1
        seen["wrong"] += (effect.what == "raised") is not (effect.id in dead)
    ids = Counter(effect.id for effect in witnessed)
    seen["wrong"] += sum(count != 1 for count in ids.values())
    seen["wrong"] += len(set(stage.accepted) ^ ids.keys())
    return seen


def leak(stage: Stage, tasks: int, dice: random.Random) -> Counter[str]:
    """Run tasks that leak 1 MiB each. Count recycled children and the highest memory of a child.

    "wrong" counts broken promises, as the checker of all faults does.
    """
    stage.environment["TYPEDQ_MAX_CHILD_MEM_MB"] = str(LEAK_MB)
    stage.send_many([stage.call("leak")] * tasks)
    _run(stage, 60 + tasks / 10)
    verdict, sizes = stage.check(), [e.what for e in stage.effects() if e.what.endswith("MB")]
    return Counter(
        {
            "most MB": max(int(size[:-2]) for size in sizes),
            "recycled": len(stage.workers[-1].events("memory limit")),
            "wrong": len(verdict.broken) + verdict.extra_runs,
        }
    )


def _run(stage: Stage, deadline: float) -> None:
    worker = stage.worker("--burst", "-c", "2")
    if code := worker.wait(deadline):
        raise RuntimeError(f"the worker ended with {code}: {worker.log.read_text()[-4000:]}")


_KINDS: dict[str, Callable[[Stage, int, random.Random], Counter[str]]] = {
    "hammer": hammer,
    "leak": leak,
}


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("kind", choices=_KINDS)
    flags.add_argument("--tasks", type=int, default=2_000)
    flags.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = flags.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        OwnServer() as server,
        Stage(server.url, f"limits{given.seed}", Path(directory)) as stage,
    ):
        started = time.monotonic()
        seen = _KINDS[given.kind](prepare(stage), given.tasks, random.Random(given.seed))
        print(f"{given.tasks:,} tasks, seed {given.seed}, {time.monotonic() - started:.1f} s")
        for what, count in sorted(seen.items()):
            print(f"{what:18} {count:,}")
    return int(seen["wrong"] > 0 or seen["most MB"] > LEAK_MB + 3)


if __name__ == "__main__":
    sys.exit(main())
