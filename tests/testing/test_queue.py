"""Testing without a server: calls are captured, and run as a worker would run them."""

from __future__ import annotations

import asyncio
import decimal
import os
import traceback
from collections.abc import AsyncGenerator, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import pytest

from typedq import (
    Context,
    InvalidArguments,
    InvalidOptions,
    Queue,
    Reject,
    Retry,
    RetryIn,
    Secret,
    SoftTimeout,
    TypedQ,
    telemetry,
)
from typedq.testing import DeadLetter, TestQueue

ONE: Any = 1  # where a checker must not look
QUEUES = [Queue("high"), Queue("mid", hard_timeout=60), Queue("low")]
tenant: ContextVar[str] = ContextVar("tenant", default="-")
done: list[Any] = []
raising: list[BaseException] = []

app = TypedQ("shop", url="redis://127.0.0.1:1/0", queues=QUEUES, default_queue="mid")


class Mail(msgspec.Struct, frozen=True):
    to: str
    subject: str = ""


@app.task
def send_mail(args: Mail) -> None:
    done.append(args)


@app.task(queue="high", hard_timeout=30)
def look(ctx: Context) -> None:
    done.append(ctx)


@app.task
async def fetch(ctx: Context, n: int) -> None:
    await asyncio.sleep(0)
    done.append((n, asyncio.get_running_loop()))


@app.task
def chain(n: int) -> None:
    done.append(n)
    if n:
        chain.options(queue="high").enqueue(n - 1)


@app.task(retry=Retry(max_retries=2, on=(OSError, SoftTimeout), backoff=10))
def flaky(what: str = "") -> None:
    done.append("tried")
    if raising:
        raise raising.pop(0)


@pytest.fixture
def outbox() -> Generator[TestQueue]:
    done.clear()
    raising.clear()
    with app.testing() as outbox:
        yield outbox


# --- capturing


def test_every_way_to_enqueue_is_captured_and_nothing_runs(outbox: TestQueue) -> None:
    one, two, three = (send_mail.call(Mail(to)) for to in "abc")
    send_mail.enqueue(Mail("a"))
    app.enqueue_many([two, chain.call(1)], chunk=1)

    async def others() -> None:
        await send_mail.aenqueue(Mail("c"))
        await app.aenqueue_many([fetch.call(7)])

    asyncio.run(others())
    assert outbox.calls(send_mail) == [one, two, three]
    assert outbox.calls() == [one, two, chain.call(1), three, fetch.call(7)]
    assert outbox.waiting() == outbox.calls()
    assert not done


def test_calls_are_told_apart_by_their_options(outbox: TestQueue) -> None:
    low = send_mail.options(queue="low", delay=5, hard_timeout=3)
    receipt = low.enqueue(Mail("a"))
    assert (receipt.task, receipt.queue) == ("send_mail", "low")
    assert outbox.calls() == [low.call(Mail("a"))]
    assert outbox.calls() != [send_mail.call(Mail("a"))]


def test_broadcasts_are_captured_and_run_first(outbox: TestQueue) -> None:
    look.enqueue()
    chain.enqueue(1)
    chain.broadcast(0)
    asyncio.run(send_mail.options(hard_timeout=5).abroadcast(Mail("a")))
    assert outbox.broadcasts(chain) == [chain.call(0)]
    assert outbox.broadcasts(send_mail) == [send_mail.options(hard_timeout=5).call(Mail("a"))]
    assert len(outbox.calls()) == 4
    assert outbox.calls(chain) != [chain.call(1), chain.call(0)]
    outbox.run()
    assert done[:2] == [0, Mail("a")]


def test_what_a_worker_could_not_read_is_refused_as_ever(outbox: TestQueue) -> None:
    with pytest.raises(InvalidArguments, match=r"Expected `str`, got `int` - at \$\.to"):
        send_mail.enqueue(Mail(to=ONE))
    with pytest.raises(InvalidOptions, match="no queue named 'hi'"):
        send_mail.options(queue="hi").enqueue(Mail("a"))
    assert outbox.calls() == []


def test_arguments_come_back_from_bytes(outbox: TestQueue) -> None:
    sent = Mail("a")
    send_mail.enqueue(sent)
    outbox.run()
    assert done == [sent]
    assert done[0] is not sent


# --- running


def test_priority_first_then_order_with_what_tasks_enqueue(outbox: TestQueue) -> None:
    send_mail.options(queue="low").enqueue(Mail("last"))
    send_mail.enqueue(Mail("a"))
    chain.enqueue(2)
    send_mail.enqueue(Mail("b"))
    assert outbox.run() == 6
    assert done == [Mail("a"), 2, 1, 0, Mail("b"), Mail("last")]
    assert outbox.waiting() == []
    assert len(outbox.calls(chain)) == 3
    assert outbox.run() == 0


def test_the_context_is_that_of_a_message(outbox: TestQueue) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    ids = [look.enqueue().id, look.options(delay=3600, queue="low").enqueue().id]
    outbox.advance(timedelta(hours=1))
    assert outbox.run() == 2
    first, second = done
    assert isinstance(first, Context)
    assert isinstance(second, Context)
    assert [first.id, second.id] == ids
    assert (first.task, first.queue, first.attempt) == ("look", "high", 1)
    assert first.enqueued_at == first.due
    assert before <= first.due < before + timedelta(seconds=20)
    assert first.deadline is not None
    assert timedelta(seconds=20) < first.deadline - datetime.now(UTC) <= timedelta(seconds=30)
    assert second.queue == "low"
    assert timedelta(0) <= second.due - first.due - timedelta(hours=1) < timedelta(seconds=20)
    assert first.fence != second.fence
    with first.shield():
        pass


def test_coroutines_run_by_run_and_share_one_loop(outbox: TestQueue) -> None:
    app.enqueue_many([fetch.call(1), fetch.call(2)])
    assert outbox.run() == 2
    (first, loop), (second, other) = done
    assert (first, second) == (1, 2)
    assert loop is other


def test_inside_a_loop_arun_is_the_way(outbox: TestQueue) -> None:
    fetch.enqueue(1)
    chain.enqueue(0)

    async def test() -> None:
        with pytest.raises(RuntimeError, match=r"'fetch' needs .* use `await outbox.arun\(\)`"):
            outbox.run()
        assert len(outbox.waiting()) == 2
        assert await outbox.arun() == 2
        assert done == [(1, asyncio.get_running_loop()), 0]
        chain.enqueue(5)
        assert outbox.run() == 6  # sync tasks need no loop

    asyncio.run(test())


# --- time


def test_delays_wait_for_the_clock(outbox: TestQueue) -> None:
    chain.options(delay=60).enqueue(60)
    chain.options(delay=0.001).enqueue(1)
    chain.options(eta=datetime.now(UTC) + timedelta(days=1)).enqueue(0)
    chain.options(eta=datetime.now(UTC) - timedelta(days=1)).enqueue(0)
    assert outbox.run() == 1
    outbox.advance(0.001)
    assert outbox.run() == 2
    outbox.advance(timedelta(seconds=59))
    assert outbox.run() == 0
    outbox.advance(1)
    assert outbox.run() == 61
    assert len(outbox.waiting(chain)) == 1
    outbox.advance(86_400 - 60)
    assert outbox.run() == 1


def test_an_instant_counts_from_the_clock_that_was_advanced(outbox: TestQueue) -> None:
    outbox.advance(timedelta(hours=2))
    chain.options(eta=datetime.now(UTC) + timedelta(hours=1)).enqueue(0)
    assert outbox.run() == 1
    chain.options(delay=timedelta(hours=1)).enqueue(0)
    assert outbox.run() == 0


def test_what_expired_by_the_clock_does_not_run(outbox: TestQueue) -> None:
    receipt = chain.options(expires=60).enqueue(0)
    chain.options(expires=timedelta(seconds=61)).enqueue(0)
    chain.options(expires=datetime.now(UTC) + timedelta(days=1), delay=60).enqueue(0)
    gone = chain.options(expires=datetime.now(UTC) - timedelta(days=1)).call(0)
    app.enqueue_many([gone])
    shown = app.get(receipt.id).expires
    assert shown
    assert timedelta(seconds=50) < shown - datetime.now(UTC) <= timedelta(seconds=60)
    outbox.advance(60)
    assert outbox.run() == 2
    assert [call.options for call in outbox.expired] == [
        chain.options(expires=60).call(0).options,
        gone.options,
    ]
    assert not outbox.waiting()


def test_a_retry_that_comes_too_late_expires(outbox: TestQueue) -> None:
    raising.append(OSError("1"))
    flaky.options(expires=0.5).enqueue()
    assert outbox.run() == 1
    outbox.advance(3600)
    assert outbox.run() == 0
    assert len(outbox.expired) == 1
    assert not outbox.dead


@pytest.mark.parametrize("by", [-1, float("nan"), "1", None])
def test_time_goes_forward(by: Any, outbox: TestQueue) -> None:
    with pytest.raises(ValueError, match=r"^advance "):
        outbox.advance(by)


# --- failures


def test_an_error_is_raised_with_its_traceback_and_the_others_stay(outbox: TestQueue) -> None:
    raising.append(ValueError("no such thing"))
    flaky.enqueue("x")
    chain.enqueue(0)
    with pytest.raises(ValueError, match="no such thing") as caught:
        outbox.run()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.name, last.line) == ("flaky", "raise raising.pop(0)")
    assert outbox.waiting() == [chain.call(0)]
    assert outbox.dead == [DeadLetter(flaky.call("x"), caught.value, 1)]
    assert outbox.run() == 1


def test_a_retry_waits_its_whole_backoff_and_ends_as_a_dead_letter(outbox: TestQueue) -> None:
    raising.extend([OSError("1"), SoftTimeout("2"), OSError("3")])
    flaky.enqueue()
    assert outbox.run() == 1
    outbox.advance(9.999)
    assert outbox.run() == 0
    assert outbox.waiting() == [flaky.call()]
    outbox.advance(0.001)
    assert outbox.run() == 1
    outbox.advance(20)
    with pytest.raises(OSError, match="3"):
        outbox.run()
    assert [letter.attempts for letter in outbox.dead] == [3]
    assert outbox.waiting() == []


def test_retry_in_and_reject_do_as_they_say(outbox: TestQueue) -> None:
    raising.extend([RetryIn(0), RetryIn(timedelta(minutes=1)), RetryIn(1), Reject("no more")])
    flaky.enqueue()
    assert outbox.run() == 2
    outbox.advance(60)
    assert outbox.run() == 1
    outbox.advance(1)
    with pytest.raises(Reject, match="no more"):
        outbox.run()


def test_errors_may_be_kept_for_later(outbox: TestQueue) -> None:
    raising.extend([ValueError("a"), Reject("b"), SoftTimeout("c")])
    app.enqueue_many([flaky.call(), flaky.call(), flaky.call(), chain.call(0)])
    assert outbox.run(raise_errors=False) == 4
    assert [str(letter.error) for letter in outbox.dead] == ["a", "b"]
    assert outbox.waiting() == [flaky.call()]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.fail.Exception("no")])
def test_what_ends_a_test_is_never_kept(error: BaseException, outbox: TestQueue) -> None:
    raising.append(error)
    flaky.enqueue()
    with pytest.raises(type(error)):
        outbox.run(raise_errors=False)


def test_a_task_that_never_ends_to_enqueue_itself_is_found(outbox: TestQueue) -> None:
    chain.enqueue(1_000_000)
    with pytest.raises(RuntimeError, match="10,001 attempts and no end: does 'chain' enqueue"):
        outbox.run()


# --- middleware


@pytest.mark.parametrize("running", [False, True])
def test_middleware_of_both_kinds_is_around_tasks_of_both_kinds(running: bool) -> None:
    app, told = TypedQ("n"), list[str]()

    @app.middleware
    def plain(ctx: Context) -> Generator[None]:
        told.append(f"plain {ctx.task} {ctx.attempt}")
        try:
            yield
        except OSError:
            told.append("swallowed")

    @app.middleware
    async def awaited(ctx: Context) -> AsyncGenerator[None]:
        await asyncio.sleep(0)
        told.append("awaited")
        try:
            yield
        finally:
            await asyncio.sleep(0)
            told.append("after")

    @app.task
    def sync() -> None:
        told.append("sync")
        raise OSError

    @app.task
    async def coroutine() -> None:
        told.append("coroutine")

    with app.testing() as outbox:
        app.enqueue_many([sync.call(), coroutine.call()])
        assert (asyncio.run(outbox.arun()) if running else outbox.run()) == 2
    first = ["plain sync 1", "awaited", "sync", "after", "swallowed"]
    assert told == [*first, "plain coroutine 1", "awaited", "coroutine", "after"]


def test_async_middleware_around_a_sync_task_needs_a_loop_too() -> None:
    app = TypedQ("n")

    @app.middleware
    async def awaited(ctx: Context) -> AsyncGenerator[None]:
        yield

    sync = app.task(name="sync")(_nothing)

    async def test() -> None:
        with app.testing() as outbox:
            sync.enqueue()
            with pytest.raises(RuntimeError, match="'sync' needs an event loop"):
                outbox.run()

    asyncio.run(test())


# --- what tasks return, raise and leave behind


def test_an_awaitable_that_a_function_returns_is_awaited(outbox: TestQueue) -> None:
    app, told = TypedQ("n"), list[str]()

    async def work() -> None:
        await asyncio.sleep(0)
        told.append("worked")

    def plain() -> Any:
        return work()

    task = app.task(plain)
    with app.testing() as queue:
        task.enqueue()
        assert queue.run() == 1
        task.enqueue()
        assert asyncio.run(queue.arun()) == 1
    assert told == ["worked", "worked"]


def test_an_awaitable_that_is_returned_inside_a_loop_says_what_to_do() -> None:
    app = TypedQ("n")

    def plain() -> Any:
        return asyncio.sleep(0)

    async def test() -> None:
        with app.testing() as queue:
            app.task(plain).enqueue()
            with pytest.raises(RuntimeError, match=r"returns an awaitable needs an event loop, .*"):
                queue.run()

    asyncio.run(test())


def test_a_generator_that_is_returned_fails_the_task() -> None:
    app = TypedQ("n")

    def plain() -> Any:
        return (number for number in range(3))

    with app.testing() as queue:
        app.task(plain).enqueue()
        with pytest.raises(TypeError, match="returned a generator; nothing was run"):
            queue.run()


@dataclass(frozen=True)
class Frozen(Exception):
    """Refuses that anything is set on it, `__traceback__` too."""


def test_a_frozen_exception_is_raised_as_it_is() -> None:
    app = TypedQ("n")

    def declined() -> None:
        raise Frozen

    with app.testing() as queue:
        app.task(declined).enqueue()
        with pytest.raises(Frozen):
            queue.run()
        assert [type(letter.error) for letter in queue.dead] == [Frozen]


def test_an_attempt_has_context_variables_of_its_own(
    outbox: TestQueue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, seen, before = TypedQ("n"), list[str](), os.getcwd()  # noqa: PTH109
    monkeypatch.setattr(telemetry.logger, "propagate", True)

    def leaks() -> None:
        seen.append(tenant.get())
        tenant.set("left behind")
        os.chdir("/")

    task = app.task(leaks)
    tenant.set("of the test")
    with app.testing() as queue:
        app.enqueue_many([task.call(), task.call()])
        queue.run()
        assert os.getcwd() == before  # noqa: PTH109
        task.enqueue()
        asyncio.run(queue.arun())
    assert seen == ["of the test"] * 3
    assert os.getcwd() == before  # noqa: PTH109
    assert "a task changed its process; restored" in caplog.messages


def test_an_attempt_has_a_decimal_context_of_its_own(outbox: TestQueue) -> None:
    app, seen = TypedQ("n"), list[int]()

    def changes() -> None:
        seen.append(decimal.getcontext().prec)
        decimal.getcontext().prec = 5

    async def changes_too() -> None:
        changes()

    calls = [app.task(changes).call(), app.task(changes_too).call()] * 2
    with decimal.localcontext(prec=20), app.testing() as queue:
        app.enqueue_many(calls)
        queue.run()
        app.enqueue_many(calls)
        asyncio.run(queue.arun())
        assert decimal.getcontext().prec == 20
    assert seen == [20] * 8


# --- the app


def test_no_url_is_looked_at_and_all_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TYPEDQ_URL", "nonsense://")
    app = TypedQ("n")
    task = app.task(name="t")(_nothing)
    with app.testing() as outbox:
        task.enqueue()
        assert outbox.run() == 1
    monkeypatch.setenv("TYPEDQ_URL", "redis://127.0.0.1:1/7")
    assert app.settings.url is not None
    assert app.settings.url.get_secret_value() == "redis://127.0.0.1:1/7"
    assert app.broker.url == "redis://127.0.0.1:1/7"


def test_whatever_else_needs_a_server_says_so(outbox: TestQueue) -> None:
    with pytest.raises(RuntimeError, match=r"there is no server inside `with app.testing"):
        _ = app.broker.keys


def test_one_outbox_at_a_time(outbox: TestQueue) -> None:
    with (
        pytest.raises(RuntimeError, match="on already: use the outbox of the outer `with`"),
        app.testing(),
    ):
        pass
    chain.enqueue(0)
    assert outbox.run() == 1


def test_an_outbox_runs_nothing_after_its_end() -> None:
    app = TypedQ("n")
    task = app.task(name="t")(_nothing)
    with app.testing() as outbox:
        task.enqueue()
    assert outbox.calls() == [task.call()]
    with pytest.raises(RuntimeError, match=r"closed: run it inside `with app.testing"):
        outbox.run()


def _nothing() -> None: ...


def test_a_failed_assertion_on_calls_shows_no_arguments() -> None:
    app = TypedQ("t", queues=["default"])

    @app.task
    def log_in(user: str, password: Annotated[str, Secret]) -> None: ...

    with app.testing() as outbox:
        log_in.enqueue("ada", "c4n4ry")
        with pytest.raises(AssertionError) as caught:
            assert outbox.calls(log_in) == [log_in.call("ada", "other-c4n4ry")]
        assert "c4n4ry" not in str(caught.value)
        assert "c4n4ry" not in repr(outbox.waiting()) + repr(vars(outbox))
