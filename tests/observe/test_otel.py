"""Spans of enqueues and attempts, by the real SDK, across processes that end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from typedq import (
    Cancelled,
    ConfigurationError,
    Context,
    EnqueueContext,
    Reject,
    Retry,
    RetryIn,
    TypedQ,
)
from typedq.observe import otel

_EXPORTER = InMemorySpanExporter()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans of this process; a provider can be set only once."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(_EXPORTER))
        trace.set_tracer_provider(provider)
    _EXPORTER.clear()
    yield _EXPORTER
    _EXPORTER.clear()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the ids of the trace and the span."""
    here = span.get_span_context()
    assert here
    return here.trace_id, here.span_id


def fresh(relation: Any = "link") -> tuple[TypedQ, list[BaseException]]:
    app, errors = TypedQ("shop", queues=["high", "low"]), list[BaseException]()
    otel.instrument(app, relation=relation)

    @app.task(queue="high", retry=Retry(on=OSError, max_retries=1, backoff=0))
    def work(ctx: Context) -> None:
        if errors:
            raise errors.pop()

    @app.task
    async def awork(ctx: Context) -> None:
        if errors:
            raise errors.pop()

    return app, errors


@pytest.mark.parametrize(("task", "queue"), [("work", "high"), ("awork", "low")])
def test_an_attempt_is_linked_to_its_enqueue(
    spans: InMemorySpanExporter, task: str, queue: str
) -> None:
    app, _ = fresh()
    with app.testing() as outbox:
        receipt = app.tasks[task].enqueue()
        outbox.run()
    (sent,), (ran,) = named(spans, f"send {queue}"), named(spans, f"process {queue}")
    assert (sent.kind.name, ran.kind.name) == ("PRODUCER", "CONSUMER")
    assert [link.context.span_id for link in ran.links] == [ids(sent)[1]]
    assert ran.parent is None
    assert dict(sent.attributes or {}) == {
        "messaging.system": "typedq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": queue,
        "messaging.message.id": receipt.id,
        "typedq.task": task,
    }
    about = dict(ran.attributes or {})
    assert about["messaging.operation.type"] == "process"
    assert (about["messaging.message.id"], about["typedq.attempt"]) == (receipt.id, 1)


def test_as_parent_a_request_its_task_and_what_that_enqueues_are_one_trace(
    spans: InMemorySpanExporter,
) -> None:
    app, _ = fresh("parent")

    @app.task
    def first() -> None:
        app.tasks["work"].enqueue()

    with app.testing() as outbox:
        with trace.get_tracer("web").start_as_current_span("GET /"):
            first.enqueue()
        outbox.run()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert len({ids(span)[0] for span in found.values()}) == 1
    chain = ["process high", "send high", "process low", "send low", "GET /"]
    for child, parent in pairwise(chain):
        origin = found[child].parent
        assert origin
        assert origin.span_id == ids(found[parent])[1]


def test_a_batch_is_one_span_to_which_all_attempts_are_linked(spans: InMemorySpanExporter) -> None:
    app, _ = fresh()
    with app.testing() as outbox:
        app.enqueue_many([app.tasks["work"].call()] * 3)
        outbox.run()
    (sent,) = named(spans, "send high")
    assert (sent.attributes or {})["messaging.batch.message_count"] == 3
    ran = named(spans, "process high")
    assert [r.links[0].context.span_id for r in ran] == [ids(sent)[1]] * 3


@pytest.mark.parametrize(
    ("error", "final"),
    [
        *((OSError("no"), False), (RetryIn(0), False)),
        *((LookupError("no"), True), (Reject("no"), True), (Cancelled("no"), True)),
    ],
    ids=repr,
)
def test_a_retry_is_an_event_and_only_a_final_error_is_an_error(
    spans: InMemorySpanExporter, error: BaseException, final: bool
) -> None:
    app, errors = fresh()
    errors.append(error)
    with app.testing() as outbox:
        app.tasks["work"].enqueue()
        outbox.run(raise_errors=False)
    ran = named(spans, "process high")
    assert len(ran) == (1 if final else 2)
    if isinstance(error, Cancelled):
        assert (ran[0].events, ran[0].status.status_code.name) == ((), "UNSET")
        return
    (event,) = ran[0].events
    assert (event.name, ran[0].status.status_code.name) == (
        ("exception", "ERROR") if final else ("typedq.retry", "UNSET")
    )
    assert ((ran[0].attributes or {}).get("error.type")) == (
        type(error).__name__ if final else None
    )
    assert ran[-1].status.status_code.name == ("ERROR" if final else "UNSET")


def test_the_span_of_an_exception_is_text_that_can_be_sent(spans: InMemorySpanExporter) -> None:
    """An exporter that cannot encode one attribute loses the spans of its whole batch."""
    app, errors = fresh()
    strange = type("Odd", (LookupError,), {})
    strange.__qualname__ = "Odd\udcff"
    errors += [strange("no file \udc80"), Reject("no \udc81")]
    with app.testing() as outbox:
        for _ in range(2):
            app.tasks["work"].enqueue()
        outbox.run(raise_errors=False)
    rejected, failed = named(spans, "process high")
    for span, shown in ((rejected, "no \\udc81"), (failed, "no file \\udc80")):
        (event,) = span.events
        texts = [*(span.attributes or {}).values(), *(event.attributes or {}).values()]
        for text in (*texts, span.status.description):
            str(text).encode()  # raises UnicodeEncodeError
        assert shown in str(span.status.description)


@dataclass(frozen=True)
class Frozen(Exception):
    code: int = 7


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [Frozen(), Silent(), OSError("no file \udc80")], ids=type)
def test_a_failed_enqueue_is_an_error_and_raises_what_it_would(
    spans: InMemorySpanExporter, error: Exception
) -> None:
    app, _ = fresh()

    @app.on_enqueue
    def failing(ctx: EnqueueContext) -> Generator[None]:
        yield
        raise error

    work = app.tasks["work"]
    sends: list[Callable[[], object]] = [work.enqueue, lambda: asyncio.run(work.aenqueue())]
    with app.testing():
        for send in sends:
            with pytest.raises(type(error)) as caught:
                send()
            assert caught.value is error
    for span in named(spans, "send high"):
        (event,) = span.events
        assert (event.name, span.status.status_code.name) == ("exception", "ERROR")
        assert (span.attributes or {})["error.type"] == type(error).__name__
        for text in (*(event.attributes or {}).values(), span.status.description):
            str(text).encode()
    assert len(named(spans, "send high")) == 2
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_trace_never_fails_an_enqueue_for_want_of_room(spans: InMemorySpanExporter) -> None:
    app, _ = fresh()
    full = {str(number): "" for number in range(16)}
    with app.testing() as outbox:
        app.enqueue_many([app.tasks["work"].options(meta=full).call(), app.tasks["work"].call()])
        outbox.run()
    assert [len(span.links) for span in named(spans, "process high")] == [0, 1]


ROW = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
STATE = {"traceparent": ROW, "tracestate": "vendor=row"}


@pytest.mark.parametrize("relation", ["link", "parent"])
@pytest.mark.parametrize("relay", ["alone", "in a span", "not traced", "in a task"])
@pytest.mark.parametrize("carried", [{"traceparent": ROW}, STATE, {**STATE, "tenant": "acme"}])
def test_a_call_that_a_request_wrote_to_an_outbox_keeps_its_trace(
    spans: InMemorySpanExporter, relation: str, relay: str, carried: dict[str, str]
) -> None:
    app, _ = fresh(relation)
    seen = list[dict[str, str]]()
    rows = [app.tasks["work"].options(meta=carried).call(), app.tasks["work"].call()]

    @app.middleware
    def keep(ctx: Context) -> Generator[None]:
        seen.append(dict(ctx.meta))
        yield

    @app.task
    def relay_all() -> None:
        app.enqueue_many(rows)

    with app.testing() as outbox:
        if relay == "in a task":
            relay_all.enqueue()
        elif relay == "in a span":
            with trace.get_tracer("web").start_as_current_span("relay"):
                app.enqueue_many(rows)
        else:
            if relay == "not traced":
                app.declarations.hooks.enqueue_hooks.clear()
            app.enqueue_many(rows)
        outbox.run()
    assert seen[-2] == carried
    ran = named(spans, "process high")
    if relation == "link":
        origins = [link.context for span in ran for link in span.links]
    else:
        origins = [span.parent for span in ran if span.parent]
    assert (origins[0].trace_id, origins[0].span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    sent = named(spans, "send high")
    assert [origin.span_id for origin in origins[1:]] == [ids(span)[1] for span in sent]


@pytest.mark.parametrize("aenqueue", [False, True])
def test_one_call_keeps_its_trace_too(spans: InMemorySpanExporter, aenqueue: bool) -> None:
    app, _ = fresh()
    sender = app.tasks["work"].options(meta={"traceparent": ROW})
    with app.testing() as outbox:
        if aenqueue:
            asyncio.run(sender.aenqueue())
        else:
            sender.enqueue()
        outbox.run()
    (ran,) = named(spans, "process high")
    assert [link.context.span_id for link in ran.links] == [int("b" * 16, 16)]


def test_an_empty_traceparent_is_no_trace(spans: InMemorySpanExporter) -> None:
    """A request without a trace may write what it has."""
    app, _ = fresh()
    with app.testing() as outbox:
        app.tasks["work"].options(meta={"traceparent": ""}).enqueue()
        outbox.run()
    (sent,), (ran,) = named(spans, "send high"), named(spans, "process high")
    assert [link.context.span_id for link in ran.links] == [ids(sent)[1]]


def test_a_collector_that_does_not_answer_keeps_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's exporters try again and again, batch after batch, whatever time they are given."""
    app, _ = fresh()
    answers, asked = threading.Event(), threading.Event()

    class Stuck:
        def force_flush(self, timeout_ms: int) -> None:
            asked.set()
            answers.wait()

    monkeypatch.setattr(trace, "get_tracer_provider", Stuck)
    monkeypatch.setattr(otel, "FLUSH_S", 0.05)
    stopping = threading.Thread(target=app.declarations.hooks.stop_hooks[-1], daemon=True)
    stopping.start()
    assert asked.wait(10)
    stopping.join(10)
    assert not stopping.is_alive()
    answers.set()


def test_an_unknown_relation_is_refused() -> None:
    wrong: Any = "child"
    with pytest.raises(ConfigurationError) as caught:
        otel.instrument(TypedQ("n"), relation=wrong)
    assert caught.value.problems == ("relation 'child' is not one of link, parent",)
