"""Faults of processes: killed workers, poison messages, many idle children, several queues."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from tests.faults.harness import Stage, Worker, pause, wait_until
from tests.faults.scene import ALWAYS, Scene, scenario
from typedq.broker.script import script
from typedq.worker.child import MAX_PREFETCHED

LEASE_S = 2.0


def ready(worker: Worker, children: int) -> None:
    wait_until(lambda: worker.events("worker started") and len(worker.children()) == children, 60)


def kill_and_time(scene: Scene, lease: float, *, same_host: bool, round: int, stage: Stage) -> None:
    """Kill a worker that holds a message. Another one runs elsewhere, or starts on its machine."""
    gate, machine = f"gate{round}", scene.elsewhere()
    worker = stage.worker("-c", "2", **machine)
    ids = stage.send_many([*scene.calls(stage, 30), stage.call("hold", stage.gate(gate))])
    stage.send_many(scene.calls(stage, 30))
    wait_until(lambda: ids[-1] in stage.ids("start"), 30.0)
    if not same_host:
        ready(stage.worker("-c", "2", **scene.elsewhere()), 2)
    worker.kill_group()
    killed = scene.note("killed", pid=worker.pid, holding=ids[-1])
    if same_host:
        stage.worker("-c", "2", **machine)
    starts = wait_until(
        lambda: [e.at for e in stage.effects("start") if e.id == ids[-1] and e.at > killed], 90.0
    )
    event, bound = ("B1 restart", 2.0) if same_host else (f"B2, lease {lease:g} s", lease + 1.0)
    scene.measure(event, starts[0] - killed, bound + 4.0)
    stage.open_gate(gate)
    wait_until(stage.is_drained, 60.0, every=0.02)
    for other in stage.workers:
        scene.expect(other.exit_code is not None or other.stop() == 0, "a worker's exit code")


def kill_groups(scene: Scene, lease: float) -> None:
    stage = scene.stage(scene.server().url, lease=lease)
    end, round = time.monotonic() + scene.seconds, 0
    while round < 2 or time.monotonic() < end:
        kill_and_time(scene, lease, same_host=round % 2 == 1, round=round, stage=stage)
        round += 1
    scene.finish(stage, batches=2 * MAX_PREFETCHED * round)


@scenario(3, "kill -9 the whole group, in a loop", "within B2", seconds=30)
def whole_group(scene: Scene) -> None:
    kill_groups(scene, LEASE_S)


@scenario(41, "kill -9 the whole group; the default lease of 30 s", "within B2", seconds=60)
def whole_group_usual(scene: Scene) -> None:
    kill_groups(scene, 30.0)


def die_unseen(scene: Scene, lease: float) -> None:
    server = scene.server(*ALWAYS)
    stage = scene.stage(server.url, lease=lease)
    worker = stage.worker("-c", "1", **scene.elsewhere())
    id = stage.send("hold", stage.gate())
    wait_until(lambda: stage.effects("start"))
    other = stage.worker("-c", "1", **scene.elsewhere())
    ready(other, 1)
    server.kill()
    scene.note("server killed")
    worker.kill_group()
    pause(lease + 2.0)  # the lease ends while the server is down
    server.start()
    since = scene.note("server back")
    stage.open_gate()
    scene.ends(stage, id, f"B3, lease {lease:g} s", since, 2 * lease + 10.0)
    scene.finish(stage)


@scenario(40, "workers that die while the server is down", "within B3: twice the lease + 10 s")
def died_unseen(scene: Scene) -> None:
    die_unseen(scene, LEASE_S)


@scenario(43, "workers that die while the server is down; the default lease of 30 s", "within B3")
def died_unseen_usual(scene: Scene) -> None:
    die_unseen(scene, 30.0)


@scenario(
    23, "poison: os._exit, SIGSEGV, kill -9 itself", "dead after at most five; no other counted"
)
def poison(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    calls = scene.calls(stage, round(40 * scene.seconds))
    poisons = [
        stage.call(task, how) for how in ("exit", "segv", "kill") for task in ("poison", "apoison")
    ]
    for bad in poisons:
        calls.insert(scene.dice.randrange(len(calls)), bad)
    stage.worker("-c", "2")
    stage.send_many(calls)
    wait_until(stage.is_drained, 90.0, every=0.05)
    dead = stage.dead().values()
    scene.expect(all(reason["kind"] == "crashed" for reason in dead), f"reasons: {dead}")
    scene.finish(stage, buried=len(poisons))


@scenario(
    35, "200 idle children, one message", "few fetches besides the polls once a second", seconds=5
)
def crowd(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    worker = stage.worker("-c", "200")

    def blocked() -> int:
        return int(stage.redis.info("clients")["blocked_clients"])

    wait_until(lambda: len(worker.children()) == 200 and blocked() > 200, 120.0, every=0.2)
    for _ in range(max(3, round(scene.seconds))):
        with stage.redis.monitor() as monitor:
            sent, id, seen = time.time(), stage.send("nap"), list[str]()
            while not seen or "PING" not in seen[-1]:
                seen.append(monitor.next_command()["command"])
                if id in stage.ended():
                    stage.redis.ping()
        (start,) = [e for e in stage.effects("start") if e.id == id]
        scene.measure("start, 200 idle", start.at - sent, 1.0)
        fetches = sum(script("settle_and_fetch").sha in c and stage.keys.tag in c for c in seen)
        # One child fetches and settles; the others poll once a second.
        looks = 2 + 1.5 * 200 * (time.time() - sent)
        scene.expect(1 <= fetches <= 3 + looks, f"{fetches} calls for one message")
        wait_until(stage.is_drained)
    with suppress(psutil.NoSuchProcess):
        scene.note("memory", shared_mb=psutil.Process(worker.pid).memory_info().rss / 1e6)
    scene.finish(stage)


@scenario(38, "workers with different queues, one message each", "each starts at once")
def different_queues(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    queues = ["high", "mid", "low"]
    for queue in queues:
        ready(stage.worker("-c", "1", "-Q", queue), 1)
    end = time.monotonic() + scene.seconds
    while time.monotonic() < end:
        wait_until(lambda: stage.redis.info("clients")["blocked_clients"] >= 3)
        scene.dice.shuffle(queues)
        sent = time.time()
        ids = [stage.send("nap", queue=queue) for queue in queues]
        wait_until(lambda ids=ids: set(ids) <= stage.ended())  # type: ignore[misc]
        starts = [e.at for e in stage.effects("start") if e.id in ids]
        scene.measure("start, one message a queue", max(starts) - sent, 0.6)
    scene.finish(stage)
