"""Spans and events of enqueues and attempts, by the real SDK with a transport that keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from tests.oldest import run_with
from typedq import Cancelled, Context, InvalidArguments, Reject, Retry, RetryIn, Secret, TypedQ
from typedq.observe import sentry

Sent = list[dict[str, Any]]
SECRET, NAME = "s3-cr3-t", "n4-m3"  # not in the lines of code that an event shows
Start = Callable[..., Sent]


class Kept(Transport):
    """Keeps transactions and events as they would be sent."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            self.sent.append(json.loads(item.get_bytes()))


@pytest.mark.slow
def test_all_of_this_holds_with_the_oldest_supported_sdk(tmp_path: Path) -> None:
    selection = [__file__, "-k", "not oldest"]
    run_with("sentry-sdk==2.20.0", tmp_path, selection, {})


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the SDK without what it would patch in this process."""

    def begin(**options: Any) -> Sent:
        sent: Sent = []
        sentry_sdk.init(
            dsn="http://key@localhost/1",
            transport=Kept(sent),
            traces_sample_rate=1.0,
            default_integrations=False,
            auto_enabling_integrations=False,
            **options,
        )
        return sent

    yield begin
    sentry_sdk.get_global_scope().set_client(None)


@dataclass(frozen=True)
class Refusing(Exception):
    """An exception that refuses attributes."""

    code: int


def fresh(**options: Any) -> tuple[TypedQ, list[BaseException]]:
    app, errors = TypedQ("shop", queues=["high", "low"]), list[BaseException]()
    sentry.instrument(app, **options)

    @app.task(queue="high", retry=Retry(on=OSError, max_retries=1, backoff=0))
    def work(name: str, token: Annotated[str, Secret] = "") -> None:
        if errors:
            raise errors.pop()

    @app.task
    async def awork(ctx: Context, name: str) -> None:
        if errors:
            raise errors.pop()

    return app, errors


def events(sent: Sent) -> Sent:
    return [each for each in sent if each.get("type") != "transaction"]


def transactions(sent: Sent) -> Sent:
    return [each for each in sent if each.get("type") == "transaction"]


def run(app: TypedQ, task: str = "work", **arguments: str) -> None:
    with app.testing() as outbox:
        app.tasks[task].enqueue(**arguments)
        outbox.run(raise_errors=False)


@pytest.mark.parametrize(("task", "queue"), [("work", "high"), ("awork", "low")])
def test_a_request_its_enqueue_and_its_attempt_are_one_trace(
    start: Start, task: str, queue: str
) -> None:
    sent, (app, _) = start(), fresh()
    with app.testing() as outbox:
        with sentry_sdk.start_transaction(name="GET /"):
            receipt = app.tasks[task].enqueue("grace")
        outbox.run()
    request, attempt = transactions(sent)
    (publish,) = request["spans"]
    assert (publish["op"], publish["description"]) == ("queue.publish", queue)
    about = {"messaging.message.id": receipt.id, "messaging.destination.name": queue}
    assert about.items() <= publish["data"].items()
    here = attempt["contexts"]["trace"]
    assert (attempt["transaction"], here["op"], here["status"]) == (task, "queue.process", "ok")
    assert here["trace_id"] == publish["trace_id"] == request["contexts"]["trace"]["trace_id"]
    assert here["parent_span_id"] == publish["span_id"]
    assert about.items() <= here["data"].items()
    assert here["data"]["messaging.message.retry.count"] == 0
    assert 0 <= here["data"]["messaging.message.receive.latency"] < 60_000
    tags = {"task": task, "contract": app.tasks[task].contract.id, "attempt": "1"}
    assert tags.items() <= attempt["tags"].items()


def test_the_attempts_of_a_batch_continue_its_one_span(start: Start) -> None:
    sent, (app, _) = start(), fresh()
    with app.testing() as outbox:
        with sentry_sdk.start_transaction(name="GET /"):
            app.enqueue_many([app.tasks["work"].call("a")] * 3)
        outbox.run()
    request, *attempts = transactions(sent)
    (publish,) = request["spans"]
    parents = [each["contexts"]["trace"]["parent_span_id"] for each in attempts]
    assert parents == [publish["span_id"]] * 3


@pytest.mark.parametrize(
    ("error", "each_attempt", "attempts"),
    [
        (OSError("no"), False, []),
        (OSError("no"), True, ["1"]),
        (LookupError("no"), False, ["1"]),
        (LookupError("no"), True, ["1"]),
        (Reject("no"), False, ["1"]),
        (RetryIn(0), True, []),
        (Cancelled("no"), True, []),
        (Refusing(7), False, ["1"]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("task", ["work", "awork"])
def test_a_failure_is_one_event_when_it_is_final(
    start: Start, task: str, error: BaseException, each_attempt: bool, attempts: list[str]
) -> None:
    sent, (app, errors) = start(), fresh(each_attempt=each_attempt)
    errors.append(error)
    if task == "awork" and isinstance(error, OSError):
        attempts = ["1"]  # without retries, each failure is final
    run(app, task, name="grace")
    found = events(sent)
    assert [event["tags"]["attempt"] for event in found] == attempts
    for event in found:
        assert event["tags"]["task"] == task
        assert event["tags"]["contract"] == app.tasks[task].contract.id
        (shown,) = event["exception"]["values"]
        assert shown["type"] == type(error).__name__
        assert shown["mechanism"]["handled"] is False
        assert shown["stacktrace"]["frames"][0]["function"] == task  # none of ours
        assert event["contexts"]["trace"]["trace_id"]
    statuses = {each["contexts"]["trace"]["status"] for each in transactions(sent)}
    assert statuses & {"aborted", "internal_error"}


def no_class(_: object) -> None:
    raise RuntimeError("no class")


Hiding = type("Hiding", (Exception,), {"__class__": property(no_class)})


@pytest.mark.parametrize("task", ["work", "awork"])
def test_a_failure_that_cannot_be_read_is_one_event_too(start: Start, task: str) -> None:
    sent, (app, errors) = start(), fresh()
    errors.append(Hiding("why"))
    run(app, task, name="grace")
    (event,) = events(sent)
    assert (event["level"], event["tags"]["task"]) == ("error", task)
    assert event["message"].startswith("Hiding")


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
def test_arguments_are_sent_with_pii_only_and_without_secrets(start: Start) -> None:
    for pii in (False, True):
        sent, (app, errors) = start(send_default_pii=pii), fresh()
        errors.append(LookupError("no"))
        run(app, name="grace", token=SECRET)
        (event,) = events(sent)
        assert SECRET not in json.dumps(sent)
        if pii:
            assert event["extra"]["arguments"] == {"name": "grace", "token": "***"}
        else:
            assert "grace" not in json.dumps(sent)
        (shown,) = event["exception"]["values"]
        assert all("vars" not in frame for frame in shown["stacktrace"]["frames"])


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
def test_variables_are_sent_if_no_argument_is_secret_and_pii_may_be_sent(start: Start) -> None:
    sent, (app, errors) = start(send_default_pii=True), fresh()
    errors.append(LookupError("no"))
    run(app, "awork", name="grace")
    (event,) = events(sent)
    assert event["extra"]["arguments"] == {"name": "grace"}
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert frames[0]["vars"]["name"] == "'grace'"


def test_what_a_task_reports_itself_has_no_secrets_either(start: Start) -> None:
    sent, app = start(), TypedQ("shop", queues=["low"])
    sentry.instrument(app)

    @app.task
    def work(token: Annotated[str, Secret]) -> None:
        try:
            raise LookupError("no")
        except LookupError as error:
            sentry_sdk.capture_exception(error)

    run(app, token=SECRET)
    (event,) = events(sent)
    assert event["tags"]["task"] == "work"
    assert SECRET not in json.dumps(sent)
    sentry_sdk.capture_message("after the attempt")
    assert "tags" not in sent[-1]


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
@pytest.mark.parametrize("pii", [False, True])
def test_a_stack_that_the_sdk_attaches_has_no_secrets_either(start: Start, pii: bool) -> None:
    """It attaches the stack after all processors, and that has the frames of the worker."""
    sent, app = start(send_default_pii=pii, attach_stacktrace=True), TypedQ("shop", queues=["low"])
    sentry.instrument(app)

    @app.task
    def work(name: str, token: Annotated[str, Secret]) -> None:
        sentry_sdk.capture_message("here")

    run(app, name=NAME, token=SECRET)
    (event,) = events(sent)
    assert SECRET not in json.dumps(sent)
    assert pii == (NAME in json.dumps(sent))
    (thread,) = event["threads"]["values"]
    assert thread["stacktrace"]["frames"][-1]["function"] == "work"
    for each in transactions(sent):  # to which older ones attach it, too
        assert not any(each.get("threads", {}).get("values", []))


def frames(event: dict[str, Any]) -> Iterator[tuple[bool, bool]]:
    """Yield of each frame whether it is typedq's, and whether it has variables."""
    traces = [*event.get("exception", {}).get("values", ())]
    for each in [*traces, *event.get("threads", {}).get("values", ())]:
        for frame in each["stacktrace"]["frames"]:
            yield frame["module"].startswith("typedq."), "vars" in frame


def test_frames_of_typedq_have_no_variables_where_calls_are_enqueued(start: Start) -> None:
    """The encoder holds the arguments of a call that it refuses."""
    sent, (app, _) = start(), fresh()
    work: Any = app.tasks["work"]
    name = "grace"
    try:
        work.enqueue(name, [SECRET])
    except InvalidArguments as error:
        sentry_sdk.capture_exception(error)
    (event,) = events(sent)
    assert SECRET not in json.dumps(sent)
    assert set(frames(event)) == {(True, False), (False, True)}


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
def test_frames_of_typedq_have_no_variables_in_a_task(start: Start) -> None:
    """Of a message without secrets, too: they may hold those of others."""
    sent, app = start(send_default_pii=True, attach_stacktrace=True), TypedQ("shop", queues=["low"])
    sentry.instrument(app)

    @app.task
    def work(name: str) -> None:
        sentry_sdk.capture_message("here")
        other: Any = work
        other.enqueue([name])

    run(app, name="grace")
    message, failure = events(sent)
    assert {own for own, has in frames(message) if has} == {False}
    assert set(frames(failure)) == {(True, False), (False, True)}


def test_without_the_sdk_nothing_is_added(start: Start) -> None:
    app, errors = fresh()
    seen = list[dict[str, str]]()

    @app.middleware
    def keep(ctx: Context) -> Generator[None]:
        seen.append(dict(ctx.meta))
        yield

    run(app, name="grace")
    errors.append(LookupError("no"))
    run(app, name="grace")
    assert seen == [{}, {}]
    start()
    run(app, name="grace")
    assert seen[-1].keys() == {"sentry-trace", "baggage"}


ROW = {"sentry-trace": "a" * 32 + "-" + "b" * 16 + "-1", "baggage": "shop=1,sentry-release=row"}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("carried", "added"),
    [
        (ROW, set[str]()),
        ({"sentry-trace": ROW["sentry-trace"]}, set[str]()),  # another's baggage would not fit it
        ({"baggage": "shop=1"}, {"sentry-trace"}),
        ({"sentry-trace": "", "tenant": "acme"}, {"sentry-trace", "baggage"}),
    ],
)
def test_a_call_that_a_request_wrote_to_an_outbox_keeps_its_trace(
    start: Start, inside: bool, carried: dict[str, str], added: set[str]
) -> None:
    sent, (app, _) = start(), fresh()
    seen = list[dict[str, str]]()

    @app.middleware
    def keep(ctx: Context) -> Generator[None]:
        seen.append(dict(ctx.meta))
        yield

    rows = [app.tasks["work"].options(meta=carried).call("grace"), app.tasks["work"].call("ada")]
    relay = sentry_sdk.start_transaction(name="relay") if inside else nullcontext()
    with app.testing() as outbox:
        with relay:
            app.enqueue_many(rows)
        outbox.run()
    kept = {name: value for name, value in carried.items() if value}
    assert kept.items() <= seen[0].items()
    assert seen[0].keys() - kept.keys() == added
    assert seen[1].keys() == {"sentry-trace", "baggage"}
    first, second = [t["contexts"]["trace"]["trace_id"] for t in transactions(sent)][-2:]
    own = seen[1]["sentry-trace"].partition("-")[0]
    assert (first == "a" * 32, second) == ("sentry-trace" not in added, own)


@pytest.mark.parametrize(
    "baggage", ["sentry-sample_rate=1e400", "sentry-sample_rand=nan", "%ff%fe=%zz,sentry-%20"]
)
def test_headers_that_the_sdk_cannot_read_fail_no_attempt(start: Start, baggage: str) -> None:
    sent, app = start(), TypedQ("shop", queues=["low"])
    ran = list[str]()
    sentry.instrument(app)

    @app.task
    def work(name: str) -> None:
        ran.append(name)

    trace = "1" * 32 + "-" + "2" * 16 + "-1"
    with app.testing() as outbox:
        call = work.options(meta={"sentry-trace": trace, "baggage": baggage}).call("grace")
        app.declarations.hooks.enqueue_hooks.clear()  # a stranger sent it
        app.enqueue_many([call])
        outbox.run()
    assert ran == ["grace"]
    assert len(transactions(sent)) == 1


def test_a_trace_never_fails_an_enqueue_for_want_of_room(start: Start) -> None:
    sent, (app, _) = start(release="r" * 200), fresh()
    seen = list[set[str]]()

    @app.middleware
    def keep(ctx: Context) -> Generator[None]:
        seen.append(set(ctx.meta) - {"mine"})
        yield

    work = app.tasks["work"]
    with app.testing() as outbox:
        for size in (0, 850, 1_000):
            work.options(meta={"mine": "x" * size}).enqueue("grace")
        outbox.run()
    assert seen == [{"sentry-trace", "baggage"}, {"sentry-trace"}, set()]
    assert len(transactions(sent)) == 3
