"""Part of the fault tests' app: tasks under OpenTelemetry, whose spans go to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tests.faults import tagged
from tests.faults.app import EFFECTS
from typedq import TypedQ
from typedq.observe.otel import instrument

RELATION = "FAULTS_RELATION"


class FileExporter(SpanExporter):
    """Appends each span as a line."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with (Path(os.environ[EFFECTS]).parent / "spans").open("a") as file:
            for span in spans:
                file.write(json.dumps(json.loads(span.to_json(indent=None))) + "\n")
        return SpanExportResult.SUCCESS


def declare(app: TypedQ) -> None:
    """Add the tasks, and spans that are sent only when they are flushed."""
    tagged.declare(app)
    instrument(app, relation="parent" if os.environ.get(RELATION) == "parent" else "link")

    @app.on_process_start
    def start() -> None:
        provider = TracerProvider()
        an_hour_ms = 3_600_000
        processor = BatchSpanProcessor(FileExporter(), schedule_delay_millis=an_hour_ms)
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)
