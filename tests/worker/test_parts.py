"""Waiting for a wake token, a signal and another thread at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from typedq.broker import operations
from typedq.worker.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.harness import Stage


@pytest.fixture
def waiter(stage: Stage) -> Iterator[Waiter]:
    keys = stage.keys
    made = Waiter(stage.app.broker, [keys.wake("high"), keys.wake("low")])
    yield made
    made.close()


def test_a_waiter_answers_whose_token_it_took(stage: Stage, waiter: Waiter) -> None:
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(5.0) == 1
    stage.redis.rpush(stage.keys.wake("high"), "1")
    assert waiter.wait(5.0) == 0
    assert waiter.wait(0.01) is None


def test_a_waiter_that_was_called_away_takes_no_token(stage: Stage, waiter: Waiter) -> None:
    """Nobody may eat a token and then be busy."""
    for _ in range(50):
        waiter.wake()
        assert waiter.wait(5.0) is None
        assert stage.redis.info("clients")["blocked_clients"] == 0
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(1.0, tokens=False) is None or stage.redis.llen(stage.keys.wake("low")) == 1
    assert stage.redis.llen(stage.keys.wake("low")) == 1


def test_no_token_is_lost_between_a_call_away_and_a_token(stage: Stage, waiter: Waiter) -> None:
    """The token may be taken in the moment in which the request is taken back."""
    key, taken = stage.keys.wake("low"), 0
    for round in range(200):
        stage.redis.delete(key)
        push = threading.Thread(target=stage.redis.rpush, args=(key, "1"))
        if round % 2:
            waiter.wake()
        push.start()
        answer = waiter.wait(1.0)
        push.join()
        assert (answer == 1) != bool(stage.redis.llen(key))
        taken += answer == 1
    assert taken


def test_a_waiter_outlives_its_connection(stage: Stage, waiter: Waiter) -> None:
    others = {client["id"] for client in stage.redis.client_list()}  # of a test before
    stage.redis.rpush(stage.keys.wake("low"), "1")
    waiter.wait(5.0)
    clients = [each for each in stage.redis.client_list() if each["id"] not in others]
    [blocked] = [each for each in clients if each["cmd"] == "blpop"]
    stage.redis.client_kill_filter(_id=str(blocked["id"]))
    assert waiter.wait(1.0) is None
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(5.0) == 1


def test_who_is_called_away_does_no_harm_to_a_server_that_is_paused(
    stage: Stage, waiter: Waiter
) -> None:
    """CLIENT UNBLOCK ends Redis 7.0 here: what CLIENT PAUSE holds up has no way to time out."""
    for _ in range(3):
        stage.redis.client_pause(100, all=False)
        waiter.wake()
        assert waiter.wait(5.0) is None
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(5.0) == 1
    ttl = stage.redis.ttl(waiter._own_key)
    assert -2 <= ttl <= operations.WAKE_WORKER_TTL_S, "what is left of it goes"
    assert ttl != -1
