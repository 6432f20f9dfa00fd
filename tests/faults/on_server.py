"""Faults of the server: it hangs, dies, loses data, runs out of memory, or its clock jumps."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from bisect import bisect_left
from pathlib import Path

from tests.faults.bulk import declare
from tests.faults.harness import Stage, pause, wait_until
from tests.faults.scene import ALWAYS, Scene, again_and_again, scenario
from typedq.embedded import OwnServer, bundled
from typedq.errors import ServerRefused

B1_S = 2.0
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
MORE = {"FAULTS_MORE": "tests.faults.bulk"}


@scenario(5, "SIGSTOP Redis for 5 s", "no duplicate enqueue, D = 0, B1")
def hang(scene: Scene) -> None:
    server = scene.server()
    stage = scene.stage(server.url)
    worker = stage.worker("-c", "2")
    for _ in range(max(1, round(scene.seconds / 10))):
        stage.send_many(scene.calls(stage, 300))
        with scene.producing(stage):
            wait_until(lambda: len(stage.ended()) > 20)
            server.pause()
            scene.note("server stopped")
            pause(5.0)
            server.resume()
            since = scene.note("server goes on")
            scene.probe(stage, "B1 pause", since, B1_S)
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
    scene.expect(not worker.events("recovered the session"), "a session was ended")


@scenario(6, "Redis kill -9 and restart, AOF always", "nothing lost, scripts reloaded, B1")
def restart(scene: Scene) -> None:
    server = scene.server(*ALWAYS)
    stage = scene.stage(server.url)
    worker = stage.worker("-c", "2")
    held = stage.send_many([stage.call("hold", stage.gate())])
    wait_until(lambda: stage.effects("start"))
    with scene.producing(stage):
        end = time.monotonic() + scene.seconds
        while time.monotonic() < end:
            pause(scene.dice.uniform(0.2, 1.0))
            server.kill()
            scene.note("server killed")
            pause(scene.dice.uniform(0.0, 0.5))
            server.start()
            scene.probe(stage, "B1 restart of the server", scene.note("server back"), B1_S)
    stage.open_gate()
    wait_until(lambda: set(held) <= stage.ended())
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
    scene.expect(not worker.events("child died"), "a child died")


class Sizes:
    """The size of the append-only file over time."""

    def __init__(self, server: OwnServer) -> None:
        self._folder = server.directory / "appendonlydir"
        self.times, self.sizes = list[float](), list[int]()

    def file(self) -> Path:
        return max(self._folder.glob("*.incr.aof"), key=lambda path: path.name)

    def look(self) -> None:
        self.times.append(time.time())
        self.sizes.append(self.file().stat().st_size)

    def cut(self, dice: random.Random, at: float) -> float:
        """Cut the file at a byte of the last second, as a power loss does. Return when."""
        oldest = self.sizes[max(0, bisect_left(self.times, at - 1.0) - 1)]
        size = dice.randint(oldest, self.file().stat().st_size)
        os.truncate(self.file(), size)
        return self.times[max(0, bisect_left(self.sizes, size) - 1)]


# A write waits up to 2 s for a slow fsync, so the file may lack what was accepted in that time.
UNWRITTEN_S = 2.1


def touched(stage: Stage, since: float) -> set[str]:
    """Return the messages that were accepted, started or ended after that time."""
    late = {id for id, at in stage.accepted_at.items() if at > since - UNWRITTEN_S}
    waiting = set(stage.accepted) - {
        e.id for e in stage.effects("end") if e.at < since - UNWRITTEN_S
    }
    return late | {e.id for e in stage.effects() if e.at > since - UNWRITTEN_S} | waiting


@scenario(7, "power loss: AOF everysec, cut at a random byte", "only changes of 2 s may be lost")
def power_loss(scene: Scene) -> None:
    server = scene.server("--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    # A session closed in the last second may be back. Its messages are requeued after its lease.
    stage = scene.stage(server.url, lease=5.0)
    sizes, forgiven = Sizes(server), set[str]()
    worker = stage.worker("-c", "2")
    later = stage.app.tasks["nap"].options(delay=3.0).call()  # waits, and so can be lost
    for _ in range(max(1, round(scene.seconds / 4))):
        keep_sending = again_and_again(0.02, lambda: stage.send_many([later]))
        with scene.producing(stage), keep_sending, again_and_again(0.02, sizes.look):
            pause(scene.dice.uniform(3.0, 4.0))
        server.kill()
        at = scene.note("power lost")
        since = sizes.cut(scene.dice, at)
        before = {e.id for e in stage.effects("end") if e.at < since - UNWRITTEN_S}
        sure = {id for id, when in stage.accepted_at.items() if when < since - UNWRITTEN_S} - before
        forgiven |= touched(stage, since)
        server.start()
        # As docs/guarantees.md tells operators: the file may end inside of a transaction.
        stage.redis.bgrewriteaof()
        scene.probe(stage, "B1 after a loss of power", scene.note("server back"), B1_S)
        wait_until(stage.is_drained, 30.0, every=0.05)
        lost = set(stage.accepted) - stage.ended()
        scene.expect(not sure & lost, f"{len(sure & lost)} lost that were older than the cut")
        young = [at - stage.accepted_at[id] for id in lost & forgiven if id in stage.accepted_at]
        scene.note("forgotten", ids=sorted(lost), cut_s=at - since)
        scene.measured["age of the oldest message lost"].append(max(young, default=0.0))
        stage.accepted = [id for id in stage.accepted if id not in lost]
        sizes = Sizes(server)
    scene.expect(not worker.events("child died"), "a child died")
    scene.finish(stage, forgiven=forgiven)


@scenario(8, "Redis restarted empty", "no crash loop, contracts published again")
def emptied(scene: Scene) -> None:
    server = scene.server()
    stage = scene.stage(server.url)
    worker = stage.worker("-c", "2")
    stage.send("nap")
    wait_until(stage.ended)
    children = {child.pid for child in worker.children()}
    forgiven = set[str]()
    for _ in range(max(2, round(scene.seconds / 3))):
        with scene.producing(stage):
            pause(scene.dice.uniform(0.2, 0.6))
        forgiven |= set(stage.accepted)
        server.kill()
        scene.note("server killed")
        shutil.rmtree(server.directory / "appendonlydir")
        server.start()
        since = scene.note("server back, empty")
        scene.probe(stage, "B1 server empty", since, B1_S)
        wait_until(lambda: len(stage.redis.hkeys(stage.keys.contracts)) > 3)
        wait_until(stage.is_drained)
    scene.expect({c.pid for c in worker.children()} == children, "children were replaced")
    scene.finish(stage, forgiven=forgiven)


@scenario(9, "CLIENT KILL every 50 ms under load", "no duplicate enqueue, D = 0")
def cut_connections(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    stage.worker("-c", "2")

    def cut() -> None:
        stage.redis.execute_command("CLIENT", "KILL", "TYPE", "normal")

    with again_and_again(0.05, cut), scene.producing(stage):
        pause(scene.seconds)
    scene.probe(stage, "B1 connections cut", time.time(), B1_S)
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
    scene.expect(not stage.uncertain, "an enqueue was uncertain")


@scenario(47, "CLIENT PAUSE WRITE again and again under load", "the server survives, D = 0")
def writes_paused(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    stage.worker("-c", "2")

    def hold_up() -> None:
        stage.redis.client_pause(60, all=False)

    with again_and_again(0.2, hold_up), scene.producing(stage, batch=1, every=0.002):
        pause(scene.seconds)
    scene.probe(stage, "B1 writes were paused", time.time(), B1_S)
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
    scene.expect(not stage.uncertain, "an enqueue was uncertain")


@scenario(
    16, "maxmemory reached, noeviction", "enqueue: clear error, nothing half done; then drain"
)
def full(scene: Scene) -> None:
    server = scene.server("--maxmemory", "12mb", "--maxmemory-policy", "noeviction")
    stage = scene.stage(server.url)
    declare(stage.app)
    stage.environment |= MORE
    text, refusals = "x" * 20_000, 0
    for _ in range(max(2, round(scene.seconds / 5))):
        try:
            while len(stage.accepted) < 10_000:
                stage.send_many([stage.call("bulk", text)] * scene.dice.randint(1, 20))
        except ServerRefused as error:
            refusals += "out of memory" in str(error)
        waits = stage.redis.llen(stage.keys.ready("mid"))
        ended = len(stage.ended())
        scene.expect(waits + ended == len(stage.accepted), f"{waits} wait: half an enqueue")
        scene.note("server is full", waiting=waits)
        worker = stage.worker("-c", "2", **MORE)
        since = time.time()
        wait_until(stage.is_drained, 30.0, every=0.05)
        scene.measured["a full server is drained"].append(time.time() - since)
        scene.expect(worker.stop() == 0, "a worker's exit code")
    scene.expect(refusals, "never refused for want of memory")
    scene.finish(stage)


@scenario(19, "server clock +-1 h; client clock +-1 h", "no lease lost, `delay` exact, D = 0")
def clocks(scene: Scene) -> None:
    if not Path(FAKETIME).exists():
        scene.skipped = "needs libfaketime (Debian package faketime)"
        return
    setting = scene.directory / "clock"
    setting.write_text("+0")
    wrapper = scene.directory / "server"
    wrapper.write_text(
        f"#!/bin/sh\nexport LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE={setting}"
        " FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n"
        f'exec {bundled()} "$@"\n'
    )
    wrapper.chmod(0o700)
    stage = scene.stage(scene.server(binary=wrapper).url, lease=3.0)
    preload = {"LD_PRELOAD": FAKETIME, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    workers = [
        stage.worker("-c", "1"),
        stage.worker("-c", "1", **preload, FAKETIME="+3600"),
        stage.worker("-c", "1", **preload, FAKETIME="-3600"),
    ]
    held = stage.send("hold", stage.gate())
    wait_until(lambda: held in stage.ids("start"))
    for hours in (1, 0, -1, 0)[: max(2, round(scene.seconds / 2.5))]:
        setting.write_text(f"{hours * 3600:+d}")
        scene.note("clock of the server", hours=hours)
        wait_until(lambda at=hours: abs(stage.redis.time()[0] - time.time() - at * 3600) < 5)  # type: ignore[misc]
        sent = time.monotonic()
        id = stage.send("nap", delay=1.0)
        wait_until(lambda wanted=id: wanted in stage.ended(), 30.0)  # type: ignore[misc]
        late = time.monotonic() - sent - 1.0
        scene.expect(late > -0.05, f"a delay ended {-late:.2f} s early")
        scene.measure("delay of 1 s is late by", late, 0.5 * 4)
        pause(1.0)
    scene.expect(held in stage.in_flight(), "a lease was lost")
    stage.open_gate()
    verdict = scene.finish(stage)
    scene.expect(verdict.extra_runs == 0, f"{verdict.extra_runs} extra runs")
    scene.expect(not any(w.events("recovered the session") for w in workers), "a session was ended")


@scenario(34, "100,000 messages due at once", "the server answers other clients meanwhile")
def due_at_once(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    count = min(100_000, round(10_000 * scene.seconds))
    nap = stage.app.tasks["anap"].options(delay=20.0).call()
    sent = time.monotonic()
    stage.send_many([nap] * count)
    scene.note("enqueued", seconds=time.monotonic() - sent)
    stage.redis.zunionstore(stage.keys.delayed("mid"), {stage.keys.delayed("mid"): 0})  # due now
    stage.redis.config_set("slowlog-log-slower-than", 10_000)
    stage.redis.slowlog_reset()
    over, answers = threading.Event(), list[float]()

    def ask() -> None:
        while not over.wait(0.005):
            asked = time.monotonic()
            stage.redis.ping()
            answers.append(time.monotonic() - asked)

    asking = threading.Thread(target=ask)
    asking.start()
    since = scene.note("all are due")
    try:
        stage.worker("-c", "2", FAULTS_LOG="info")
        wait_until(stage.is_drained, 180.0, every=0.2)
    finally:
        over.set()
        asking.join()
    scene.measured[f"{count:,} due at once are done"].append(time.time() - since)
    answers.sort()
    scene.measure("99.9 % of PINGs meanwhile", answers[round(len(answers) * 0.999) - 1], 0.25)
    slow = [entry["duration"] / 1e6 for entry in stage.redis.slowlog_get(128)]
    scene.measure("slowest call of a script", max(slow, default=0.0), 0.5)
    scene.finish(stage)
