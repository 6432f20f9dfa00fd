"""The event loop of a child: what waits for it is seen."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from typedq import TypedQ
from typedq.broker import settlements
from typedq.errors import Cancelled
from typedq.invoke import Limits
from typedq.message import encode_message, kind_of
from typedq.worker import coroutines
from typedq.worker.coroutines import Coroutines
from typedq.worker.delivery import Delivery, MessageKind
from typedq.worker.journal import Journal
from typedq.worker.timeouts import AsyncTimer

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

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


def test_an_attempt_that_fails_between_its_claim_and_its_call_is_settled(
    loop: Coroutines, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    """What another coroutine left in the thread of the loop may raise anywhere."""
    app = TypedQ("t", url="redis://127.0.0.1:1")

    @app.task
    async def nap() -> None: ...

    message = encode_message(id="0" * 26, contract="nap@0", queue="q", options=b"-", body=b"{}")
    kind = MessageKind(kind_of(message), ["q"])
    kind.resolve(nap, lambda _: ((), {}), runs_code=False, limits=Limits(None, None))
    delivery = Delivery(message, 0, kind, kind.body_at)
    loop._journal.set_lease_deadline(time.monotonic() + 60)
    monkeypatch.delattr(coroutines, "AsyncTimer")
    loop.start([delivery])
    assert wait_until(loop.take_ended) == [delivery]
    assert delivery.started
    assert isinstance(delivery.settlement, settlements.DeadLetter)
