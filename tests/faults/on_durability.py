"""Faults that lose what only the primary had: lost with `memory`, kept with `replica`."""

from __future__ import annotations

import os
from unittest.mock import patch

from tests.faults import topologies
from tests.faults.harness import pause, wait_until
from tests.faults.on_topology import in_step
from tests.faults.scene import Scene, scenario
from tests.faults.topologies import client, port_of
from typedq.embedded import OwnServer
from typedq.worker.child import MAX_PREFETCHED

HASTY = 20


def part(replica: OwnServer) -> None:
    """Disconnect the replica: it cannot log in to its primary. Sentinel still reaches both."""
    hand = client(port_of(replica))
    hand.config_set("masteruser", "nobody")
    hand.config_set("masterauth", "nothing")
    hand.execute_command("CLIENT", "KILL", "TYPE", "MASTER")
    wait_until(lambda: hand.info("replication")["master_link_status"] == "down", 10.0)


@scenario(42, "three Sentinels, kill -9 a master whose replica lags", "with WAIT: nothing lost")
def replica_lags(scene: Scene) -> None:
    url, primary, replica = scene.enter(topologies.sentinels(scene.directory))
    hasty = scene.stage(url, eyes=replica.url)
    hasty.send("nap")
    scene.enter(patch.dict(os.environ, TYPEDQ_DURABILITY="replica", TYPEDQ_ENQUEUE_DEADLINE="60"))
    stage = scene.stage(url, eyes=replica.url, lease=2.0)
    worker = stage.worker("-c", "2")
    load = stage.send_many(scene.calls(stage, 200))
    wait_until(lambda: set(load) <= stage.ended())
    in_step(primary)
    part(replica)
    with scene.producing(stage):
        for _ in range(HASTY):
            hasty.send("nap")
        pause(scene.dice.uniform(0.2, 1.2))
        primary.kill()
        since = scene.note("primary killed")
        wait_until(lambda: client(port_of(replica)).info("replication")["role"] == "master", 30.0)
        primary.start()
        # Before this, no replica can confirm.
        wait_until(lambda: topologies.is_replica_of(primary, replica), 60.0)
        scene.probe(stage, "back, and confirmed by a replica", since, 30.0)
        pause(scene.seconds / 4)
    # Workers may have used the old master until Sentinel demoted it. Their leases must expire.
    wait_until(lambda: stage.redis.zcard(stage.keys.sessions) == 2, 30.0)
    verdict = scene.finish(stage, batches=MAX_PREFETCHED)
    lost = HASTY + 1 - hasty.look().queues["mid"].ready
    scene.note("lost with durability=memory", count=lost)
    scene.expect(lost == HASTY, f"{lost} of {HASTY} lost with memory: the fault did not happen")
    scene.expect(not stage.uncertain, f"{len(stage.uncertain)} uncertain")
    scene.expect(not worker.events("child died"), "a child died")
    scene.expect(verdict.accepted > len(load), "nothing was sent meanwhile")
