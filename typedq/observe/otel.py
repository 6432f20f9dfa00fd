"""OpenTelemetry: a span for each enqueue and each attempt. Needs the extra `otel`."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, Literal

from typedq.errors import ConfigurationError
from typedq.failure import is_cancellation, read_failure, type_name
from typedq.observe.propagation import destination, inject
from typedq.telemetry import tracing

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError:
    raise ImportError(
        "typedq.observe.otel needs OpenTelemetry: pip install 'typedq[otel]'"
    ) from None

if TYPE_CHECKING:
    from typedq.app import TypedQ
    from typedq.outgoing import EnqueueContext
    from typedq.policy import Context

Relation = Literal["link", "parent"]
# The messaging conventions of 2026; they are still in development, so this is the only place.
SYSTEM: Final = "messaging.system"
OPERATION_NAME, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
MESSAGE_COUNT: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"
TASK, ATTEMPT, RETRY = "typedq.task", "typedq.attempt", "typedq.retry"  # our own
FLUSH_S: Final = 5.0
_propagator: Final = TraceContextTextMapPropagator()


def instrument(app: TypedQ, *, relation: Relation = "link") -> None:
    """Trace every enqueue and every attempt of an app; call it once, where the app is declared.

    relation: of an attempt to its enqueue: "link" begins a trace for each attempt, as the
        conventions advise; "parent" keeps all in the trace of the enqueue

    Start the SDK in `@app.on_process_start`, because its threads end at a fork. Raises
    ConfigurationError.
    """
    if relation not in ("link", "parent"):
        raise ConfigurationError([f"relation {relation!r} is not one of link, parent"])
    tracer = trace.get_tracer("typedq")
    _trace_enqueues(app, tracer)
    _trace_attempts(app, tracer, relation)

    @app.on_process_stop
    def flush() -> None:
        provider: Any = trace.get_tracer_provider()
        if hasattr(provider, "force_flush"):  # only that of an SDK has spans to flush
            # The SDK gives this time to each batch or ignores it, so a collector that is down
            # would keep the child for a minute.
            flushing = threading.Thread(
                target=provider.force_flush, args=(round(FLUSH_S * 1000),), daemon=True
            )
            flushing.start()
            flushing.join(FLUSH_S)


def _trace_enqueues(app: TypedQ, tracer: trace.Tracer) -> None:
    @app.on_enqueue
    def send(ctx: EnqueueContext) -> Generator[None]:
        queue = destination(ctx.calls[0].queue)
        about = {**_about("send", queue), TASK: ctx.calls[0].task}
        if len(ctx.calls) > 1:
            about[MESSAGE_COUNT] = len(ctx.calls)
        span = tracer.start_span(f"send {queue}", kind=SpanKind.PRODUCER, attributes=about)
        # Not `use_span`: it sets the traceback of an exception, which a frozen one refuses.
        token = contexts.attach(trace.set_span_in_context(span))
        try:
            headers: dict[str, str] = {}
            _propagator.inject(headers)
            inject(ctx, headers, "traceparent")
            yield
            if len(ctx.receipts) == 1:
                span.set_attribute(MESSAGE_ID, ctx.receipts[0].id)
        except Exception as error:
            _record(span, error, will_retry=False)
            raise
        finally:
            contexts.detach(token)
            span.end()


def _trace_attempts(app: TypedQ, tracer: trace.Tracer, relation: Relation) -> None:
    @app.middleware
    def process(ctx: Context) -> Generator[None]:
        queue = destination(ctx.queue)
        about = {**_about("process", queue), TASK: ctx.task, MESSAGE_ID: ctx.id}
        sent = _propagator.extract(ctx.meta, contexts.Context())
        origin = trace.get_current_span(sent).get_span_context()
        span = tracer.start_span(
            f"process {queue}",
            sent if relation == "parent" else contexts.Context(),
            SpanKind.CONSUMER,
            {**about, ATTEMPT: ctx.attempt},
            [Link(origin)] if relation == "link" and origin.is_valid else [],
        )
        _label(span)
        token = contexts.attach(trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            if not is_cancellation(error):
                _record(span, error, will_retry=ctx.will_retry(error))
            raise
        finally:
            contexts.detach(token)
            span.end()


def _about(operation: str, queue: str) -> dict[str, str | int]:
    names = {SYSTEM: "typedq", OPERATION_NAME: operation, OPERATION_TYPE: operation}
    return {**names, DESTINATION: queue}


def _label(span: Span) -> None:
    """Let the log lines of this attempt carry its trace."""
    here = span.get_span_context()
    if here.is_valid:
        ids = {"trace_id": f"{here.trace_id:032x}", "span_id": f"{here.span_id:016x}"}
        tracing.set(ids)


def _record(span: Span, error: BaseException, *, will_retry: bool) -> None:
    name = type_name(error)
    if will_retry:
        span.add_event(RETRY, {ERROR_TYPE: name})
        return
    failure = read_failure(error)
    about = {"exception.type": name, "exception.message": failure.text}
    span.add_event("exception", {**about, "exception.stacktrace": failure.traceback})
    span.set_attribute(ERROR_TYPE, name)
    span.set_status(StatusCode.ERROR, failure.text)
