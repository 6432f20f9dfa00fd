"""Sentry: spans of enqueues and attempts, events of failures. Needs the extra `sentry`."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Final, cast

import msgspec

from typedq.contracts import MASK
from typedq.errors import RetryIn
from typedq.failure import is_cancellation, read_failure
from typedq.observe.propagation import destination, inject

try:
    import sentry_sdk
    from sentry_sdk.integrations.logging import ignore_logger
    from sentry_sdk.scope import add_global_event_processor
    from sentry_sdk.utils import current_stacktrace, event_from_exception, iter_event_frames
except ModuleNotFoundError:
    raise ImportError("typedq.observe.sentry needs Sentry: pip install 'typedq[sentry]'") from None

if TYPE_CHECKING:
    from sentry_sdk.tracing import Span
    from sentry_sdk.types import Event

    from typedq.app import TypedQ
    from typedq.outgoing import EnqueueContext
    from typedq.policy import Context

ORIGIN: Final = "auto.queue.typedq"
FLUSH_S: Final = 5.0
MESSAGE_ID, DESTINATION = "messaging.message.id", "messaging.destination.name"
_STACKS: Final = {"exception", "stacktrace", "threads"}
LATENCY, RETRIES = "messaging.message.receive.latency", "messaging.message.retry.count"


def instrument(app: TypedQ, *, each_attempt: bool = False) -> None:
    """Report every enqueue and attempt of an app; call it once, where the app is declared.

    each_attempt: send an event also for attempts that failed and will be retried

    Start the SDK in `@app.on_process_start`, because its thread ends at a fork. Arguments are sent
    only with `send_default_pii`, and without their secrets.
    """
    # The SDK would send a second event for each failure that a worker logs.
    ignore_logger("typedq")
    _hide_own_variables()
    _report_enqueues(app)
    _report_attempts(app, each_attempt=each_attempt)

    @app.on_process_stop
    def flush() -> None:
        sentry_sdk.flush(FLUSH_S)


def _report_enqueues(app: TypedQ) -> None:
    @app.on_enqueue
    def publish(ctx: EnqueueContext) -> Generator[None]:
        if not sentry_sdk.is_initialized():
            yield
            return
        if sentry_sdk.get_current_span() is None:  # no transaction to be a part of
            _inject(ctx)
            yield
            return
        queue = destination(ctx.calls[0].queue)
        with sentry_sdk.start_span(op="queue.publish", name=queue, origin=ORIGIN) as span:
            span.set_data(DESTINATION, queue)
            _inject(ctx)
            yield
            if len(ctx.receipts) == 1:
                span.set_data(MESSAGE_ID, ctx.receipts[0].id)


def _inject(ctx: EnqueueContext) -> None:
    headers = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
    inject(ctx, {name: value for name, value in headers.items() if value}, "sentry-trace")


def _report_attempts(app: TypedQ, *, each_attempt: bool) -> None:
    @app.middleware
    def process(ctx: Context) -> Generator[None]:
        if not sentry_sdk.is_initialized():
            yield
            return
        # Closed by hand: `with` would set the traceback of an exception, which may refuse that.
        scopes = ExitStack()
        scope = scopes.enter_context(sentry_sdk.isolation_scope())
        scope.clear_breadcrumbs()
        contract = app.declarations.find(ctx.task).contract.id
        scope.set_tags({"task": ctx.task, "contract": contract, "attempt": str(ctx.attempt)})
        scope.add_event_processor(partial(_describe, ctx))
        span = scopes.enter_context(_transaction(ctx))
        try:
            yield
        except BaseException as error:
            retry, cancelled = ctx.will_retry(error), is_cancellation(error)
            span.set_status("aborted" if retry or cancelled else "internal_error")
            requested = issubclass(type(error), RetryIn)  # not a failure
            if not cancelled and (not retry or (each_attempt and not requested)):
                _capture(error)
            raise
        else:
            span.set_status("ok")
        finally:
            scopes.close()


def _transaction(ctx: Context) -> Span:
    queue = destination(ctx.queue)
    begin = partial(
        sentry_sdk.continue_trace, op="queue.process", name=ctx.task, source="task", origin=ORIGIN
    )
    try:
        span = begin(dict(ctx.meta))
    except Exception:  # noqa: BLE001 - headers of a producer, which the SDK may fail to read
        span = begin({})
    span.set_data(DESTINATION, queue)
    span.set_data(MESSAGE_ID, ctx.id)
    span.set_data(RETRIES, ctx.attempt - 1)
    span.set_data(LATENCY, max(0.0, time.time() - ctx.due.timestamp()) * 1000)  # ms
    return sentry_sdk.start_transaction(span)


def _capture(error: BaseException) -> None:
    text = read_failure(error).text  # without frames of typedq
    # An exception of a task may raise when it is read. That must not change the attempt.
    with suppress(Exception):
        try:
            event, hint = event_from_exception(
                error,
                client_options=sentry_sdk.get_client().options,
                mechanism={"type": "typedq", "handled": False},
            )
        except Exception:  # noqa: BLE001 - an exception that cannot be read is sent as text
            sentry_sdk.capture_message(text, "error")
        else:
            sentry_sdk.capture_event(event, hint=hint)


def _describe(ctx: Context, event: Event, _: object) -> Event:
    """Add the arguments if personal data may be sent; drop variables, which would quote them."""
    __tracebackhide__ = True  # the SDK leaves such frames out
    # The SDK would attach a stack after this, with all variables; older SDKs to transactions, too.
    attaches = sentry_sdk.get_client().options["attach_stacktrace"]
    attaches = attaches and not _STACKS & event.keys()
    if event.get("type") in ("transaction", "check_in"):
        return {**event, "threads": {"values": []}} if attaches else event
    arguments, may_send = ctx.masked_arguments(), _may_send_arguments()
    if may_send:
        event.setdefault("extra", {})["arguments"] = _parsed(arguments)
    if attaches:
        thread = {"stacktrace": current_stacktrace(), "crashed": False, "current": True}
        event["threads"] = {"values": [thread]}
    if not may_send or MASK in arguments:
        for frame in iter_event_frames(event):
            frame.pop("vars", None)
    return _without_own_variables(event)


def _without_own_variables(event: Event, _: object = None) -> Event:
    """Drop the variables of our frames: they hold arguments, also of other calls and messages."""
    for frame in iter_event_frames(event):
        if str(frame.get("module")).partition(".")[0] == "typedq":
            frame.pop("vars", None)
    return event


@cache
def _hide_own_variables() -> None:
    add_global_event_processor(_without_own_variables)


def _may_send_arguments() -> bool:
    client = sentry_sdk.get_client()
    # Newer SDKs have this in place of `send_default_pii`, and derive it from that, too.
    collected = cast("dict[str, bool]", client.options.get("data_collection") or {})
    return bool(collected.get("queues", client.should_send_default_pii()))


def _parsed(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return arguments
