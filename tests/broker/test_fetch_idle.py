"""look: as work fetches, where it is plain what to do; else nothing changes, and work is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.garbage import GARBAGE, HEAD, ID
from typedq.broker import operations
from typedq.message import decode_message

if TYPE_CHECKING:
    from tests.broker.conftest import Place

MIB = 1 << 20


def look(place: Place, want: int, session: str = "s") -> list[str] | None:
    """The ids that were fetched; None if nothing was done."""
    worked = place(operations.fetch_idle(place.keys, session, place.queues, want))
    assert worked.alive
    if worked.settled is None:
        assert worked.messages == []
        return None
    return [decode_message(message).id.decode() for message in worked.messages]


def test_what_is_fetched_is_in_flight_in_order(place: Place) -> None:
    place.open("s")
    low, high = place.fill(1, "low"), place.fill(3, "high")
    assert look(place, 2) == high[:2]
    assert look(place, 9) == high[2:]
    assert look(place, 9) == low
    assert place.flying("s") == {*high, *low}
    assert place.waiting() == 4, "in flight is still waiting for its end"
    assert look(place, 9) is None


def test_who_asked_before_a_token_came_owes_every_queue_a_look(place: Place) -> None:
    place.open("s")
    high, low = place.fill(2, "high"), place.fill(2, "low")
    for queue in ("high", "low"):  # taken as this is asked
        place.redis.delete(place.keys.wake(queue))
    assert look(place, 1) == high[:1]
    assert place.tokens() == "high low"
    assert look(place, 1) == high[1:]
    assert place.tokens() == "low"
    assert look(place, 5) == low
    assert place.tokens() == ""


def test_a_paused_queue_is_neither_fetched_from_nor_owed_a_token(place: Place) -> None:
    place.open("s")
    place.fill(1, "high")
    place.redis.delete(place.keys.wake("high"))
    place.redis.sadd(place.keys.paused, place.keys.ready("high"))
    assert look(place, 1) is None
    low = place.fill(1, "low")
    assert look(place, 1) == low
    assert not place.token("high")
    for queue in ("mid", "low"):
        place.redis.sadd(place.keys.paused, place.keys.ready(queue))
    place.fill(1, "low")
    assert look(place, 1) is None


def test_what_is_tried_again_or_was_due_later_is_as_good_as_new(place: Place) -> None:
    place.open("s")
    raw = b"1 0 00 001 1234567890123 " + ID + b" t@00 mid - {}"
    place.redis.rpush(place.keys.ready("mid"), raw)
    assert look(place, 9) == [ID.decode()]


def test_a_thousand_are_the_most(place: Place) -> None:
    place.open("s")
    ids = place.fill(5_000)
    assert look(place, 5_000) == ids[:1_000]
    assert place.ready() == ids[1_000:]


ODD = {
    "was lost before": b"1 0 01 000 0000000000000 " + ID + b" t@00 mid - {}",
    "crashed before": b"1 1 00 000 0000000000000 " + ID + b" t@00 mid - {}",
    "is of a later format": b"2" + HEAD[1:] + ID + b" t@00 mid - {}",
    "is large": HEAD + ID + b" t@00 mid - " + b"x" * MIB,
}


@pytest.mark.parametrize("raw", [*ODD.values(), *GARBAGE.values()], ids=[*ODD, *GARBAGE])
def test_what_is_not_plain_is_left_where_it_was(place: Place, raw: bytes) -> None:
    place.open("s")
    place.fill(2)
    place.redis.rpush(place.keys.ready("mid"), raw)
    place.fill(1)
    before = place.snapshot()
    assert look(place, 9) is None
    assert place.snapshot() == before


def test_all_together_no_more_than_a_mebibyte(place: Place) -> None:
    place.open("s")
    raw = HEAD + ID + b" t@00 mid - " + b"x" * (MIB // 3)
    place.redis.rpush(place.keys.ready("mid"), raw, raw, raw)
    assert look(place, 3) is None
    assert look(place, 2) == [ID.decode()] * 2


@pytest.mark.parametrize("ended", [True, False])
def test_a_session_that_is_not_open_changes_nothing(place: Place, ended: bool) -> None:
    if ended:
        place.open("s")
        place(operations.recover_session(place.keys, "s", place.queues, owner=True))
    place.fill(1)
    place.redis.delete(place.keys.wake("mid"))
    before = place.snapshot()
    assert look(place, 1) is None
    assert place.snapshot() == before


def test_where_they_cannot_be_held_they_stay(place: Place) -> None:
    place.open("s")
    place.fill(2)
    place.redis.set(place.keys.flight("s"), "spoiled")
    before = place.snapshot()
    assert look(place, 9) is None
    assert place.snapshot() == before
