"""Faults of servers in company: a failover that is asked for, a primary that is killed."""

from __future__ import annotations

import time

from redis.crc import key_slot

from tests.faults import topologies
from tests.faults.harness import Stage, pause, wait_until
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, scenario
from tests.faults.topologies import client, port_of
from typedq.localserver import OwnServer


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
    """Wait until the replica has all that was written until now."""
    wait_until(lambda: client(port_of(primary)).wait(1, 1000) >= 1)


@scenario(14, "three Sentinels, kill -9 the master", "back within 15 s; loss: not replicated only")
def sentinels(scene: Scene) -> None:
    url, primary, replica = scene.enter(topologies.sentinels(scene.directory))
    stage = scene.stage(url, eyes=replica.url)
    worker = stage.worker("-c", "2")
    held = stage.send("hold", stage.gate())
    load = stage.send_many(scene.calls(stage, 200))
    wait_until(lambda: held in stage.ids("start") and set(load) <= stage.ended())
    waiting = stage.send_many([stage.app.find("nap").options(delay=8.0).call()] * 50)
    in_step(primary)
    primary.kill()
    since = scene.note("primary killed")
    scene.probe(stage, "back, three Sentinels", since, 15.0 / 4)
    with scene.producing(stage):
        pause(scene.seconds / 4)
    stage.open_gate()
    wait_until(lambda: {held, *waiting} <= stage.ended(), 30.0)
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs <= 64, f"{verdict.extra_runs} extra runs")
    scene.expect(not worker.events("child died"), "a child died")


def stage_on(scene: Scene, nodes: list[OwnServer], slots: range) -> Stage:
    """A stage whose namespace lies in these slots."""
    url = f"redis+cluster://127.0.0.1:{port_of(nodes[1])},127.0.0.1:{port_of(nodes[3])}"
    while True:
        node = 0 if slots.start == 0 else 1
        name = f"c{scene.dice.randrange(1 << 32)}"
        if key_slot(b"{%s}" % name.encode()) in slots:
            eyes = nodes[3 if node == 0 else 1].url
            return scene.stage(url, eyes=eyes, name=name)


@scenario(15, "three-node Cluster, kill a master that has a replica", "other shards unaffected")
def cluster(scene: Scene) -> None:
    nodes = scene.enter(topologies.cluster())
    hit, other = (stage_on(scene, nodes, slots) for slots in (range(5461), range(5461, 10923)))
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
        scene.expect(verdict.extra_runs <= 64, f"{verdict.extra_runs} extra runs")
