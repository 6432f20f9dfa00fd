"""However an attempt ends, its message ends up where it should, and nobody else suffers."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from typedq.broker import Destination, OutgoingMessage
from typedq.broker.parking import groups
from typedq.broker.script import script
from typedq.message import encode_message, new_ids

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

CANARY = "s3cr3t-canary"


def raw(stage: Stage, task: str, body: bytes, *, contract: str = "", queue: str = "mid") -> str:
    """Enqueue bytes past every check of the front door."""
    (id,) = new_ids(1)
    contract = contract or stage.app.tasks[task].contract.id
    message = encode_message(id=id, contract=contract, queue=queue, options=b"-", body=body)
    stage.app.broker.enqueue(
        [OutgoingMessage(id, Destination(queue, contract), message)], lambda _: b"{}"
    )
    stage.accepted.append(id)
    return id


def drain(stage: Stage, *flags: str) -> list[dict[str, Any]]:
    """Run until nothing is ready; answers the log."""
    worker = stage.worker("-c", "2", "--burst", *flags)
    assert worker.wait(20.0) == 0
    assert not worker.events("child died")
    return worker.events()


def test_a_retry_counts_attempts_and_ends(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "2")
    good, bad = stage.send("flaky", 2), stage.send("flaky", 99)
    wait_until(lambda: good in stage.ended() and stage.dead())
    assert worker.stop() == 0
    assert [e.attempt for e in stage.effects("start") if e.id == good] == [1, 2, 3]
    starts = [e.at for e in stage.effects("start") if e.id == good]
    assert starts[1] - starts[0] >= 0.049
    assert starts[2] - starts[1] >= 0.099
    reason = stage.dead()[bad]
    assert (reason["kind"], reason["error"]) == ("failed", "OSError: not yet")
    assert reason["attempts"] == 3
    assert "in flaky" in reason["traceback"]
    assert "typedq/worker" not in reason["traceback"]
    assert not [b for b in stage.check(buried=1).broken if "extra" not in b]


def test_retry_in_runs_again_after_its_delay_and_reject_dead_letters_at_once(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    later, rejected = stage.send("later", 0.15, 2), stage.send("rejecting", "no such user")
    wait_until(lambda: later in stage.ended() and stage.dead())
    assert worker.stop() == 0
    starts = [e for e in stage.effects("start") if e.id == later]
    assert [e.attempt for e in starts] == [1, 2, 3]
    gaps = [b.at - a.at for a, b in pairwise(starts)]
    assert all(0.149 <= gap < 0.65 for gap in gaps)
    reason = stage.dead()[rejected]
    assert (reason["kind"], reason["error"]) == ("rejected", "no such user")


@pytest.mark.parametrize("task", ["raising", "araising"])
@pytest.mark.parametrize("what", ["value", "exit", "interrupt", "cancelled", "generator"])
def test_no_exception_of_a_task_ends_its_process(stage: Stage, task: str, what: str) -> None:
    bad, good = stage.send(task, what), stage.send("nap")
    drain(stage)
    assert stage.dead()[bad]["kind"] == "failed"
    assert good in stage.ended()


def test_an_exit_in_a_task_of_a_coroutines_own_leaves_the_others_their_loop(stage: Stage) -> None:
    bad, good = stage.send("araising", "subtask"), [stage.send("anap", 0.05) for _ in range(8)]
    drain(stage)
    assert stage.dead()[bad]["kind"] == "failed"
    assert stage.ended() == set(good)


def test_a_message_that_cannot_be_read_is_kept_with_its_reason(stage: Stage) -> None:
    cases = {
        raw(stage, "nap", b'{"seconds":"%s"}' % CANARY.encode()): "$.seconds",
        raw(stage, "nap", b'{"seconds":'): "$",
        raw(stage, "hold", b"{}"): "gate",
        raw(stage, "nap", b'{"seconds":NaN}'): "$",
        raw(stage, "nap", b"\xff\xfe"): "$",
        raw(stage, "nap", b"[" * 100_000): "$",
    }
    good = stage.send("nap")
    log = drain(stage)
    dead = stage.dead()
    assert dead.keys() == cases.keys()
    for id, part in cases.items():
        assert dead[id]["kind"] == "invalid_body"
        assert part in dead[id]["path"] + dead[id]["error"]
    assert stage.ended() == {good}
    assert CANARY not in str(log)
    assert not stage.check(buried=len(cases)).broken


def test_garbage_on_a_queue_becomes_dead_letters(stage: Stage) -> None:
    (id,) = new_ids(1)
    real = encode_message(
        id=id,
        contract=stage.app.tasks["nap"].contract.id,
        queue="low",
        options=b"-",
        body=b"{}",
    )
    strange = encode_message(
        id=new_ids(1)[0], contract="nap@0", queue="unheard-of", options=b"-", body=b"{}"
    )
    garbage = [b"", b"x", b"\0" * 30, real[:40], b"9" + real[1:], b"1" * 5000, strange]
    good = stage.send("nap")
    stage.redis.rpush(stage.keys.ready("mid"), *garbage)
    after = stage.send("nap")
    drain(stage)
    assert stage.ended() == {good, after}
    reasons = sorted(reason["kind"] for reason in stage.dead().values())
    assert len(reasons) + len(stage.ask(groups(stage.keys))) == len(garbage)
    assert set(reasons) <= {"garbage", "bad_message"}


def test_a_task_that_a_worker_does_not_have_waits_for_one_that_has_it(
    stage: Stage, wait_until: WaitUntil
) -> None:
    id, good = stage.send("anap"), stage.send("nap")
    log = drain(stage, "--forget", "anap")
    assert stage.ended() == {good}
    assert [line for line in log if "parked" in line["message"]]
    assert not stage.dead()
    worker = stage.worker("-c", "1")
    wait_until(lambda: stage.ended() == {id, good})
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert not stage.check().broken


def test_priority_is_strict(stage: Stage, wait_until: WaitUntil) -> None:
    low = stage.send_many([stage.app.tasks["nap"].options(queue="low").call(0.002)] * 300)
    worker = stage.worker("-c", "1")
    wait_until(lambda: len(stage.ids("start")) > 20)
    high = stage.send("nap", queue="high")
    begun = len(stage.ids("start"))
    wait_until(lambda: stage.ended() == {*low, high})
    assert worker.stop() == 0
    # A batch holds 20 ms of work; the rest of the room is for a busy machine.
    assert stage.ids("start").index(high) < begun + 60


def test_a_delayed_message_is_on_time(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "2")
    wait_until(lambda: worker.events("worker started"))
    due = {}
    for delay in (0.05, 0.2, 0.351, 0.6, 0.15):
        sent, id = time.time(), stage.send("nap", delay=delay)
        due[id] = (sent + delay, time.time() + delay)
    wait_until(lambda: stage.ended() == set(due))
    assert worker.stop() == 0
    starts = stage.effects("start")
    assert all(start.at > due[start.id][0] - 0.01 for start in starts)
    late = [start.at - due[start.id][1] for start in starts]
    assert statistics.median(late) < 0.25  # none waits for the tick
    assert not stage.check().broken


def test_a_sync_task_does_not_stall_the_coroutines_beside_it(
    stage: Stage, wait_until: WaitUntil
) -> None:
    worker = stage.worker("-c", "1")
    beside = stage.send("anap", 0.3)
    wait_until(lambda: beside in stage.ids("start"))
    held = stage.send("hold", stage.gate())
    wait_until(lambda: held in stage.ids("start"))
    wait_until(lambda: beside in stage.ended())
    assert held not in stage.ended()
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    assert not stage.check().broken


def test_coroutines_run_side_by_side(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "1", "--async-concurrency", "100")
    wait_until(lambda: worker.events("worker started"))
    ids = stage.send_many([stage.call("anap", 0.1)] * 1000)
    wait_until(lambda: stage.ended() >= set(ids))
    assert worker.stop() == 0
    edges = sorted((e.at, 1 if e.what == "start" else -1) for e in stage.effects())
    running = most = 0
    for _, change in edges:
        running += change
        most = max(most, running)
    assert 50 <= most <= 100
    assert edges[-1][0] - edges[0][0] < 4.0  # 1 s on a quiet machine
    assert not stage.check().broken


def test_what_waits_behind_a_long_task_is_run_by_the_other_child(
    stage: Stage, wait_until: WaitUntil
) -> None:
    stage.send_many([stage.call("nap")] * 60)
    worker = stage.worker("-c", "2")
    wait_until(stage.is_drained)
    nap = stage.call("nap")  # an idle child takes the first alone
    _, *ids = stage.send_many([nap, stage.call("hold", stage.gate()), *[nap] * 20])
    wait_until(lambda: set(ids[1:]) <= stage.ended())
    assert ids[0] not in stage.ended()
    stage.open_gate()
    wait_until(stage.is_drained)
    assert worker.stop() == 0
    verdict = stage.check()
    assert not verdict.broken
    assert verdict.extra_runs == 0


def test_one_message_wakes_one_of_twenty_idle_children(stage: Stage, wait_until: WaitUntil) -> None:
    worker = stage.worker("-c", "20")

    def blocked() -> int:
        return int(stage.redis.info("clients")["blocked_clients"])

    wait_until(lambda: len(worker.children()) == 20 and blocked() >= 20)
    with stage.redis.monitor() as monitor:
        id = stage.send("nap")
        seen = list[str]()
        while not seen or "PING" not in seen[-1]:
            seen.append(monitor.next_command()["command"])
            if id in stage.ended() and len(seen) > 3:
                stage.redis.ping()
    assert sum(c.startswith("HSET") and stage.keys.in_flight("") in c for c in seen) == 1
    fetches = [
        c.split() for c in seen if script("settle_and_fetch").sha in c and stage.keys.tag in c
    ]
    # Without a token: one that settles, and those that idle children make every second.
    in_vain = [words for words in fetches if words[3 + int(words[2]) :][2] != "0"]
    assert len(in_vain) <= 1  # a tick before the fetch may wake another
    assert worker.stop() == 0
    assert not stage.check().broken


def test_workers_of_different_queues_each_start_at_once(
    stage: Stage, wait_until: WaitUntil
) -> None:
    workers = [stage.worker("-c", "1", "-Q", queue) for queue in ("high", "mid", "low")]
    for queue in ("high", "mid", "low"):
        stage.send("nap", queue=queue)
    wait_until(lambda: len(stage.ended()) == 3)
    wait_until(lambda: stage.redis.info("clients")["blocked_clients"] >= 3)
    for _ in range(3):
        for queue in ("low", "high", "mid"):
            sent, id = time.time(), stage.send("nap", queue=queue)
            wait_until(lambda wanted=id: wanted in stage.ended())  # type: ignore[misc]
            (start,) = [e for e in stage.effects("start") if e.id == id]
            assert start.at - sent < 0.6  # none waits for the tick
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    assert not stage.check().broken


def test_the_log_tells_what_happened_and_never_shows_a_payload(stage: Stage) -> None:
    stage.send("hold", stage.gate(CANARY))
    stage.open_gate(CANARY)
    stage.send("raising", "value")
    raw(stage, "hold", b'{"gate":["%s"]}' % CANARY.encode())
    log = drain(stage)
    assert {"worker started", "task failed", "worker stopped"} <= {e["message"] for e in log}
    (failed,) = [event for event in log if event["message"] == "task failed"]
    assert failed["task"] == "raising"
    assert failed["level"] == "error"
    assert "ValueError: no such thing" in failed["traceback"]
    assert CANARY not in stage.workers[0].log.read_text()
