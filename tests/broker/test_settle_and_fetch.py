"""work: strict priority, fenced settlements, and no ready message that nobody is told of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.broker.garbage import GARBAGE, HEAD, ID
from typedq.broker import DeadBounds, operations, settlements
from typedq.message import decode_message

if TYPE_CHECKING:
    from tests.broker.conftest import Place

REASON = b'{"kind":"test"}'


def all_settlements(id: str, contract: str) -> dict[str, settlements.Settlement]:
    raw = id.encode()
    return {
        "ack": settlements.Ack(contract.encode(), [raw]),
        "again": settlements.Retry(raw, "mid", 1, 0),
        "later": settlements.Retry(raw, "mid", 1, 5_000),
        "bury": settlements.DeadLetter(raw, REASON),
        "back": settlements.Release(raw, "mid"),
    }


KINDS = list(all_settlements("", ""))


def lost_before(place: Place, id: str) -> None:
    """Mark a ready message as one that was lost once."""
    at = place.ready().index(id)
    message = place.redis.lindex(place.keys.ready("mid"), at)
    place.redis.lset(place.keys.ready("mid"), at, message[:4] + b"01" + message[6:])


def test_strict_priority_and_in_flight(place: Place) -> None:
    low, mid, high = (place.fill(2, queue) for queue in ("low", "mid", "high"))
    place.open("s")
    got = place.fetch("s", 5)
    assert got == [*high, *mid, low[0]]
    assert place.flying("s") == set(got)
    assert place.ready("low") == [low[1]]
    assert place.tokens() == "low"
    assert place.waiting() == 6, "in flight is still waiting for its end"


def test_nothing_there(place: Place) -> None:
    place.open("s")
    assert place.work("s", 5) == (True, 0, [])
    assert "flight:s" not in place.names()


def test_a_session_that_is_not_open_gets_nothing(place: Place) -> None:
    place.fill(1)
    before = place.snapshot()
    assert place.work("stranger", 1) == (False, 0, [])
    assert place.snapshot() == before


def test_an_ended_session_passes_its_token_on(place: Place) -> None:
    place.fill(1)
    place.redis.delete(place.keys.wake("mid"))  # as BLPOP took it
    assert place.work("stranger", 1, token="mid") == (False, 0, [])
    assert place.tokens() == "mid"


@pytest.mark.parametrize("kind", KINDS)
def test_each_settlement_ends_the_flight(place: Place, kind: str) -> None:
    place.open("s")
    [id] = place.fill(1)
    [message] = place.work("s", 1).messages
    assert place.work("s", 0, all_settlements(id, place.contract)[kind]) == (True, 1, [])
    assert place.flying("s") == set()
    where = (place.ready(), place.delayed(), place.dead())
    expected = {
        "ack": ([], [], []),
        "again": ([id], [], []),
        "later": ([], [id], []),
        "bury": ([], [], [id]),
        "back": ([id], [], []),
    }
    assert where == expected[kind]
    assert place.waiting() == (kind in {"again", "later", "back"})
    assert place.tokens() == ("mid" if kind in {"again", "back"} else "")
    assert place.supervisors_token() == (kind == "later")
    counter = {"ack": "done", "again": "retried", "later": "retried", "bury": "dead"}.get(kind)
    assert place.stats() == ({counter: 1} if counter else {})
    if kind == "bury":
        assert place.letter(id) == REASON + b"\n" + message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("owner", ["gone", "other", "nobody"])
def test_a_stale_session_settles_nothing(place: Place, kind: str, owner: str) -> None:
    place.open("s", "t")
    [id] = place.fill(1)
    assert place.fetch("s") == [id]
    stale = "s"
    if owner == "gone":
        place.expire("s")
        place(operations.recover_session(place.keys, "s", place.queues, owner=False))
    elif owner == "other":
        stale = "t"
    else:
        place.work("s", 0, settlements.Ack(place.contract.encode(), [id.encode()]))
    before = place.snapshot()
    worked = place.work(stale, 0, all_settlements(id, place.contract)[kind])
    assert (worked.alive, worked.settled) == (owner != "gone", 0)
    assert place.snapshot() == before


def test_settling_twice_in_one_call_counts_once(place: Place) -> None:
    place.open("s")
    [id] = place.fill(1)
    place.fetch("s")
    both = [all_settlements(id, place.contract)[kind] for kind in ("again", "ack", "bury", "back")]
    assert place.work("s", 0, *both).settled == 1
    assert place.everywhere() == {id: 1}
    assert place.waiting() == 1


def test_a_retry_counts_its_attempt_and_keeps_the_rest(place: Place) -> None:
    place.open("s")
    out = place.outgoing(body=b'{"x": "\xc3\xa4  1"}')
    place.put(out)
    place.fetch("s")
    place.work("s", 0, settlements.Retry(out.id.encode(), "mid", 1_000, 0))
    [message] = place.work("s", 1).messages
    envelope = decode_message(message)
    assert envelope.attempt == 999, "three digits, so that every field keeps its place"
    assert abs(envelope.due_ms - time.time_ns() // 1_000_000) < 5_000
    assert message[25:] == out.message[25:]
    assert message[:7] == out.message[:7]


def test_a_retry_waits_its_delay(place: Place) -> None:
    place.open("s")
    [id] = place.fill(1)
    place.fetch("s")
    before = time.time_ns() // 1_000_000
    place.work("s", 0, settlements.Retry(id.encode(), "mid", 1, 7_000))
    [(message, due)] = place.redis.zrange(place.keys.delayed("mid"), 0, -1, withscores=True)
    assert before + 7_000 <= due == decode_message(message).due_ms < before + 12_000
    assert decode_message(message).attempt == 1


def test_handed_back_is_next_and_not_an_attempt(place: Place) -> None:
    place.open("s")
    first, second = place.fill(2)
    place.fetch("s")
    place.work("s", 0, settlements.Release(first.encode(), "mid"))
    assert place.ready() == [first, second]
    [message] = place.work("s", 1).messages
    assert decode_message(message).attempt == 0
    assert not decode_message(message).alone


def test_settle_and_fetch_in_one_round_trip(place: Place) -> None:
    place.open("s")
    first, second = place.fill(2)
    place.fetch("s")
    worked = place.work("s", 1, settlements.Ack(place.contract.encode(), [first.encode()]))
    assert worked.settled == 1
    assert place.flying("s") == {second}


def test_an_ack_of_nothing_is_nothing(place: Place) -> None:
    place.open("s")
    assert place.work("s", 0, settlements.Ack(place.contract.encode(), [])) == (True, 0, [])
    assert place.work("s", 0, settlements.AckAll({place.contract.encode(): 0}, b"")) == (
        True,
        0,
        [],
    )


def test_all_that_is_held_can_be_acknowledged_by_its_number(place: Place) -> None:
    place.open("s")
    place.fill(3)
    id = place.fetch("s", 2)[1].encode()
    worked = place.work(
        "s", 5, settlements.AckAll({place.contract.encode(): 1, b"": 1}, id)
    )  # a broadcast beside
    assert (worked.alive, worked.settled, len(worked.messages)) == (True, 2, 1)
    assert len(place.flying("s")) == 1
    assert place.waiting() == 2, "a broadcast never counted as waiting"
    assert place.stats() == {"done": 2}


@pytest.mark.parametrize(("number", "known"), [(1, True), (3, True), (2, False)])
def test_what_differs_acknowledges_and_fetches_nothing(
    place: Place, number: int, known: bool
) -> None:
    """What is in flight is then not what the session believes."""
    place.open("s")
    place.fill(4)
    id = place.fetch("s", 2)[0]
    before = place.snapshot()
    acks = settlements.AckAll(
        {place.contract.encode(): number}, id.encode() if known else b"f" * 26
    )
    assert place.work("s", 9, acks, token="mid") == (True, None, [])
    assert place.snapshot() == before


def test_who_finds_nothing_takes_what_is_due_first_in_time_first(place: Place) -> None:
    place.open("s")
    [now] = place.fill(1)
    due = place.fill(2, delay_ms=60_000)
    [later] = place.fill(1, delay_ms=90_000)
    for n, message in enumerate(place.redis.zrange(place.keys.delayed("mid"), 0, 1)):
        place.redis.zadd(place.keys.delayed("mid"), {message: n + 1})
    assert place.fetch("s", 9) == [now]
    assert place.fetch("s", 9) == due
    assert place.delayed() == [later]


def test_at_most_500_messages_move_in_a_call(place: Place) -> None:
    place.open("s")
    ids = place.fill(700, delay_ms=60_000)
    mid = place.keys.delayed("mid")
    place.redis.zadd(mid, dict.fromkeys(place.redis.zrange(mid, 0, -1), 1))
    assert place.fetch("s") == ids[:1]
    assert (len(place.ready()), len(place.delayed())) == (499, 200)


def test_more_than_one_call_can_hold_is_not_lost(place: Place) -> None:
    place.open("s")
    ids = place.fill(9_000)
    got = place.fetch("s", 9_000)
    assert [*got, *place.ready()] == ids
    assert place.flying("s") == set(got)


# --- the baton ----------------------------------------------------------------------------------


def test_the_baton_is_passed_while_something_is_left(place: Place) -> None:
    place.open("s")
    place.fill(2)
    place.redis.delete(place.keys.wake("mid"))
    place.fetch("s")
    assert place.tokens() == "mid"
    place.fetch("s")
    assert place.tokens() == "", "nothing is left: the token goes too"


def test_the_token_of_a_queue_not_looked_at_is_given_back(place: Place) -> None:
    place.open("s")
    place.fill(1, "high")
    place.fill(1, "low")
    place.redis.delete(place.keys.wake("low"))
    place.work("s", 1, token="low")
    assert place.tokens() == "low"


def test_a_token_taken_for_nothing_is_not_given_back(place: Place) -> None:
    place.open("s")
    place.work("s", 0, token="low")
    assert place.tokens() == ""


def test_the_token_is_given_back_when_only_settling(place: Place) -> None:
    place.open("s")
    place.fill(1, "low")
    place.redis.delete(place.keys.wake("low"))
    place.work("s", 0, token="low")
    assert place.tokens() == "low"


# --- lost before --------------------------------------------------------------------------------


def test_what_was_lost_before_ends_the_batch(place: Place) -> None:
    place.open("s")
    first, second, third, fourth = place.fill(4)
    lost_before(place, second)
    lost_before(place, third)
    assert place.fetch("s", 9) == [first, second]
    assert place.ready() == [third, fourth], "the rest is back, in order"
    assert place.tokens() == "mid"
    assert place.fetch("s", 9) == [third]
    assert place.fetch("s", 9) == [fourth]


def test_what_was_lost_before_ends_the_batch_for_lower_queues_too(place: Place) -> None:
    place.open("s")
    [id] = place.fill(1)
    [low] = place.fill(1, "low")
    lost_before(place, id)
    assert place.fetch("s", 9) == [id]
    assert place.ready("low") == [low]
    assert place.tokens() == "low"


# --- garbage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_buried_with_its_bytes(place: Place, raw: bytes) -> None:
    place.open("s")
    place.redis.rpush(place.keys.ready("mid"), raw)
    [good] = place.fill(1)
    got = place.fetch("s", 9)
    assert got == [good]
    [grave] = place.dead()
    assert place.letter(grave) == operations.NO_MESSAGE + b"\n" + raw
    assert place.waiting() == 1
    assert place.stats() == {"dead": 1}


def test_a_newer_format_is_fetched_for_the_worker_to_park(place: Place) -> None:
    place.open("s")
    raw = b"2" + HEAD[1:] + ID + b" t@00 mid - what comes then"
    place.redis.rpush(place.keys.ready("mid"), raw)
    assert place.work("s", 1).messages == [raw]


def test_the_same_garbage_many_times_is_kept_each_time(place: Place) -> None:
    place.open("s")
    place.redis.rpush(place.keys.ready("mid"), *[b"hello"] * 5)
    assert place.fetch("s", 9) == []
    assert len(place.dead()) == 5


def test_garbage_does_not_open_the_way_to_a_lower_queue(place: Place) -> None:
    place.open("s")
    place.redis.rpush(place.keys.ready("high"), b"hello", b"hello")
    [high] = place.fill(1, "high")
    [low] = place.fill(1, "low")
    assert place.fetch("s", 2) == []
    assert place.tokens() == "high low"
    assert place.fetch("s", 2) == [high, low]


def test_garbage_that_was_delayed_is_buried_when_due(place: Place) -> None:
    place.open("s")
    place.redis.zadd(place.keys.delayed("mid"), {b"hello": 1})
    assert place.fetch("s", 1) == []
    assert len(place.dead()) == 1


# --- the bounds of the dead ---------------------------------------------------------------------


def bury(place: Place, ids: list[str], bounds: DeadBounds) -> None:
    place.fetch("s", len(ids))
    place(
        operations.settle_and_fetch(
            place.keys,
            "s",
            place.queues,
            settle=[settlements.DeadLetter(id.encode(), REASON) for id in ids],
            bounds=bounds,
        )
    )


def test_the_dead_are_bounded_by_count(place: Place) -> None:
    place.open("s")
    ids = place.fill(10)
    bury(place, ids, DeadBounds(count=4))
    assert len(place.dead()) == 4
    assert set(place.dead()) <= set(ids)
    assert place.redis.hlen(place.keys.dead_letters) == 4
    assert place.stats() == {"dead": 10, "dead_dropped": 6}
    assert place.waiting() == 0


def test_the_dead_are_bounded_by_age(place: Place) -> None:
    place.open("s")
    old, new = place.fill(5), place.fill(1)
    bury(place, old, DeadBounds())
    place.redis.zadd(place.keys.dead, {old[0]: 1, old[1]: 2})
    bury(place, new, DeadBounds(age_ms=60_000))
    assert set(place.dead()) == {*old[2:], *new}
    assert place.redis.hlen(place.keys.dead_letters) == 4
    assert place.stats()["dead_dropped"] == 2


def test_lowered_bounds_are_reached_in_steps(place: Place) -> None:
    place.open("s")
    bury(place, place.fill(400), DeadBounds())
    left = []
    for _ in range(5):
        bury(place, place.fill(1), DeadBounds(count=10))
        left.append(len(place.dead()))
    assert left == [301, 202, 103, 10, 10]
