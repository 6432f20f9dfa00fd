"""What workers send to Sentry by the SDK's own transport: nothing is lost when a child ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import reported, tagged
from tests.faults.app import MORE

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

TRACE, PARENT = "a" * 32, "b" * 16


@pytest.mark.parametrize("end", ["recycled", "solo"])
def test_every_attempt_and_each_final_failure_is_reported_once(
    stage: Stage, wait_until: WaitUntil, end: str
) -> None:
    tagged.declare(stage.app)
    meta = {"sentry-trace": f"{TRACE}-{PARENT}-1"}
    tasks = [stage.app.tasks[name].options(meta=meta) for name in ("tagged", "atagged")]
    calls = [tasks[0].call("retry"), *(task.call(how) for task in tasks for how in ("", "bury"))]
    batch = stage.app.enqueue_many(calls)
    flags = ("--max-tasks", "2") if end == "recycled" else ("--solo",)
    with reported.receiver() as (dsn, received):
        environment = {MORE: "tests.faults.reported", tagged.CRON: "1", reported.DSN: dsn}
        worker = stage.worker("-c", "1", *flags, **environment)
        wait_until(lambda: len(stage.effects()) >= 7)  # 6 attempts, and one of cron
        copy = tasks[1].broadcast()
        wait_until(lambda: any(effect.id == copy.id for effect in stage.effects()))
        assert worker.stop() == 0
    attempts = [each for each in received if each.get("type") == "transaction"]
    events = [each for each in received if each.get("type") != "transaction"]
    about = [each["contexts"]["trace"]["data"] for each in attempts]
    ran = sorted(
        (each["messaging.message.id"], int(each["messaging.message.retry.count"]) + 1)
        for each in about
    )
    assert ran == sorted((effect.id, effect.attempt) for effect in stage.effects())
    sent = {copy.id, *(receipt.id for receipt in batch)}
    traces = {
        (each["contexts"]["trace"]["trace_id"], each["contexts"]["trace"]["parent_span_id"])
        for each, data in zip(attempts, about, strict=True)
        if data["messaging.message.id"] in sent
    }
    assert traces == {(TRACE, PARENT)}
    assert {data["messaging.destination.name"] for data in about} == {"mid", "broadcast"}
    # One, although the worker logs them as errors, and the SDK makes events of such log lines.
    assert sorted(event["tags"]["task"] for event in events) == ["atagged", "tagged"]
    assert {event["contexts"]["trace"]["trace_id"] for event in events} == {TRACE}
    assert all(event["exception"]["values"][0]["type"] == "LookupError" for event in events)
    assert {each["contexts"]["trace"]["status"] for each in attempts} == {
        "ok",
        "aborted",
        "internal_error",
    }
