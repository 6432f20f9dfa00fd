"""Spans of real workers: none is lost when a child ends, and log lines name their trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import tagged
from tests.faults.app import MORE

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage


def written(stage: Stage) -> list[dict[str, Any]]:
    path = stage.directory / "spans"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("end", ["recycled", "stopped"])
def test_no_span_is_lost_when_a_child_is_recycled_or_stopped(
    stage: Stage, wait_until: WaitUntil, end: str
) -> None:
    """The SDK would send its spans in an hour: all that is written was flushed at an end."""
    tagged.declare(stage.app)
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    meta = {"traceparent": traceparent}
    sent = [stage.send(task, meta=meta) for task in ("tagged", "atagged") for _ in range(3)]
    flags = ("--max-tasks", "2") if end == "recycled" else ()
    environment = {MORE: "tests.faults.traced", tagged.CRON: "1", "FAULTS_RELATION": "parent"}
    worker = stage.worker("-c", "1", *flags, **environment)
    wait_until(lambda: len(stage.effects()) >= 7)  # and one of cron
    copy = stage.app.tasks["atagged"].options(meta=meta).broadcast()
    wait_until(lambda: any(effect.id == copy.id for effect in stage.effects()))
    assert worker.stop() == 0
    spans = written(stage)
    ids = {span["attributes"]["messaging.message.id"] for span in spans}
    assert ids == {effect.id for effect in stage.effects()}
    traced = [s for s in spans if s["attributes"]["messaging.message.id"] in {*sent, copy.id}]
    assert {span["context"]["trace_id"] for span in traced} == {f"0x{'a' * 32}"}
    assert {span["parent_id"] for span in traced} == {f"0x{'b' * 16}"}
    assert {span["name"] for span in spans} == {"process mid", "process broadcast"}


@pytest.mark.parametrize("task", ["tagged", "atagged"])
def test_log_lines_of_an_attempt_name_its_trace(stage: Stage, task: str) -> None:
    """Also the line about its failure, which is written after the span has ended."""
    tagged.declare(stage.app)
    id = stage.send(task, "bury")
    worker = stage.worker("-c", "1", "--burst", **{MORE: "tests.faults.traced"})
    assert worker.wait() == 0
    (span,) = written(stage)
    (line,) = [line for line in worker.log.read_text().splitlines() if "task failed" in line]
    assert id in line
    assert span["context"]["trace_id"].removeprefix("0x") in line
    assert span["context"]["span_id"].removeprefix("0x") in line
