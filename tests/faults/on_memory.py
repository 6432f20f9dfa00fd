"""A child that the kernel kills because its cgroup is out of memory."""

from __future__ import annotations

import os
import time

from tests.faults.cgroups import GIVEN, JOINED, kills, limited
from tests.faults.harness import wait_until
from tests.faults.on_processes import ready
from tests.faults.scene import Scene, scenario

LIMIT = 256 << 20


@scenario(
    24, "children that the kernel kills for their memory", "the cause is named; others requeued, B0"
)
def out_of_memory(scene: Scene) -> None:
    group = scene.enter(limited(f"typedq-{os.getpid()}", LIMIT))
    if group is None:
        scene.skipped = f"needs {GIVEN}, a directory for cgroups that has the memory controller"
        return
    stage = scene.stage(scene.server().url)
    worker = stage.worker("-c", "2", **{JOINED: str(group)})
    ready(worker, 2)

    def sessions() -> set[bytes]:
        return set(stage.redis.zrange(stage.keys.sessions, 0, -1))

    turns = max(3, round(scene.seconds / 3))
    for turn in range(turns):
        gate = f"gate{turn}"
        calls = [stage.call(task, stage.gate(gate)) for task in ("hold", *["ahold"] * 5)]
        neighbours = stage.send_many(calls)
        wait_until(lambda ids=neighbours: set(ids) <= set(stage.ids("start")), 30.0)  # type: ignore[misc]
        before, killed = sessions(), kills(group)
        bad = stage.send(scene.dice.choice(("poison", "apoison")), "memory")
        wait_until(lambda n=killed: kills(group) > n, 60.0, every=0.0005)  # type: ignore[misc]
        since = time.monotonic()
        scene.note("killed", id=bad)
        wait_until(lambda seen=before: seen - sessions() or worker.exit_code, 30.0, every=0.0005)  # type: ignore[misc]
        if worker.exit_code is not None:
            scene.broken.append(f"the supervisor died, too: {worker.exit_code}")
            return
        scene.measure("B0, killed for memory", time.monotonic() - since, 0.1 * 4)
        stage.open_gate(gate)
        wait_until(stage.is_drained, 60.0, every=0.02)
        reason = stage.dead().get(bad, {})
        clear = reason.get("kind") == "crashed" and "memory" in reason.get("error", "")
        scene.expect(clear, f"not labelled: {reason}")

    # The dead letter is written before the death of the child is logged.
    wait_until(lambda: len(worker.events("child died")) >= kills(group))
    told = worker.events("child died")
    scene.expect(all("memory" in line["message"] for line in told), f"not labelled: {told}")
    scene.expect(len(told) == kills(group), f"{len(told)} deaths, {kills(group)} by the kernel")
    ready(worker, 2)
    worker.children()[0].kill()
    wait_until(lambda: len(worker.events("child died")) > len(told))
    by_hand = worker.events("child died")[-1]["message"]
    scene.expect("memory" not in by_hand, f"kill -9 is told as {by_hand!r}")
    scene.finish(stage, buried=turns)
