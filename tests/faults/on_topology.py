"""Faults of replicated servers: planned failovers, killed primaries, moved slots."""

from __future__ import annotations

import time
from contextlib import ExitStack

from redis.crc import key_slot

from tests.faults import topologies
from tests.faults.harness import Stage, pause, wait_until
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, scenario
from tests.faults.topologies import SLOTS, client, port_of
from typedq.embedded import OwnServer
from typedq.worker.child import MAX_PREFETCHED


def role(server: OwnServer) -> str:
    return str(client(port_of(server)).info("replication")["role"])


@scenario(13, "FAILOVER to a replica, behind one address", "D = 0, B1")
def failover(scene: Scene) -> None:
    first, second = scene.enter(topologies.replicated())
    proxy = scene.enter(Proxy(port_of(first)))
    stage = scene.stage(proxy.url)
    worker = stage.worker("-c", "2")
    held = stage.send("hold", stage.gate())
    wait_until(lambda: stage.effects("start"))
    for _ in range(max(2, round(scene.seconds / 4))):
        with scene.producing(stage):
            pause(scene.dice.uniform(0.3, 0.8))
            client(port_of(first)).execute_command("FAILOVER")
            wait_until(lambda to=second: role(to) == "master", 30.0)  # type: ignore[misc]
            proxy.cut(port_of(second))
            since = scene.note("failed over")
            scene.probe(stage, "B1 failover", since, 2.0)
        first, second = second, first
        wait_until(lambda a=first, b=second: topologies.is_replica_of(b, a), 30.0)  # type: ignore[misc]
    stage.open_gate()
    wait_until(lambda: held in stage.ended())
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
    scene.expect(not worker.events("child died"), "a child died")


def in_step(primary: OwnServer) -> None:
    """Wait until the replica has all writes so far."""
    wait_until(lambda: client(port_of(primary)).wait(1, 1000) >= 1)


@scenario(
    14, "three Sentinels, kill -9 the master", "back within 15 s; only unreplicated writes lost"
)
def sentinels(scene: Scene) -> None:
    url, primary, replica = scene.enter(topologies.sentinels(scene.directory))
    stage = scene.stage(url, eyes=replica.url)
    worker = stage.worker("-c", "2")
    held = stage.send("hold", stage.gate())
    load = stage.send_many(scene.calls(stage, 200))
    wait_until(lambda: held in stage.ids("start") and set(load) <= stage.ended())
    waiting = stage.send_many([stage.app.tasks["nap"].options(delay=8.0).call()] * 50)
    in_step(primary)
    primary.kill()
    since = scene.note("primary killed")
    scene.probe(stage, "back, three Sentinels", since, 15.0 / 4)
    with scene.producing(stage):
        pause(scene.seconds / 4)
    stage.open_gate()
    wait_until(lambda: {held, *waiting} <= stage.ended(), 30.0)
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs <= MAX_PREFETCHED, f"{verdict.extra_runs} extra runs")
    scene.expect(not worker.events("child died"), "a child died")


def stage_on(
    scene: Scene, nodes: list[OwnServer], master: int, *, eyes: str | None = None
) -> Stage:
    """Return a stage whose namespace starts on this master, also after its slot was moved."""
    url = f"redis+cluster://127.0.0.1:{port_of(nodes[1])},127.0.0.1:{port_of(nodes[3])}"
    while True:
        name = f"c{scene.dice.randrange(1 << 32)}"
        if slot_of(name) in SLOTS[master]:
            return scene.stage(url, eyes=eyes or url, name=name)


def slot_of(namespace: str) -> int:
    return key_slot(b"{%s}" % namespace.encode())


@scenario(15, "three-node Cluster, kill a master that has a replica", "other shards unaffected")
def cluster(scene: Scene) -> None:
    nodes = scene.enter(topologies.cluster())
    hit = stage_on(scene, nodes, 0, eyes=nodes[3].url)
    other = stage_on(scene, nodes, 1)
    for stage in (hit, other):
        stage.worker("-c", "1")
        load = stage.send_many(scene.calls(stage, 50))
        wait_until(lambda s=stage, ids=load: set(ids) <= s.ended())  # type: ignore[misc]
    in_step(nodes[0])
    nodes[0].kill()
    since, asked = scene.note("master killed"), time.monotonic()
    while time.monotonic() - asked < 3.0:
        scene.probe(other, "another shard answers", time.time(), 0.5)
    scene.probe(hit, "back, a Cluster's replica took over", since, 15.0 / 4)
    for stage in (hit, other):
        verdict = scene.finish(stage)
        scene.expect(verdict.extra_runs <= MAX_PREFETCHED, f"{verdict.extra_runs} extra runs")


def spread(scene: Scene, nodes: list[OwnServer]) -> list[Stage]:
    """Return one stage per master, each with a running worker."""
    stages = [stage_on(scene, nodes, master) for master in range(len(SLOTS))]
    for stage in stages:
        stage.worker("-c", "2")
        load = stage.send_many(scene.calls(stage, 50))
        wait_until(lambda s=stage, ids=load: set(ids) <= s.ended(), 30.0)  # type: ignore[misc]
    return stages


def finish(scene: Scene, stages: list[Stage]) -> None:
    for stage in stages:
        verdict = scene.finish(stage)
        scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
        scene.expect(not stage.workers[0].events("child died"), "a child died")


@scenario(
    44, "six-node Cluster, slots are moved under load and while idle", "each message once; B1"
)
def slots_move(scene: Scene) -> None:
    nodes = scene.enter(topologies.cluster(replicas=3))
    stages = spread(scene, nodes)
    held = [stage.send("hold", stage.gate()) for stage in stages]
    for turn in range(max(3, round(scene.seconds / 3))):
        for place, stage in enumerate(stages):
            slot = slot_of(stage.keys.tag[1:-1])
            source, target = nodes[(place + turn) % 3], nodes[(place + turn + 1) % 3]
            parts = list[float]()

            def between(parts: list[float] = parts) -> None:
                parts.append(scene.dice.uniform(0.0, 0.1))
                pause(parts[-1])

            idle = turn % 3 == 2
            wait_until(lambda s=stage: s.look().in_flight == 1) if idle else None  # type: ignore[misc]
            with ExitStack() as busy:
                busy.enter_context(scene.producing(stage)) if not idle else None
                between()
                if turn % 2 == 0 or not topologies.move_slot_whole(slot, source, target):
                    topologies.move_slot(slot, source, target, between)
                since = scene.note("slot moved", slot=slot, idle=idle)
                event = "B1 a slot moved" + (", workers idle" if idle else "")
                scene.probe(stage, event, since, 2.0)
    for stage, hold in zip(stages, held, strict=True):
        stage.open_gate()
        wait_until(lambda s=stage, held=hold: held in s.ended())  # type: ignore[misc]
    finish(scene, stages)


@scenario(45, "six-node Cluster, CLUSTER FAILOVER of each master in turn", "each message once; B1")
def cluster_failover(scene: Scene) -> None:
    nodes = scene.enter(topologies.cluster(replicas=3))
    stages = spread(scene, nodes)
    for place, stage in enumerate(stages):
        old, new = nodes[place], nodes[place + 3]
        for _ in range(max(1, round(scene.seconds / 10))):
            with scene.producing(stage):
                pause(scene.dice.uniform(0.3, 0.8))
                client(port_of(new)).execute_command("CLUSTER", "FAILOVER")
                wait_until(lambda to=new: role(to) == "master", 30.0)  # type: ignore[misc]
                since = scene.note("failed over")
                scene.probe(stage, "B1 a Cluster's failover", since, 2.0)
            wait_until(lambda a=old, b=new: topologies.is_replica_of(a, b), 30.0)  # type: ignore[misc]
            old, new = new, old
    finish(scene, stages)


@scenario(46, "a Cluster's master without a replica is killed and restarted", "nothing lost; B1")
def cluster_down(scene: Scene) -> None:
    nodes = scene.enter(topologies.cluster(replicas=1))
    hit, other = (stage_on(scene, nodes, master) for master in (2, 1))
    for stage in (hit, other):
        stage.worker("-c", "1")
        load = stage.send_many(scene.calls(stage, 50))
        wait_until(lambda s=stage, ids=load: set(ids) <= s.ended(), 30.0)  # type: ignore[misc]
    for _ in range(max(1, round(scene.seconds / 5))):
        with scene.producing(hit), scene.producing(other):
            pause(scene.dice.uniform(0.3, 0.8))
            nodes[2].kill()
            # By default, a Cluster without all of its slots also refuses on the other masters.
            wait_until(lambda: "cluster_state:fail" in state(nodes[1]), 30.0)
            pause(scene.dice.uniform(0.5, 1.5))
            nodes[2].start()
            wait_until(lambda: all("cluster_state:ok" in state(n) for n in nodes), 30.0)
            since = scene.note("a Cluster again")
            scene.probe(hit, "B1 a Cluster's master is back", since, 2.0)
            scene.probe(other, "B1 the other masters of that Cluster", since, 2.0)
    for stage in (hit, other):
        scene.finish(stage, batches=MAX_PREFETCHED)


def state(node: OwnServer) -> str:
    return str(client(port_of(node)).execute_command("CLUSTER", "INFO"))
