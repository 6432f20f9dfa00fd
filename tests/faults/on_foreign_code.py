"""Foreign code of every kind, in random order, beside other tasks."""

from __future__ import annotations

import signal
import time
from collections import Counter

from tests.faults.foreign import app
from tests.faults.foreign.app import TABLE, names
from tests.faults.harness import pause
from tests.faults.scene import Scene, scenario

NOT_BESIDE = {
    # They change their whole process for a moment, and so the coroutines that run beside them.
    *("recursion_limited", "recursion_limited_by_failure", "hostile_trace", "umask_changed"),
    # By a clock that is ahead for a moment, they would sleep for years.
    *("changes_clock_ahead", "changes_clock_behind"),
    # CPython does not know of such a fork. If another thread waits for the interpreter's lock just
    # then, the copy yields it to that thread, which it does not have, and stops for ever.
    "copy_of_c_code",
}

MOST_WAITING = 50


def tasks(*, harmless: bool = False) -> list[str]:
    """Return the names of tasks; `harmless`: they end well however often they are interrupted."""
    found = [*names("sync"), *names("coroutine")]
    if harmless:
        return [name for name in found if _is_harmless(name)]
    return [name for name in found if _may_run_beside(name.rpartition(".")[0])]


def _may_run_beside(name: str) -> bool:
    """Return False for what others notice, as what libraries do to a whole process."""
    return name not in NOT_BESIDE and TABLE[name].chapter != "libraries"


def _is_harmless(name: str) -> bool:
    each = TABLE[name.rpartition(".")[0]]
    # A copy of a task writes its end before it ends.
    return each.outcome == "done" and not each.raw and _may_run_beside(each.name)


@scenario(48, "foreign code of every kind, in random order, beside other tasks", "all ends right")
def foreign_code(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    stage.declare(app)
    order, sent = tasks(), dict[str, str]()
    workers = [stage.worker("-c", "2", **scene.elsewhere()) for _ in range(2)]
    end = time.monotonic() + scene.seconds
    with scene.producing(stage, batch=1):
        while time.monotonic() < end:
            # Some take a second: without a bound, more wait than can be run before the deadline.
            if stage.look().queues["mid"].ready > MOST_WAITING:
                pause(0.1)
                continue
            scene.dice.shuffle(order)
            chosen = order[:20]
            sent |= dict(zip(stage.send_many([stage.call(t) for t in chosen]), chosen, strict=True))
            pause(scene.dice.uniform(0.0, 0.2))
    # A drain in the middle of it, as at a deploy.
    workers[0].signal(signal.SIGTERM)
    outcomes = {id: TABLE[task.rpartition(".")[0]].outcome for id, task in sent.items()}
    buried = [id for id, outcome in outcomes.items() if outcome in ("failed", "rejected")]
    scene.finish(stage, buried=len(buried))
    died = [event for worker in workers for event in worker.events("child died")]
    scene.expect(not died, f"children died: {died[:3]}")
    dead, ends = stage.dead(), Counter(stage.ids("end"))
    for id, outcome in outcomes.items():
        kind = dead[id]["kind"] if id in dead else "done"
        right = kind == ("done" if outcome == "retried" else outcome)
        runs = [effect for effect in stage.effects() if effect.id == id] if not right else []
        scene.expect(right, f"{sent[id]} ended as {kind}: {dead.get(id, runs)}")
        times = ends[id]
        scene.expect(times == (kind == "done"), f"{sent[id]}, {kind}, ended {times} times")
