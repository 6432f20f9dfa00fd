"""The event loop of a child: what waits for it is seen."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from typedq import Context, TypedQ, invoke
from typedq.broker import settlements
from typedq.errors import Cancelled
from typedq.invoke import Limits
from typedq.message import encode_message, kind_of
from typedq.process import owner
from typedq.worker import coroutines, settle
from typedq.worker.coroutines import Coroutines
from typedq.worker.delivery import Delivery, MessageKind
from typedq.worker.journal import Journal
from typedq.worker.timeouts import AsyncTimer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.conftest import WaitUntil
    from typedq.task import Task

BLOCKED = "the event loop is blocked; a sync task waits for it"


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Coroutines:
    monkeypatch.setattr(coroutines, "BLOCKED_S", 0.02)
    return Coroutines(TypedQ("t", url="redis://127.0.0.1:1"), Journal(1), lambda: None)


async def answer() -> int:
    return 3


def test_who_waits_for_a_blocked_loop_logs_it_once_and_gets_the_result(
    loop: Coroutines, caplog: pytest.LogCaptureFixture, wait_until: WaitUntil
) -> None:
    gate = threading.Event()

    async def block() -> None:
        gate.wait()

    with caplog.at_level(logging.WARNING, "typedq"), ThreadPoolExecutor(2) as pool:
        blocking = pool.submit(loop.wait, block())
        wait_until(lambda: BLOCKED in caplog.messages)
        waiting = pool.submit(loop.wait, answer())
        wait_until(lambda: caplog.messages == [BLOCKED] * 2)
        gate.set()
        assert blocking.result(20) is None
        assert waiting.result(20) == 3
    assert caplog.messages == [BLOCKED] * 2


def test_a_coroutine_that_only_takes_long_is_not_logged(
    loop: Coroutines, caplog: pytest.LogCaptureFixture
) -> None:
    turns = list[int]()

    async def slow() -> None:
        while len(turns) < 20:
            turns.append(1)
            await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING, "typedq"):
        loop.wait(slow())

    async def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        loop.wait(fail())
    assert BLOCKED not in caplog.messages


def test_a_cancellation_before_the_loop_was_started_is_met(loop: Coroutines) -> None:
    """It comes between the end of a sync task and the loop that awaits what this returned."""
    timer = AsyncTimer(None, None)

    async def wait_for_ever() -> None:
        with timer:
            await asyncio.Event().wait()

    loop.cancel(timer)
    with pytest.raises(Cancelled):
        loop.wait(wait_for_ever())


def handed_over(loop: Coroutines, task: Task[..., Any], slot: int = 0) -> Delivery:
    """A message of this task whose attempt has been handed over to the loop."""
    contract = f"{task.name}@0"
    message = encode_message(id="0" * 26, contract=contract, queue="q", options=b"-", body=b"{}")
    kind = MessageKind(kind_of(message), ["q"])
    kind.resolve(task, lambda _: ((), {}), runs_code=False, limits=Limits(None, None))
    loop._journal.set_lease_deadline(time.monotonic() + 60)
    delivery = Delivery(message, slot, kind, kind.body_at)
    loop.start([delivery])
    return delivery


def test_an_attempt_that_fails_between_its_claim_and_its_call_is_settled(
    loop: Coroutines, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    """What another coroutine left in the thread of the loop may raise anywhere."""
    app = TypedQ("t", url="redis://127.0.0.1:1")

    @app.task
    async def nap() -> None: ...

    monkeypatch.delattr(coroutines, "AsyncTimer")
    delivery = handed_over(loop, nap)
    assert wait_until(loop.take_ended) == [delivery]
    assert delivery.started
    assert isinstance(delivery.settlement, settlements.DeadLetter)


@pytest.mark.parametrize("during", ["middleware", "shield"])
def test_a_cancellation_that_comes_too_late_for_the_task_is_not_met_by_its_middleware(
    monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil, during: str
) -> None:
    """It ran to its end: what is to be done after it, as a commit, must not be interrupted."""
    app, reached, go_on = TypedQ("t", url="redis://127.0.0.1:1"), list[str](), threading.Event()

    async def reach(place: str) -> None:
        reached.append(place)
        if place == during:
            await asyncio.to_thread(go_on.wait)

    @app.middleware
    async def commits(ctx: Context) -> AsyncGenerator[None]:
        await reach("middleware")
        yield
        await asyncio.sleep(0)
        reached.append("commit")

    @app.task
    async def nap(ctx: Context) -> None:
        with ctx.shield():
            await reach("shield")

    loop = Coroutines(app, Journal(1), lambda: None)
    monkeypatch.setattr(loop._journal, "take_cancellation", lambda *_: True)
    if during == "middleware":
        monkeypatch.setattr(Context, "shield", nullcontext)
    delivery = handed_over(loop, nap)
    wait_until(lambda: reached[-1:] == [during])
    loop.cancel(None)
    loop.wait(answer())  # by then it is cancelled
    go_on.set()
    assert wait_until(loop.take_ended) == [delivery]
    assert (reached[-1], delivery.settlement) == ("commit", None)


def test_a_cancellation_during_one_shield_is_not_met_in_the_next(
    wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, reached, go_on = TypedQ("t", url="redis://127.0.0.1:1"), list[str](), threading.Event()

    @app.task
    async def nap(ctx: Context) -> None:
        with ctx.shield():
            reached.append("shield")
            await asyncio.to_thread(go_on.wait)
        with ctx.shield():
            await asyncio.sleep(0)
            reached.append("next")
        await asyncio.sleep(20)

    loop = Coroutines(app, Journal(1), lambda: None)
    monkeypatch.setattr(loop._journal, "take_cancellation", lambda *_: True)
    delivery = handed_over(loop, nap)
    wait_until(lambda: bool(reached))
    loop.cancel(None)
    loop.wait(answer())
    go_on.set()
    assert wait_until(loop.take_ended) == [delivery]
    assert reached == ["shield", "next"]
    assert isinstance(delivery.settlement, settlements.Cancel)


def test_a_copy_that_c_code_made_begins_no_attempt(
    loop: Coroutines, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coroutine that forked waits in it: there the loop goes on, with what it had to begin."""
    app, ran = TypedQ("t", url="redis://127.0.0.1:1"), list[int]()

    @app.task
    async def nap() -> None:
        ran.append(1)

    def end(error: object = None) -> None:
        raise SystemExit

    for module in (coroutines, invoke, settle):
        monkeypatch.setattr(module, "end_if_copy", end, raising=False)
    monkeypatch.setattr(owner, "mark", bytearray(1))
    delivery = handed_over(loop, nap)
    assert wait_until(loop.take_ended) == [delivery]
    assert (delivery.started, ran) == (False, [])


def test_the_end_of_a_coroutine_leaves_the_profiler_of_another(wait_until: WaitUntil) -> None:
    app, go_on = TypedQ("t", url="redis://127.0.0.1:1"), threading.Event()
    functions = list[Any]()

    def profile(*_: object) -> None: ...

    @app.task
    async def profiled() -> None:
        sys.setprofile(profile)
        await asyncio.to_thread(go_on.wait)
        functions.append(sys.getprofile())

    @app.task
    async def beside() -> None: ...

    loop = Coroutines(app, Journal(2), lambda: None)
    first = handed_over(loop, profiled)
    second = handed_over(loop, beside, 1)
    assert wait_until(loop.take_ended) == [second]
    go_on.set()
    assert wait_until(loop.take_ended) == [first]

    async def read() -> None:
        functions.append(sys.getprofile())

    loop.wait(read())
    assert functions == [profile, None]


@pytest.mark.parametrize("debugger", ["bdb", "pydevd", None])
def test_a_trace_function_stays_where_a_debugger_was_loaded(
    loop: Coroutines, monkeypatch: pytest.MonkeyPatch, debugger: str | None
) -> None:
    """It may have been attached to the thread of the loop while coroutines ran."""
    for name in ("bdb", "pydevd"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if debugger:
        monkeypatch.setitem(sys.modules, debugger, sys)

    def attached(*_: object) -> None: ...

    async def attach() -> object:
        sys.settrace(attached)
        loop._restore_trace()
        found = sys.gettrace()
        sys.settrace(None)
        return found

    assert loop.wait(attach()) is (attached if debugger else None)
