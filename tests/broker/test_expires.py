"""When a message expires is written once, by the server, and no operation changes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.broker.test_parking import aside, group
from typedq.broker import operations, settlements, stats
from typedq.broker.parking import Released, release
from typedq.broker.server_checks import clock
from typedq.message import decode_message, with_expiry

if TYPE_CHECKING:
    from tests.broker.conftest import Place

DAY_MS = 86_400_000


def expiries(place: Place) -> dict[str, int | None]:
    """When each ready message expires, by id."""
    lying = map(decode_message, place.redis.lrange(place.keys.ready("mid"), 0, -1))
    return {each.id.decode(): each.expires_ms for each in lying}


def test_the_servers_clock_counts_and_a_resend_changes_nothing(place: Place) -> None:
    a, b = place.outgoing(expires_ms=DAY_MS), place.outgoing(expires_ms=DAY_MS)
    plain, other = place.outgoing(body=b"1700000000000 {}"), place.outgoing(expires_ms=1)
    send = operations.enqueue(
        place.keys, "producer", 1, [a, b, plain, other], {place.contract: b"{}"}
    )
    before = math.floor(place(clock()) * 1000)
    assert [place(send).status for _ in range(2)] == ["accepted", "seen"]
    after, found = math.ceil(place(clock()) * 1000), expiries(place)
    assert before <= (found[a.id] or 0) - DAY_MS <= after
    assert found[b.id] == found[a.id]
    assert found[plain.id] is None
    assert before <= (found[other.id] or 0) - 1 <= after


def test_of_a_unique_key_the_first_expires_as_it_says(place: Place) -> None:
    once = [place.outgoing(unique=("t:k", 60_000), expires_ms=DAY_MS) for _ in range(3)]
    later = place.outgoing(delay_ms=60_000, expires_ms=DAY_MS)
    place.put(*once, later)
    assert list(expiries(place)) == [once[0].id]
    assert place.delayed() == [later.id]
    (raw,) = place.redis.zrange(place.keys.delayed("mid"), 0, -1)
    envelope = decode_message(raw)
    assert (envelope.expires_ms or 0) - envelope.due_ms in range(DAY_MS - 61_000, DAY_MS - 59_000)


def test_every_way_keeps_it(place: Place) -> None:
    (id,) = place.put(place.outgoing(expires_ms=DAY_MS))
    until = expiries(place)[id]
    place.open("s")
    place.fetch("s")
    place.work("s", 1, settlements.Retry(id.encode(), "mid", 1234, 0))
    assert aside(place, "s", id) == 1
    assert place(release(place.keys, group(place), "ready")) == Released(1, 0)
    assert expiries(place) == {id: until}
    place.fetch("s")
    place(operations.recover_session(place.keys, "s", ["mid"], owner=True, others="lost"))
    place.open("s2")
    place.fetch("s2")
    place.work("s2", 0, settlements.DeadLetter(id.encode(), b"{}"))
    place(stats.requeue(place.keys, ["mid"], [id]))
    assert expiries(place) == {id: until}
    (raw,) = place.redis.lrange(place.keys.ready("mid"), 0, -1)
    assert raw.startswith(b"2 0 00 000 0000000000000 ")


def test_what_expired_is_counted_and_waits_no_longer(place: Place) -> None:
    ids = place.put(*[place.outgoing(expires_ms=1) for _ in range(3)])
    place.open("s")
    place.fetch("s", 3)
    place.work("s", 0, *[settlements.Expire(id.encode()) for id in ids])
    assert place.work("s", 0, settlements.Expire(ids[0].encode())).settled == 0
    assert (place.stats()["expired"], place.waiting(), place.dead()) == (3, 0, [])


def test_of_those_parked_for_too_long_the_expired_become_no_dead_letters(place: Place) -> None:
    keep, gone = place.outgoing(expires_ms=DAY_MS), place.outgoing(expires_ms=-1)
    odd = place.outgoing(body=b"1700000000000 {}")  # a format that does not expire
    place.put(keep, gone, odd)
    place.open("s")
    place.fetch("s", 3)
    aside(place, "s", keep.id, gone.id, odd.id)
    assert place(release(place.keys, group(place), "dead")) == Released(3, 0)
    assert sorted(place.dead()) == sorted([keep.id, odd.id])
    assert (place.stats()["expired"], place.waiting()) == (1, 0)


def test_a_message_that_expires_is_fetched_beside_others(place: Place) -> None:
    sent = place.put(*[place.outgoing(expires_ms=n and DAY_MS) for n in (0, 1, 0, 1)])
    place.open("s")
    assert place.fetch("s", 9) == sent
    raw = place.outgoing().message
    assert len(with_expiry(raw, 1)) == len(raw) + 14
