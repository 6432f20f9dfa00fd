"""A short deploy, and the order of parked messages and queues.

`python -m tests.faults.rolling_deploy` runs the long deploy.
"""

from __future__ import annotations

import random
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Stage
from tests.faults.rolling import ERA, READS
from tests.faults.rolling_deploy import Deploy, perform
from typedq.broker import DedicatedClient, stats
from typedq.broker.parking import Group, groups
from typedq.worker.parked import ParkedGroups
from typedq.worker.readers import ContractReaders

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import WaitUntil
    from tests.faults.harness import Worker
    from typedq.embedded import OwnServer


@pytest.mark.slow
@pytest.mark.parametrize("kills", [0, 10])
def test_in_a_deploy_every_message_runs_once_by_code_that_can_read_it(
    server: OwnServer, namespace: str, tmp_path: Path, kills: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    deploy, verdict, told = perform(
        server.url, namespace, tmp_path, messages=300, kills=kills, seed=seed, every=0.004
    )
    assert not verdict.broken, told
    assert deploy.killed == kills
    assert deploy.scans > 10
    assert {(sent.task, sent.era) for sent in deploy.sent()} == READS.keys()


def test_checker_reports_each_violation(stage: Stage, wait_until: WaitUntil) -> None:
    deploy = Deploy(stage, messages=0, kills=0, seed=0, every=0)
    stage.redis.hincrby(stage.keys.counts, "t@0", 1)
    deploy._scan()
    assert deploy.broken == ["counted {'t@0': 1}, found {}"]
    stage.redis.hincrby(stage.keys.counts, "t@0", -1)
    deploy._produce("old", 40)
    worker = stage.worker("-c", "1", **{ERA: "old"})
    wait_until(lambda: deploy._producers[0].poll() is not None)
    wait_until(lambda: stage.ended() == {sent.id for sent in deploy.sent()})
    assert worker.stop() == 0
    wrong = deploy._sent.read_text()
    deploy._sent.write_text(wrong.replace("steady old ", "added new 1"))
    broken = "; ".join(deploy._judge())
    assert "was run by old code" in broken
    assert "was read as" in broken
    assert "nothing was parked" in broken


# --- parked messages and queues ------------------------------------------------------------------


def park(stage: Stage, task: str, number: int, seconds: float, queue: str = "mid") -> list[str]:
    """Messages that a worker parked which did not know the task."""
    sender: Any = stage.app.tasks[task]
    ids = stage.send_many([sender.options(queue=queue).call(seconds)] * number)
    assert stage.worker("-c", "1", "--burst", "--forget", task).wait(20.0) == 0
    (group,) = stage.ask(groups(stage.keys))
    assert group.queue == queue
    return ids


def up(worker: Worker, wait_until: WaitUntil) -> float:
    (started,) = wait_until(lambda: worker.events("worker started"))
    return datetime.fromisoformat(started["time"]).timestamp()


@pytest.mark.parametrize("beside", ["queue", "coroutines"])
def test_released_within_five_seconds_to_a_worker_that_is_busy(
    stage: Stage, wait_until: WaitUntil, beside: str
) -> None:
    ids = set(park(stage, "anap", 20, 0.0, queue="low"))
    if beside == "queue":
        call = stage.app.tasks["nap"].options(queue="high").call(0.02)
        busy = set(stage.send_many([call] * 150))
    else:
        busy = {stage.send("ahold", stage.gate(), queue="high")}
    worker = stage.worker("-c", "1")
    began = up(worker, wait_until)
    wait_until(lambda: ids <= stage.ended())
    assert not busy <= stage.ended()
    assert max(e.at for e in stage.effects("start") if e.id in ids) - began < 5.0
    stage.open_gate()
    wait_until(stage.is_drained, 20.0)
    assert worker.stop() == 0
    assert not stage.check().broken


def test_parked_while_the_able_worker_waits(stage: Stage, wait_until: WaitUntil) -> None:
    able = stage.worker("-c", "1", "-Q", "low")
    unable = stage.worker("-c", "1", "-Q", "low", "--forget", "anap")
    up(able, wait_until)
    up(unable, wait_until)
    ids = [stage.send("anap", queue="low") for _ in range(20)]
    wait_until(lambda: set(ids) <= stage.ended())
    assert able.stop() == unable.stop() == 0
    parkings = unable.events("message parked")
    assert len({event["id"] for event in parkings}) == len(parkings)
    assert not able.events("message parked")
    assert not stage.check().broken


@pytest.mark.parametrize(("parked", "ready"), [("low", "high"), ("high", "low")])
def test_neither_starves_the_other(
    stage: Stage, wait_until: WaitUntil, parked: str, ready: str
) -> None:
    ids = {"parked": set(park(stage, "nap", 120, 0.005, queue=parked))}
    call = stage.app.tasks["nap"].options(queue=ready).call(0.005)
    ids["ready"] = set(stage.send_many([call] * 120))
    worker = stage.worker("-c", "1")
    wait_until(lambda: ids["parked"] | ids["ready"] <= stage.ended())
    first = set(stage.ids("start")[:120])
    assert worker.stop() == 0
    assert all(len(first & each) > 30 for each in ids.values())
    assert not stage.check().broken


def test_a_message_of_high_priority_does_not_wait_for_what_is_parked(
    stage: Stage, wait_until: WaitUntil
) -> None:
    park(stage, "nap", 200, 0.005)
    worker = stage.worker("-c", "1")
    wait_until(lambda: len(stage.ids("start")) > 10)
    begun, high = len(stage.ids("start")), stage.send("nap", queue="high")
    wait_until(lambda: high in stage.ended())
    assert stage.ids("start").index(high) < begun + 30
    wait_until(stage.is_drained)
    wait_until(lambda: not stage.ask(groups(stage.keys)) and stage.is_drained())
    assert worker.stop() == 0
    assert not stage.check().broken


def test_what_is_parked_waits_with_its_paused_queue(stage: Stage, wait_until: WaitUntil) -> None:
    ids = set(park(stage, "nap", 3, 0.0))
    stage.ask(stats.pause(stage.keys, "mid"))
    worker = stage.worker("-c", "1")
    wait_until(lambda: worker.events("fetching parked messages: this worker reads them"))
    other = stage.send("nap", queue="low")
    wait_until(lambda: other in stage.ended())
    assert not ids & stage.ended()
    stage.ask(stats.resume(stage.keys, "mid"))
    wait_until(lambda: ids <= stage.ended(), 5.0)
    assert worker.stop() == 0
    assert not stage.check().broken


def test_only_readable_groups_of_served_queues_are_taken_and_each_in_its_turn(
    stage: Stage,
) -> None:
    good, other = (stage.app.tasks[task].contract.id for task in ("nap", "anap"))
    mine = [Group("mid", good), Group("mid", other)]
    strange = [
        Group("low", good),  # not served
        Group("mid", f"{good}#3"),
        Group("mid", "unheard_of@0123456789abcdef"),
        Group("mid", "nap@0123456789abcdef"),
        Group("_broadcast", good),
    ]
    stage.redis.hset(stage.keys.parked_groups, mapping={str(g): 1 for g in (*mine, *strange)})
    readable = ParkedGroups(
        DedicatedClient(stage.app.broker),
        ContractReaders(stage.app, DedicatedClient(stage.app.broker)),
        ["high", "mid"],
    )
    turns = [readable.next() for _ in range(200)]
    assert turns[1::2] == [None] * 100 or turns[::2] == [None] * 100
    found = [group for group in turns if group is not None]
    assert all(20 < found.count(group) < 80 for group in mine)
    assert len(found) == 100
    readable.leave_out(mine[0])
    assert {readable.next() for _ in range(9)} == {None, mine[1]}
    readable.leave_out(mine[1])
    assert not readable.groups
    stage.redis.delete(stage.keys.parked_groups)


def test_a_burst_runs_what_is_parked_too(stage: Stage) -> None:
    ids = park(stage, "nap", 150, 0.002)
    assert stage.worker("-c", "1", "--burst").wait(20.0) == 0
    assert stage.ended() == set(ids)
    assert not stage.check().broken
