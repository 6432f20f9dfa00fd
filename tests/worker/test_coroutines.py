"""The event loop of a child: what waits for it is seen."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from typedq import TypedQ
from typedq.worker import coroutines
from typedq.worker.coroutines import Coroutines
from typedq.worker.journal import Journal

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
