"""Broadcasts: once on every live worker, and nobody else's business."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import scheduled
from tests.faults.harness import Worker
from typedq import InvalidArguments, InvalidOptions, Receipt, Task
from typedq.admin.single import show
from typedq.broker.stats import contracts

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

MORE = {"FAULTS_MORE": "tests.faults.scheduled"}


@pytest.fixture
def told(stage: Stage) -> Task[..., Any]:
    scheduled.declare(stage.app)
    return stage.app.tasks["told"]


def ready(stage: Stage, count: int, *flags: str, wait_until: WaitUntil) -> list[Worker]:
    """Workers that listen."""
    workers = [stage.worker("-c", "2", *flags, **MORE) for _ in range(count)]
    wait_until(lambda: len(listening(stage)) >= count, 20.0)
    return workers


def listening(stage: Stage) -> list[Any]:
    return [client for client in stage.redis.client_list() if client["cmd"] == "xread"]


def ends(stage: Stage, receipt: Receipt) -> list[str]:
    """The supervisors that ran it."""
    done = (e.what for e in stage.effects() if e.id == receipt.id and e.what.startswith("end-"))
    return [what.rpartition("-")[2] for what in done]


def test_broadcast_runs_once_on_every_worker(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    workers = ready(stage, 3, wait_until=wait_until)
    receipts = [told.broadcast()]
    receipts += [told.broadcast() for _ in range(20)]
    wait_until(lambda: all(len(ends(stage, r)) >= 3 for r in receipts))
    stage.send("nap")
    wait_until(stage.ended)
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    for receipt in receipts:
        assert sorted(ends(stage, receipt)) == sorted(str(w.pid) for w in workers)
    assert not stage.leaked()
    assert not any(stage.look().counts.values())
    assert (receipts[0].queue, receipts[0].task) == ("_broadcast", "told")
    assert stage.look().stats["broadcast"] == 21
    assert stage.look().stats["delivered"] == 63
    assert told.contract.id in stage.ask(contracts(stage.keys))


def test_a_broadcast_is_shown_with_the_workers_that_read_it(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """Not as if nobody served its queue, which is of one worker and in no report."""
    (worker,) = ready(stage, 1, wait_until=wait_until)
    runs, waits = (stage.app.tasks["hold"].broadcast(stage.gate()).id for _ in range(2))
    wait_until(lambda: runs in stage.ids("start"))
    # The worker may have read the first before the second was sent.
    wait_until(lambda: stage.app.get(waits).state != "unknown")
    (name,) = stage.look().workers
    for id in (runs, waits):
        about = show(stage.app, id)
        assert (about["read_by"], about["why"]) == ([name], "")
    assert show(stage.app, runs)["state"] == "in flight"
    stage.open_gate()
    wait_until(lambda: {runs, waits} <= stage.ended())
    assert worker.stop() == 0


def test_broadcast_to_an_idle_worker_runs_at_once(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    (worker,) = ready(stage, 1, wait_until=wait_until)
    times = list[float]()
    for _ in range(5):
        sent = time.time()
        receipt = told.broadcast()
        wait_until(partial(ends, stage, receipt))
        times.append(next(e.at for e in stage.effects() if e.id == receipt.id) - sent)
    assert worker.stop() == 0
    print(f"told in {[round(t * 1000, 1) for t in times]} ms")
    assert sorted(times)[2] < 0.5


def test_broadcast_to_a_solo_worker_runs(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    (worker,) = ready(stage, 1, "--solo", wait_until=wait_until)
    receipt = told.broadcast()
    wait_until(lambda: ends(stage, receipt))
    assert worker.stop() == 0
    assert not stage.leaked()


def test_broadcast_after_a_reconnect_runs(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    (worker,) = ready(stage, 1, wait_until=wait_until)
    receipts = list[Receipt]()
    for _ in range(10):
        stage.redis.client_kill_filter(_type="normal", skipme=True)
        stage.app.broker.close()
        receipts.append(told.broadcast())
    wait_until(lambda: all(ends(stage, r) for r in receipts), 20.0)
    assert worker.stop() == 0
    assert [len(ends(stage, r)) for r in receipts] == [1] * 10


def test_broadcast_that_fails_is_retried_on_its_worker_then_dead_lettered(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    workers = ready(stage, 2, wait_until=wait_until)
    good, bad = told.broadcast(2), told.broadcast(9)
    wait_until(lambda: len(ends(stage, good)) == 2 and bad.id in stage.dead())
    wait_until(lambda: len([e for e in stage.effects("start") if e.id == bad.id]) == 6)
    assert [worker.stop() for worker in workers] == [0, 0]
    assert sorted(ends(stage, good)) == sorted(str(w.pid) for w in workers)
    assert not any(stage.look().counts.values())
    assert not stage.leaked()


def test_broadcast_after_a_crash_of_its_child_runs_again_on_the_same_worker(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    workers = ready(stage, 2, wait_until=wait_until)
    receipt = stage.app.tasks["crash_at"].broadcast(stage.gate(), 2)
    wait_until(lambda: len([e for e in stage.effects("start") if e.id == receipt.id]) == 2)
    stage.open_gate()
    wait_until(lambda: len([e for e in stage.effects("end") if e.id == receipt.id]) == 2)
    assert [worker.stop() for worker in workers] == [0, 0]
    assert stage.dead() == {}


def test_broadcast_of_a_dead_worker_is_dropped(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    (worker,) = ready(stage, 1, wait_until=wait_until)
    receipt = stage.app.tasks["hold"].broadcast(stage.gate())
    wait_until(lambda: stage.effects("start"))
    worker.kill_group()
    after = stage.worker("-c", "1", **MORE)
    wait_until(lambda: not stage.in_flight())
    stage.send("nap")
    wait_until(stage.ended)
    assert after.stop() == 0
    assert [e.id for e in stage.effects("start")].count(receipt.id) == 1
    assert stage.dead() == {}
    assert not stage.leaked()


def test_broadcast_that_a_worker_cannot_read_is_logged_and_dropped(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    (worker,) = ready(stage, 1, "--forget", "told", wait_until=wait_until)
    receipt = told.broadcast()
    wait_until(lambda: worker.events("broadcast dropped: this worker cannot read"))
    stage.send("nap")
    wait_until(stage.ended)
    assert worker.stop() == 0
    assert worker.events("broadcast dropped")[0]["level"].lower() == "error"
    assert (ends(stage, receipt), stage.dead()) == ([], {})
    assert not any(stage.look().counts.values())
    assert not stage.leaked()


def test_broadcast_with_invalid_arguments_is_refused(told: Task[..., Any]) -> None:
    with pytest.raises(InvalidArguments, match=r"at \$\.failures"):
        told.broadcast("many")


@pytest.mark.parametrize("option", ["delay", "eta", "queue", "expires"])
def test_broadcast_with_delay_eta_or_queue_is_refused(told: Task[..., Any], option: Any) -> None:
    moment = datetime(2027, 1, 1, tzinfo=UTC)
    value = {"delay": 5, "eta": moment, "queue": "high", "expires": moment}[option]
    options: Any = {option: value}
    with pytest.raises(InvalidOptions, match="a broadcast goes to every worker, at once") as caught:
        told.options(**options).broadcast()
    assert caught.value.option == option


def test_abroadcast_runs_on_every_worker(
    stage: Stage, told: Task[..., Any], wait_until: WaitUntil
) -> None:
    (worker,) = ready(stage, 1, wait_until=wait_until)

    async def tell() -> Receipt:
        try:
            return await told.options(soft_timeout=5).abroadcast()
        finally:
            await stage.app.broker.aclose()

    receipt = asyncio.run(tell())
    wait_until(lambda: ends(stage, receipt))
    assert worker.stop() == 0
