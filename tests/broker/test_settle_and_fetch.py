"""work: strict priority, fenced settlements, and no ready message that nobody is told of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.broker.garbage import GARBAGE, HEAD, ID
from typedq import reasons
from typedq.broker import DeadBounds, operations, search, settlements
from typedq.broker.settlements import Fetched
from typedq.message import decode_message, encode_message, new_ids

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


def lost_before(place: Place, id: str, times: bytes = b"02") -> None:
    """Mark a ready message as one that was lost."""
    at = place.ready().index(id)
    message = place.redis.lindex(place.keys.ready("mid"), at)
    place.redis.lset(place.keys.ready("mid"), at, message[:4] + times + message[6:])


def test_fetch_from_several_queues_is_by_strict_priority(place: Place) -> None:
    low, mid, high = (place.fill(2, queue) for queue in ("low", "mid", "high"))
    place.open("s")
    got = place.fetch("s", 5)
    assert got == [*high, *mid, low[0]]
    assert place.flying("s") == set(got)
    assert place.ready("low") == [low[1]]
    assert place.tokens() == "low"
    assert place.waiting() == 6, "in flight is still waiting for its end"


def test_fetch_from_empty_queues_returns_nothing(place: Place) -> None:
    place.open("s")
    assert place.work("s", 5) == Fetched(True, 0, [])
    assert "flight:s" not in place.names()


def test_fetch_of_a_session_that_is_not_open_returns_nothing(place: Place) -> None:
    place.fill(1)
    before = place.snapshot()
    assert place.work("stranger", 1) == Fetched(False, 0, [])
    assert place.snapshot() == before


def test_fetch_of_an_ended_session_returns_its_wake_token(place: Place) -> None:
    place.fill(1)
    place.redis.delete(place.keys.wake("mid"))  # as BLPOP took it
    assert place.work("stranger", 1, token="mid") == Fetched(False, 0, [])
    assert place.tokens() == "mid"


@pytest.mark.parametrize("kind", KINDS)
def test_each_settlement_removes_the_message_from_flight(place: Place, kind: str) -> None:
    place.open("s")
    [id] = place.fill(1)
    [message] = place.work("s", 1).messages
    assert place.work("s", 0, all_settlements(id, place.contract)[kind]) == Fetched(True, 1, [])
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
    place.work("s", 0, settlements.Retry(out.id.encode(), "mid", 999, 0))
    [message] = place.work("s", 1).messages
    envelope = decode_message(message)
    assert envelope.attempt == 999
    assert abs(envelope.due_ms - time.time_ns() // 1_000_000) < 5_000
    assert message[25:] == out.message[25:]
    assert message[:7] == out.message[:7]


@pytest.mark.parametrize("options", [b"-", b"{}", b'{"soft":1.5}', b'{"soft":1,"hard":2}'])
def test_a_retry_beyond_999_attempts_counts_on_in_the_options(place: Place, options: bytes) -> None:
    place.open("s")
    (id,) = new_ids(1)
    message = encode_message(
        id=id, contract=place.contract, queue="mid", options=options, body=b'{"x": "- {} 1"}'
    )
    place.redis.rpush(place.keys.ready("mid"), message)
    given = msgspec.json.decode(options) if options != b"-" else {}
    for attempts in (999, 1_000, 1_001, 123_456):
        [message] = place.work("s", 1).messages
        place.work("s", 0, settlements.Retry(id.encode(), "mid", attempts, 0))
        [message] = place.redis.lrange(place.keys.ready("mid"), 0, -1)
        envelope = decode_message(message)
        assert envelope.attempt == attempts
        assert envelope.body == b'{"x": "- {} 1"}'
        counted = {"attempts": attempts} if attempts > 999 else {}
        assert msgspec.json.decode(envelope.options) == counted | given if counted else True
    assert place.waiting() == 0  # it was pushed by hand, and none of this changes a count


def test_a_retry_waits_its_delay(place: Place) -> None:
    place.open("s")
    [id] = place.fill(1)
    place.fetch("s")
    before = time.time_ns() // 1_000_000
    place.work("s", 0, settlements.Retry(id.encode(), "mid", 1, 7_000))
    [(message, due)] = place.redis.zrange(place.keys.delayed("mid"), 0, -1, withscores=True)
    assert before + 7_000 <= due == decode_message(message).due_ms < before + 12_000
    assert decode_message(message).attempt == 1


def test_release_of_a_message_makes_it_next_and_counts_nothing(place: Place) -> None:
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
    assert place.work("s", 0, settlements.Ack(place.contract.encode(), [])) == Fetched(True, 0, [])
    nothing = settlements.AckAll({place.contract.encode(): 0}, b"")
    assert place.work("s", 0, nothing) == Fetched(True, 0, [])


def test_ack_all_of_what_is_held_acknowledges_it_by_number(place: Place) -> None:
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
def test_ack_all_of_another_number_settles_and_fetches_nothing(
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
    assert place.work("s", 9, acks, token="mid") == Fetched(True, None, [])
    assert place.snapshot() == before


def test_fetch_with_nothing_ready_takes_due_messages_earliest_first(place: Place) -> None:
    place.open("s")
    [now] = place.fill(1)
    due = place.fill(2, delay_ms=60_000)
    [later] = place.fill(1, delay_ms=90_000)
    for n, message in enumerate(place.redis.zrange(place.keys.delayed("mid"), 0, 1)):
        place.redis.zadd(place.keys.delayed("mid"), {message: n + 1})
    assert place.fetch("s", 9) == [now]
    assert place.fetch("s", 9) == due
    assert place.delayed() == [later]


def test_fetch_with_many_due_moves_500_at_most(place: Place) -> None:
    place.open("s")
    ids = place.fill(700, delay_ms=60_000)
    mid = place.keys.delayed("mid")
    place.redis.zadd(mid, dict.fromkeys(place.redis.zrange(mid, 0, -1), 1))
    assert place.fetch("s") == ids[:1]
    assert (len(place.ready()), len(place.delayed())) == (499, 200)


def test_fetch_of_more_than_a_call_can_return_loses_nothing(place: Place) -> None:
    place.open("s")
    ids = place.fill(9_000)
    got = place.fetch("s", 9_000)
    assert [*got, *place.ready()] == ids
    assert place.flying("s") == set(got)


# --- wake tokens -------------------------------------------------------------------------------


def test_fetch_that_leaves_messages_leaves_a_wake_token(place: Place) -> None:
    place.open("s")
    place.fill(2)
    place.redis.delete(place.keys.wake("mid"))
    place.fetch("s")
    assert place.tokens() == "mid"
    place.fetch("s")
    assert place.tokens() == "", "nothing is left: the token goes too"


def test_fetch_that_does_not_reach_the_queue_of_its_token_returns_the_token(place: Place) -> None:
    place.open("s")
    place.fill(1, "high")
    place.fill(1, "low")
    place.redis.delete(place.keys.wake("low"))
    place.work("s", 1, token="low")
    assert place.tokens() == "low"


def test_fetch_with_a_token_of_an_empty_queue_returns_no_token(place: Place) -> None:
    place.open("s")
    place.work("s", 0, token="low")
    assert place.tokens() == ""


def test_settling_with_a_token_returns_the_token(place: Place) -> None:
    place.open("s")
    place.fill(1, "low")
    place.redis.delete(place.keys.wake("low"))
    place.work("s", 0, token="low")
    assert place.tokens() == "low"


# --- lost before --------------------------------------------------------------------------------


def test_fetch_of_messages_that_were_lost_once_returns_them_together(place: Place) -> None:
    place.open("s")
    ids = place.fill(4)
    for id in ids[1:]:
        lost_before(place, id, b"01")
    assert place.fetch("s", 9) == ids


def test_fetch_of_messages_that_were_lost_twice_returns_each_as_the_last(place: Place) -> None:
    place.open("s")
    first, second, third, fourth = place.fill(4)
    lost_before(place, second)
    lost_before(place, third)
    assert place.fetch("s", 9) == [first, second]
    assert place.ready() == [third, fourth], "the rest is back, in order"
    assert place.tokens() == "mid"
    assert place.fetch("s", 9) == [third]
    assert place.fetch("s", 9) == [fourth]


def test_fetch_of_a_message_that_was_lost_twice_returns_none_of_lower_queues(place: Place) -> None:
    place.open("s")
    [id] = place.fill(1)
    [low] = place.fill(1, "low")
    lost_before(place, id)
    assert place.fetch("s", 9) == [id]
    assert place.ready("low") == [low]
    assert place.tokens() == "low"


# --- garbage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
def test_fetch_of_garbage_makes_a_dead_letter_with_its_bytes(place: Place, raw: bytes) -> None:
    place.open("s")
    place.redis.rpush(place.keys.ready("mid"), raw)
    [good] = place.fill(1)
    got = place.fetch("s", 9)
    assert got == [good]
    [dead] = place.dead()
    assert place.letter(dead) == reasons.NO_MESSAGE + b"\n" + raw
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


def test_fetch_of_garbage_alone_does_not_reach_a_lower_queue(place: Place) -> None:
    place.open("s")
    place.redis.rpush(place.keys.ready("high"), b"hello", b"hello")
    [high] = place.fill(1, "high")
    [low] = place.fill(1, "low")
    assert place.fetch("s", 2) == []
    assert place.tokens() == "high low"
    assert place.fetch("s", 2) == [high, low]


def test_fetch_of_delayed_garbage_makes_a_dead_letter_when_due(place: Place) -> None:
    place.open("s")
    place.redis.zadd(place.keys.delayed("mid"), {b"hello": 1})
    assert place.fetch("s", 1) == []
    assert len(place.dead()) == 1


# --- the bounds of the dead ---------------------------------------------------------------------


def bury(place: Place, ids: list[str], bounds: DeadBounds) -> None:
    place.fetch("s", len(ids))
    place(
        settlements.settle_and_fetch(
            place.keys,
            "s",
            place.queues,
            settle=[settlements.DeadLetter(id.encode(), REASON) for id in ids],
            bounds=bounds,
        )
    )


def test_dead_letters_above_the_count_are_evicted(place: Place) -> None:
    place.open("s")
    ids = place.fill(10)
    bury(place, ids, DeadBounds(count=4))
    assert len(place.dead()) == 4
    assert set(place.dead()) <= set(ids)
    assert place.redis.hlen(place.keys.dead_letters) == 4
    assert place.stats() == {"dead": 10, "dead_dropped": 6}
    assert place.waiting() == 0


def test_dead_letters_above_the_age_are_evicted(place: Place) -> None:
    place.open("s")
    old, new = place.fill(5), place.fill(1)
    bury(place, old, DeadBounds())
    place.redis.zadd(place.keys.dead, {old[0]: 1, old[1]: 2})
    bury(place, new, DeadBounds(age_ms=60_000))
    assert set(place.dead()) == {*old[2:], *new}
    assert place.redis.hlen(place.keys.dead_letters) == 4
    assert place.stats()["dead_dropped"] == 2


def test_dead_letters_after_the_bound_was_lowered_are_evicted_100_at_a_time(place: Place) -> None:
    place.open("s")
    bury(place, place.fill(400), DeadBounds())
    left = []
    for _ in range(5):
        bury(place, place.fill(1), DeadBounds(count=10))
        left.append(len(place.dead()))
    assert left == [301, 202, 103, 10, 10]


@pytest.mark.parametrize("how", ["again", "later", "back"])
def test_a_cancelled_message_is_dropped_instead_of_returned(place: Place, how: str) -> None:
    (id,) = place.fill(1)
    place.open("s")
    assert place.fetch("s", 1) == [id]
    there = search.Places(["s"], ["mid"], [])
    assert place(search.cancel(place.keys, id, there)).found
    place.work("s", 0, all_settlements(id, place.contract)[how])
    assert (place.flying("s"), place.ready(), place.waiting()) == (set(), [], 0)
    assert not place.redis.exists(place.keys.delayed("mid"))
