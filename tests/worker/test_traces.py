"""Spans of real workers: none is lost when a child ends, and log lines name their trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace

from tests.faults import tagged
from tests.faults.app import MORE
from tests.observe.test_otel import spans
from typedq.observe.otel import instrument

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage


__all__ = ["spans"]


def ids(span: Any) -> tuple[int, int]:
    """Return the ids of the trace and the span."""
    here = span.get_span_context()
    return here.trace_id, here.span_id


def written(stage: Stage) -> list[dict[str, Any]]:
    path = stage.directory / "spans"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("end", ["recycled", "stopped"])
def test_a_request_its_batch_and_every_attempt_are_one_trace_however_children_end(
    stage: Stage, wait_until: WaitUntil, spans: InMemorySpanExporter, end: str
) -> None:
    """The SDK would send its spans in an hour: all that is written was flushed at an end."""
    tagged.declare(stage.app)
    instrument(stage.app, relation="parent")
    tasks = [stage.app.tasks[name] for name in ("tagged", "atagged")]
    request = trace.get_tracer("web").start_span("GET /")
    with trace.use_span(request):
        calls = [task.call(how) for task in tasks for how in ("", "retry")]
        sent = [receipt.id for receipt in stage.app.enqueue_many(calls)]
    flags = ("--max-tasks", "2") if end == "recycled" else ()
    environment = {MORE: "tests.faults.traced", tagged.CRON: "1", "FAULTS_RELATION": "parent"}
    worker = stage.worker("-c", "1", *flags, **environment)
    wait_until(lambda: len(stage.effects()) >= 7)  # and one of cron
    with trace.use_span(request):
        copy = tasks[1].broadcast()
    wait_until(lambda: any(effect.id == copy.id for effect in stage.effects()))
    assert worker.stop() == 0
    batch, broadcast = spans.get_finished_spans()
    origin, (one, other) = ids(request), (ids(batch), ids(broadcast))
    assert [span.parent.span_id for span in (batch, broadcast) if span.parent] == [origin[1]] * 2
    attempts = {
        (span["attributes"]["messaging.message.id"], span["attributes"]["typedq.attempt"]): span
        for span in written(stage)
    }
    assert attempts.keys() == {(effect.id, effect.attempt) for effect in stage.effects()}
    for (id, attempt), span in attempts.items():
        retried = id in (sent[1], sent[3]) and attempt == 1
        assert [event["name"] for event in span["events"]] == ["typedq.retry"] * retried
        assert span["status"]["status_code"] == "UNSET"
        if id in (*sent, copy.id):
            parent = other if id == copy.id else one
            assert span["parent_id"] == f"0x{parent[1]:016x}"
            assert span["context"]["trace_id"] == f"0x{origin[0]:032x}"
        else:  # of cron: nobody asked for it
            assert span["parent_id"] is None
        assert span["name"] == ("process broadcast" if id == copy.id else "process mid")
    assert {(id, 2) for id in (sent[1], sent[3])} <= attempts.keys()


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
