"""Acts on single messages, while the processes that hold them are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from tests.faults.harness import Stage, Worker, wait_until
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, again_and_again, scenario
from tests.faults.topologies import port_of
from typedq import Receipt
from typedq.broker.script import script
from typedq.broker.stats import pause, resume
from typedq.single import Cancellation

CALLS = (("nap", 0.0), ("anap", 0.0), ("nap", 0.02), ("flaky", 2))
HELD_UP_S = 1.5
MOST_CRASHED = 5
LATE_S = 1.0  # from the check of its expiry to the first line of a task, on a busy machine


def kill_children(scene: Scene, worker: Worker) -> None:
    """Kill one child of a worker."""
    with suppress(IndexError, ProcessLookupError):
        victim = scene.dice.choice(worker.children()).pid
        os.kill(victim, signal.SIGKILL)
        scene.killed.append(victim)


def finish_after_kills(scene: Scene, stage: Stage, forgiven: Collection[str] = ()) -> None:
    """Finish. A message that is killed three times while it runs alone is a dead letter by right.

    With a kill every 50 ms, a few may be.
    """
    wait_until(stage.is_drained, 60.0, every=0.05)
    crashed = [letter for letter in stage.dead().values() if letter["kind"] == "crashed"]
    scene.expect(len(crashed) <= MOST_CRASHED, f"{len(crashed)} messages crashed: {crashed[:3]}")
    scene.finish(stage, forgiven=forgiven, buried=len(crashed))


@scenario(
    60, "cancel messages while children are killed", "what was dropped never runs, what was told"
    " never again"
)  # fmt: skip
def cancelled_under_kills(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    worker = stage.worker("-c", "2")
    wait_until(lambda: len(worker.children()) == 2, 60)
    done = dict[str, tuple[float, Cancellation]]()

    def cancel() -> None:
        ids = list(stage.in_flight()) if scene.dice.random() < 0.5 else stage.accepted[-400:]
        for id in scene.dice.sample(ids, min(len(ids), 20)):
            if id not in done and (answer := stage.app.cancel(id)).done:
                done[id] = scene.note("cancelled", id=id, outcome=answer.outcome), answer

    delays = (0.0, 0.0, 0.2)
    with (
        again_and_again(0.05, lambda: kill_children(scene, worker)),
        scene.producing(stage, batch=20, longest=0.05),
        again_and_again(
            0.05, lambda: stage.send("flaky", 2, delay=scene.dice.choice(delays) or None)
        ),
        again_and_again(0.01, cancel),
    ):
        wait_until(lambda: len(done) > 30 * scene.seconds, 60 + 4 * scene.seconds)
    finish_after_kills(scene, stage, forgiven=done)
    outcomes = {answer.outcome for _, answer in done.values()}
    scene.expect(outcomes == {"dropped", "told"}, f"not all outcomes: {outcomes}")
    late = dict[str, int]()
    for start in stage.effects("start"):
        if start.id in done and start.at > done[start.id][0]:
            late[start.id] = late.get(start.id, 0) + 1
    for id, starts in late.items():
        outcome = done[id][1].outcome
        scene.expect(outcome == "told", f"{id} ran after its cancel: {outcome}")
        scene.expect(starts == 1, f"{id} ran {starts} times after it was told")


@scenario(
    66, "ask for the same unique keys at once; replies are lost and children killed",
    "one message for each key, run once but for crashes"
)  # fmt: skip
def unique_under_faults(scene: Scene) -> None:
    server = scene.server(tcp=True)
    proxy = scene.enter(Proxy(port_of(server)))
    stage = scene.stage(proxy.url, eyes=server.url)
    worker = stage.worker("-c", "2", TYPEDQ_URL=server.url)
    wait_until(lambda: len(worker.children()) == 2, 60)
    stage.send("nap")
    with (
        again_and_again(0.1, lambda: kill_children(scene, worker)),
        ThreadPoolExecutor(8) as pool,
    ):
        for number in range(max(2, round(scene.seconds))):
            sender: Any = stage.app.tasks["nap"].options(unique=f"{number}", unique_for=600)

            def ask(turn: int, sender: Any = sender) -> Receipt:
                if turn % 20 == 0:  # by number: a resend that is alone would lose each reply
                    proxy.drop_reply_to(script("enqueue").sha)
                receipt: Receipt = sender.enqueue(0.0)
                return receipt

            receipts = list(pool.map(ask, range(1_000)))
            firsts = [receipt.id for receipt in receipts if not receipt.duplicate]
            stage.accepted += firsts
            scene.expect(len(firsts) == 1, f"{len(firsts)} were accepted for one key")
            others = {receipt.id for receipt in receipts} - set(firsts)
            scene.expect(not others, f"duplicates of messages that nobody sent: {others}")
    scene.expect(proxy.dropped > 0, "no reply was lost")
    finish_after_kills(scene, stage)
    runs = set(stage.ids("start"))
    scene.expect(runs <= set(stage.accepted), f"{runs - set(stage.accepted)} ran, not accepted")


@scenario(61, "messages expire while children are killed", "none begins after its expiry")
def expired_under_kills(scene: Scene) -> None:
    stage = scene.stage(scene.server().url)
    worker = stage.worker("-c", "2")
    wait_until(lambda: len(worker.children()) == 2, 60)
    lasts = dict[str, float]()

    def send() -> None:
        task, argument = scene.dice.choice(CALLS)
        lasting = scene.dice.choice((0.05, 0.3, 600.0))
        lasts[stage.send(task, argument, expires=lasting)] = lasting

    def hold_up() -> None:
        """Have what is ready wait for longer than it lasts, every other time."""
        if not stage.ask(pause(stage.keys, "mid")):
            stage.ask(resume(stage.keys, "mid"))

    with (
        again_and_again(0.05, lambda: kill_children(scene, worker)),
        again_and_again(0.002, send),
        again_and_again(HELD_UP_S, hold_up),
    ):
        wait_until(lambda: len(lasts) > 60 * scene.seconds, 60 + 8 * scene.seconds)
    stage.ask(resume(stage.keys, "mid"))
    wait_until(stage.is_drained, 60)
    gone = set(stage.accepted) - stage.ended() - stage.dead().keys()
    expired = stage.look().stats.get("expired", 0)
    finish_after_kills(scene, stage, forgiven=gone)
    scene.expect(0 < len(gone) < len(lasts), f"{len(gone)} of {len(lasts)} expired")
    scene.expect(expired == len(gone), f"{expired} were counted as expired, not {len(gone)}")
    scene.expect(all(lasts[id] < 1 for id in gone), "a message was lost before its expiry")
    for start in stage.effects("start"):
        late = start.at - stage.accepted_at[start.id] - lasts[start.id]
        scene.expect(late < LATE_S, f"{start.id} began {late:.3f} s after its expiry")
