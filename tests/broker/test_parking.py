"""Parking, fetching, releasing: what lies where before and after each move, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest
from msgspec.structs import replace

from typedq.broker import operations, settlements, stats
from typedq.broker.parking import (
    Group,
    Parked,
    Released,
    groups,
    park,
    parked,
    release,
    split_format,
    unpark,
)
from typedq.embedded import OwnServer
from typedq.reasons import CROWDED, EXPIRED

if TYPE_CHECKING:
    from tests.broker.conftest import Place

T = TypeVar("T")
BOUNDS = operations.DeadBounds()


def group(place: Place, queue: str = "mid") -> Group:
    return Group(queue, place.contract)


def aside(place: Place, session: str, *ids: str, to: Group | None = None) -> int:
    asked = [Parked(to or group(place), id.encode()) for id in ids]
    return place(park(place.keys, session, asked, BOUNDS))


def lying(place: Place, of: Group | None = None) -> list[str]:
    return [m[25:51].decode() for m in place(parked(place.keys, of or group(place)))]


def fetch(place: Place, session: str, want: int = 1, of: Group | None = None) -> list[str]:
    worked = place(unpark(place.keys, session, of or group(place), want))
    return [m[25:51].decode() for m in worked.messages]


def set_aside(place: Place, number: int, queue: str = "mid") -> list[str]:
    """Messages that the session "a" fetched and parked."""
    place.open("a")
    ids = place.fill(number, queue)
    assert place.fetch("a", number) == ids
    assert aside(place, "a", *ids, to=group(place, queue)) == number
    return ids


# --- park -----------------------------------------------------------------------------------


def test_what_is_parked_is_kept_byte_by_byte_and_still_waits(place: Place) -> None:
    place.open("a")
    ids = [*place.fill(2), *place.fill(1, eta_ms=7)]
    first = place.work("a", 9).messages
    again = settlements.Retry(ids[0].encode(), "mid", 4, 0)
    (retried,) = place.work("a", 1, again).messages  # an attempt count and a due time to keep
    assert place.waiting() == 3
    assert aside(place, "a", ids[1], ids[0], ids[2]) == 3
    lie = place(parked(place.keys, group(place)))
    assert lie == [first[1], retried, first[2]]
    assert lie[1][7:10] == b"004"
    assert place.flying("a") == set()
    assert place.waiting() == 3
    assert place.stats() == {"retried": 1}
    assert place.ready() == place.delayed() == place.dead() == []


def test_only_who_holds_a_message_parks_it_and_only_once(place: Place) -> None:
    place.open("a", "b")
    mine, theirs = place.fill(2)
    assert place.fetch("a") == [mine]
    assert place.fetch("b") == [theirs]
    assert aside(place, "a", theirs, "0" * 26) == 0
    assert place(groups(place.keys)) == {}
    assert aside(place, "a", mine, mine) == 1
    before = place.snapshot()
    assert aside(place, "a", mine) == 0
    assert place.snapshot() == before
    place.expire("b")
    place(operations.recover_session(place.keys, "b", place.queues, owner=False))
    assert aside(place, "b", theirs) == 0
    assert lying(place) == [mine]


def test_a_group_remembers_since_when_it_is_there(place: Place) -> None:
    one, two = set_aside(place, 2)
    since = place(groups(place.keys))
    assert list(since) == [group(place)]
    assert fetch(place, "a") == [one]
    assert aside(place, "a", one) == 1
    assert place(groups(place.keys)) == since
    assert fetch(place, "a", 9) == [two, one]
    assert place(groups(place.keys)) == {}


def test_groups_are_by_queue_and_contract_and_format(place: Place) -> None:
    place.open("a")
    made = {
        Group(queue, contract): place.put(place.outgoing(queue, contract=contract.split("#")[0]))
        for queue in ("mid", "low")
        for contract in ("t@0123456789abcdef", "t@0123456789abcdef#2", "u@0123456789abcdef")
    }
    ids = {id for each in made.values() for id in each}
    assert set(place.fetch("a", 9)) == ids
    asked = [Parked(to, each[0].encode()) for to, each in made.items()]
    assert place(park(place.keys, "a", asked, BOUNDS)) == 6
    assert place(groups(place.keys)).keys() == made.keys()
    assert {to: lying(place, to) for to in made} == made


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("t@f", 1),
        ("t@f#2", 2),
        *((f"t@f#{odd}", 1_000) for odd in ("", "x", "²", "-1", "9" * 5_000)),
    ],
)
def test_the_name_of_a_group_tells_the_format_or_one_that_nobody_reads(
    name: str, format: int
) -> None:
    assert split_format(name) == ("t@f", format)


def test_a_newer_format_is_fetched_and_parked_like_any_other(place: Place) -> None:
    out = place.outgoing(body=b"\x00\xff anything")
    newer = out.message.replace(b"1", b"7", 1)
    place.put(replace(out, message=newer))
    place.open("a")
    assert place.work("a", 9).messages == [newer]
    to = Group("mid", f"{place.contract}#7")
    assert aside(place, "a", out.id, to=to) == 1
    assert place(parked(place.keys, to)) == [newer]
    assert place(release(place.keys, to, "dead")) == Released(1, 0)
    letter = place.letter(out.id)
    assert letter is not None
    assert letter.split(b"\n", 1) == [EXPIRED, newer]
    assert place.waiting() == 0


@pytest.mark.parametrize(
    "garbage", [b"", b"2", b"2 0 00 000", b"0" * 60, b"2" + b" " * 60, b"\xff" * 70]
)
def test_garbage_that_looks_newer_is_a_dead_letter_not_parked(place: Place, garbage: bytes) -> None:
    place.open("a")
    place.redis.rpush(place.keys.ready("mid"), garbage)
    assert place.work("a", 9).messages == []
    assert len(place.dead()) == 1
    assert place.everywhere().total() == 0


def test_park_beyond_the_number_of_groups_makes_a_dead_letter(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typedq.broker.parking.MAX_GROUPS", 2)
    place.open("a")
    ids = [place.put(place.outgoing(contract=f"t@{n:016x}"))[0] for n in (1, 2, 3, 1)]
    assert place.fetch("a", 9) == ids
    asked = [
        Parked(Group("mid", f"t@{n:016x}"), id.encode())
        for n, id in zip((1, 2, 3, 1), ids, strict=True)
    ]
    assert place(park(place.keys, "a", asked, BOUNDS)) == 4
    assert place.dead() == [ids[2]]
    letter = place.letter(ids[2])
    assert letter is not None
    assert letter.startswith(CROWDED + b"\n1 0 00 000 ")
    assert lying(place, Group("mid", f"t@{1:016x}")) == [ids[0], ids[3]]
    assert [place.waiting(f"t@{n:016x}") for n in (1, 2, 3)] == [2, 1, 0]
    # Room again, once a group is empty.
    assert place(release(place.keys, Group("mid", f"t@{2:016x}"), "purged")) == Released(1, 0)
    (late,) = place.put(place.outgoing(contract=f"t@{3:016x}"))
    place.fetch("a")
    aside(place, "a", late, to=Group("mid", f"t@{3:016x}"))
    assert lying(place, Group("mid", f"t@{3:016x}")) == [late]


# --- unpark ---------------------------------------------------------------------------------


def test_what_is_fetched_is_in_flight_the_oldest_first(place: Place) -> None:
    ids = set_aside(place, 5)
    place.open("b")
    assert fetch(place, "b", 2) == ids[:2]
    assert place.flying("b") == set(ids[:2])
    assert lying(place) == ids[2:]
    assert fetch(place, "b", 99) == ids[2:]
    assert "parked:mid:" + place.contract not in place.names()
    assert place.waiting() == 5
    place.work("b", 0, settlements.Ack(place.contract.encode(), [id.encode() for id in ids]))
    assert place.waiting() == 0
    assert place.stats() == {"done": 5}


def test_an_ended_session_fetches_nothing(place: Place) -> None:
    set_aside(place, 2)
    before = place.snapshot()
    worked = place(unpark(place.keys, "ended", group(place), 2))
    assert not worked.alive
    assert worked.messages == []
    assert place.snapshot() == before


def test_an_empty_group_gives_nothing(place: Place) -> None:
    place.open("a")
    before = place.snapshot()
    assert fetch(place, "a", 3) == []
    assert place.snapshot() == before


def test_nothing_is_fetched_for_a_queue_that_is_paused(place: Place) -> None:
    ids, others = set_aside(place, 2), set_aside(place, 1, "low")
    place(stats.pause(place.keys, "mid"))
    assert fetch(place, "a", 9) == []
    assert lying(place) == ids
    assert fetch(place, "a", 9, group(place, "low")) == others
    place(stats.resume(place.keys, "mid"))
    assert fetch(place, "a", 9) == ids


def test_what_was_lost_before_ends_the_batch(place: Place) -> None:
    place.open("a", "b")
    ids = place.fill(3)
    place.fetch("a", 2)
    fates: dict[bytes, operations.Fate] = {ids[1].encode(): "crash"}
    place(
        operations.recover_session(
            place.keys, "a", place.queues, owner=True, fates=fates, others="back"
        )
    )
    order = [*place.fetch("b", 9), *place.fetch("b", 9)]
    assert order == ids
    aside(place, "b", *order)
    assert fetch(place, "b", 9) == ids[:2]
    assert fetch(place, "b", 9) == ids[2:]


def test_a_parked_message_of_a_dead_worker_goes_back_to_its_queue(place: Place) -> None:
    ids = set_aside(place, 3)
    place.open("b")
    assert fetch(place, "b", 2) == ids[:2]
    place(operations.recover_session(place.keys, "b", place.queues, owner=True, others="back"))
    assert place.ready() == ids[:2]
    assert lying(place) == ids[2:]
    assert place.waiting() == 3


# --- release --------------------------------------------------------------------------------


def test_released_to_the_queue_it_came_from_and_somebody_is_woken(place: Place) -> None:
    ids = set_aside(place, 3, "low")
    place.redis.delete(*map(place.keys.wake, place.queues))
    before = place(parked(place.keys, group(place, "low")))
    assert place(release(place.keys, group(place, "low"), "ready")) == Released(3, 0)
    assert place.redis.lrange(place.keys.ready("low"), 0, -1) == before
    assert place.ready("low") == ids
    assert place.tokens() == "low"
    assert place.waiting() == 3
    assert place(groups(place.keys)) == {}


def test_purged_and_dead_wait_no_longer(place: Place) -> None:
    ids = set_aside(place, 2)
    assert place(release(place.keys, group(place), "purged")) == Released(2, 0)
    assert place.waiting() == 0
    assert place.dead() == []
    ids = set_aside(place, 2)
    assert place(release(place.keys, group(place), "dead")) == Released(2, 0)
    assert place.waiting() == 0
    assert place.dead() == ids
    assert place.everywhere().total() == 0
    assert place(stats.requeue(place.keys, place.queues, ids)).requeued == 2
    assert place.waiting() == 2


def test_at_most_five_hundred_are_released_at_once(place: Place) -> None:
    ids = set_aside(place, 501)
    assert place(release(place.keys, group(place), "ready")) == Released(500, 1)
    assert lying(place) == ids[500:]
    assert place(groups(place.keys)).keys() == {group(place)}
    assert place(release(place.keys, group(place), "ready")) == Released(1, 0)
    assert place(release(place.keys, group(place), "ready")) == Released(0, 0)
    assert place.ready() == ids


def test_only_what_was_due_before_is_released(place: Place) -> None:
    place.open("a")
    old, due, fresh = _ages(place)
    place.fetch("a", 9)
    aside(place, "a", old, due, fresh)
    assert place(release(place.keys, group(place), "dead", before_ms=5_000)) == Released(1, 2)
    assert place.dead() == [old]
    # The second was enqueued as early, but was due later: that is what counts.
    assert place(release(place.keys, group(place), "dead", before_ms=5_000)) == Released(0, 2)
    assert place(release(place.keys, group(place), "dead", before_ms=5_002)) == Released(1, 1)
    assert lying(place) == [fresh]


def _ages(place: Place) -> list[str]:
    """Ids of messages enqueued at 1,000 ms; the second due at 5,001; the third of today."""
    early = list[str]()
    for number, eta_ms in enumerate((None, 5_001)):
        out = place.outgoing()
        id = f"{1000:011x}{number:015x}"
        message = out.message.replace(out.id.encode(), id.encode())
        if eta_ms:
            message = message[:11] + b"%013d" % eta_ms + message[24:]
        early += place.put(replace(out, id=id, message=message))
    return [*early, *place.fill(1)]


def test_dead_letters_of_expiry_are_bounded(place: Place) -> None:
    ids = set_aside(place, 5)
    bounds = operations.DeadBounds(count=2)
    assert place(release(place.keys, group(place), "dead", bounds=bounds)).released == 5
    assert place.dead() == ids[3:]
    assert place.stats() == {"dead": 5, "dead_dropped": 3}


# --- declared keys ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[OwnServer]:
    with OwnServer(tcp=True) as own:
        yield own


def test_every_branch_touches_declared_keys_only(guarded: OwnServer, namespace: str) -> None:
    """As a user who may touch the keys that a move declares and no other."""
    from tests.broker.conftest import Place as Here

    place = Here(guarded, namespace)
    one, none = group(place), Group("low", place.contract)
    bounds = operations.DeadBounds(count=0)
    try:
        ids = set_aside(place, 4)
        assert place.declared_only(unpark(place.keys, "a", one, 1)).messages
        asked = [Parked(one, ids[0].encode()), Parked(none, b"0" * 26)]
        assert place.declared_only(park(place.keys, "a", asked, bounds)) == 1
        assert place.declared_only(groups(place.keys)).keys() == {one}
        assert len(place.declared_only(parked(place.keys, one))) == 4
        place(stats.pause(place.keys, "mid"))
        assert not place.declared_only(unpark(place.keys, "a", one, 1)).messages
        assert not place.declared_only(unpark(place.keys, "gone", one, 1)).alive
        assert place.declared_only(release(place.keys, one, "dead", bounds=bounds)) == Released(
            4, 0
        )
        place(stats.resume(place.keys, "mid"))
        fates: tuple[Literal["ready", "purged"], ...] = ("purged", "ready")
        for fate in fates:
            set_aside(place, 2)
            assert place.declared_only(release(place.keys, one, fate)) == Released(2, 0)
    finally:
        place.close()
