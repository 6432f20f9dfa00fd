"""Waiting for a wake token, a signal and another thread at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.broker.test_strange_replies import MEANINGLESS, answering
from typedq.broker import Broker, operations, settlements
from typedq.message import ID
from typedq.worker.journal import new_session
from typedq.worker.waiting import Waiter, Woken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.harness import Stage
    from typedq.broker.script import Operation


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


# --- a fetch pipelined after the wait ------------------------------------------------------------


@pytest.fixture
def fetch(stage: Stage) -> Operation[settlements.Fetched]:
    """What an idle child of these queues sends behind its wait."""
    session, queues = new_session(), ["high", "low"]
    stage.app.broker.call(operations.open(stage.keys, [session], queues, 30_000))
    made = settlements.settle_and_fetch(
        stage.keys, session, queues, max_messages=5, token=settlements.ANY_QUEUE
    )
    stage.app.broker.call(made)  # so that the server knows the script
    return made


def test_the_server_fetches_as_it_gives_the_token(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched]
) -> None:
    id = stage.send("nap", queue="low")
    woken = waiter.wait_and_run(5.0, fetch)
    assert woken.token == 1
    assert [message[ID].decode() for message in woken.result.messages] == [id]
    assert stage.redis.llen(stage.keys.wake("low")) == 0
    assert waiter.wait_and_run(0.01, fetch) == Woken(None, settlements.Fetched(True, 0, []))


def test_a_fetch_leaves_a_token_for_what_it_left(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched]
) -> None:
    """Also in a queue that it did not read, whose token it may have taken."""
    stage.send_many([stage.app.tasks["nap"].options(queue="high").call()] * 6)
    stage.send("nap", queue="low")
    stage.redis.delete(stage.keys.wake("high"))  # somebody else took it, and has not fetched yet
    woken = waiter.wait_and_run(5.0, fetch)
    assert (woken.token, len(woken.result.messages)) == (1, 5)
    assert [stage.redis.llen(stage.keys.wake(queue)) for queue in ("high", "low")] == [1, 1]


def test_a_fetch_leaves_no_token_of_a_paused_queue(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched]
) -> None:
    stage.send("nap", queue="low")
    stage.redis.sadd(stage.keys.paused, stage.keys.ready("low"))
    assert waiter.wait_and_run(5.0, fetch) == Woken(1, settlements.Fetched(True, 0, []))
    assert stage.redis.llen(stage.keys.wake("low")) == 0


def test_no_message_is_lost_between_a_call_away_and_a_token(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched]
) -> None:
    """Who is called away has fetched, or the message waits with its token."""
    fetched = 0
    for round in range(100):
        if round % 2:
            waiter.wake()
        send = threading.Thread(target=stage.send, args=("nap",), kwargs={"queue": "low"})
        send.start()
        got = waiter.wait_and_run(1.0, fetch).result.messages
        send.join()
        left = stage.redis.llen(stage.keys.ready("low"))
        assert stage.redis.llen(stage.keys.wake("low")) == bool(left)
        fetched += len(got)
    rest = waiter.wait_and_run(0.0, fetch).result.messages
    assert fetched + len(rest) == 100


def test_who_asks_a_server_that_forgot_the_script_has_the_token_only(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched]
) -> None:
    stage.send("nap", queue="low")
    stage.redis.script_flush()
    assert waiter.wait_and_run(5.0, fetch) == Woken(1, None)
    assert stage.app.broker.call(fetch).messages
    stage.send("nap", queue="low")
    assert waiter.wait_and_run(5.0, fetch).result.messages


def test_a_fetch_that_is_refused_leaves_the_token_to_whoever_acts_on_it(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched]
) -> None:
    stage.send("nap", queue="low")
    stage.redis.set(in_flight := fetch.keys[1], "no hash")
    assert waiter.wait_and_run(5.0, fetch) == Woken(1, None)
    stage.redis.delete(in_flight)
    assert stage.app.broker.call(fetch).messages


@pytest.mark.parametrize(
    "reply", [reply for name, reply in MEANINGLESS.items() if name != "nothing"]
)
def test_a_wait_whose_reply_has_no_meaning_is_a_lost_connection(reply: bytes) -> None:
    with answering(reply, to=b"BLPOP") as (url, clients):
        broker = Broker(url, "x")
        waiter = Waiter(broker, [broker.keys.wake("low")])
        assert waiter.wait(5.0) is None
        assert broker.lost_connections == 1
        assert waiter.wait(5.0) is None
        assert clients() == 2
        waiter.close()


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_a_wait_whose_fetch_may_have_run_counts_as_a_lost_connection(
    stage: Stage, waiter: Waiter, fetch: Operation[settlements.Fetched], how: str
) -> None:
    """By that count a session knows that it may hold what it never received."""
    before = stage.app.broker.lost_connections
    waiter._tokens.send(waiter._wait_for_token, fetch)
    if how == "killed":
        [blocked] = [each for each in stage.redis.client_list() if each["cmd"] == "blpop"]
        stage.redis.client_kill_filter(_id=str(blocked["id"]))
        assert waiter.wait_and_run(1.0, fetch) == Woken(None, None)
    else:
        waiter._close_requests()
    assert stage.app.broker.lost_connections > before
