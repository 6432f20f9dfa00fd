"""What operators see and do: reads change nothing, a entry is dead or alive and never both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from typedq.broker import operations, settlements, stats
from typedq.broker.search import Found, Places, find
from typedq.broker.stats import DeadMessage, QueueStats
from typedq.message import decode_message

if TYPE_CHECKING:
    from tests.broker.conftest import Place

REASON = b'{"kind":"test"}'


def bury(place: Place, count: int, queue: str = "mid") -> list[str]:
    place.open("s")
    ids = place.fill(count, queue)
    place.fetch("s", count)
    place.work("s", 0, *(settlements.DeadLetter(id.encode(), REASON) for id in ids))
    return ids


def requeue(place: Place, *ids: str, queues: tuple[str, ...] = ("high", "mid", "low")) -> object:
    return place(stats.requeue(place.keys, queues, ids))


def test_a_requeued_dead_letter_is_new_again(place: Place) -> None:
    place.open("s")
    out = place.outgoing(body=b'{"a": "\xc3\xa4\\n  b"}')
    place.put(out)
    place.fetch("s")
    place.work("s", 0, settlements.Retry(out.id.encode(), "mid", 3, 0))
    place.fetch("s")
    place(
        operations.recover_session(
            place.keys, "s", place.queues, owner=True, fates={out.id.encode(): "crash"}, crashes=1
        )
    )
    assert place.dead() == [out.id]
    assert requeue(place, out.id) == (1, [])
    assert place.redis.lrange(place.keys.ready("mid"), 0, -1) == [out.message]
    assert not place.dead()
    assert place.letter(out.id) is None
    assert place.waiting() == 1
    assert place.tokens() == "mid"


def test_requeue_puts_a_message_at_the_end_of_its_queue(place: Place) -> None:
    dead = bury(place, 2)
    waiting = place.fill(1)
    assert requeue(place, *dead) == (2, [])
    assert place.ready() == [*waiting, *dead]


def test_requeue_of_what_is_no_message_leaves_it_dead(place: Place) -> None:
    [low] = bury(place, 1, "low")
    place.redis.rpush(place.keys.ready("mid"), b"garbage")
    place.fetch("s", 1)
    [garbage] = set(place.dead()) - {low}
    before = place.snapshot()
    assert requeue(place, low, garbage, "0" * 26, queues=("high", "mid")) == (0, [low, garbage])
    assert place.snapshot() == before


def test_requeue_sent_twice_changes_nothing_more(place: Place) -> None:
    [id] = bury(place, 1)
    assert requeue(place, id, id) == (1, [])
    assert requeue(place, id) == (0, [])
    assert place.everywhere() == {id: 1}


def test_delete_drops_the_dead_letters_that_are_named(place: Place) -> None:
    first, second, third = bury(place, 3)
    assert place(stats.delete(place.keys, [first, third, "0" * 26])) == 2
    assert place.dead() == [second]
    assert place.redis.hkeys(place.keys.dead_letters) == [second.encode()]


def test_dead_letters_are_listed_newest_first_and_read_by_id(place: Place) -> None:
    ids = bury(place, 3)
    for n, id in enumerate(ids):
        place.redis.zadd(place.keys.dead, {id: 1_000 + n})
    dead = place(stats.list_dead(place.keys))
    assert dead == [(ids[2], 1_002), (ids[1], 1_001), (ids[0], 1_000)]
    assert place(stats.list_dead(place.keys, 1, 1)) == dead[1:2]
    entry, none = place(stats.read_dead(place.keys, [ids[0], "0" * 26]))
    assert none is None
    assert isinstance(entry, DeadMessage)
    assert entry.reason == REASON
    assert decode_message(entry.message).id == ids[0].encode()


def test_read_dead_of_a_body_with_line_breaks_returns_the_whole_message(place: Place) -> None:
    place.open("s")
    out = place.outgoing(body=b'"a\nb\n"')
    place.put(out)
    place.fetch("s")
    place.work("s", 0, settlements.DeadLetter(out.id.encode(), REASON))
    assert place(stats.read_dead(place.keys, [out.id])) == [DeadMessage(REASON, out.message)]


@pytest.mark.parametrize("spoiled", [b"", b"no line break", b"\xff\x00", b"\n"])
def test_a_spoiled_dead_letter_is_listed_and_not_requeued(place: Place, spoiled: bytes) -> None:
    good, bad = bury(place, 2)
    place.redis.hset(place.keys.dead_letters, bad, spoiled)
    dead = place(stats.read_dead(place.keys, [good, bad]))
    assert dead[0] is not None
    assert dead[0].reason == REASON
    assert dead[1] == DeadMessage(b"", spoiled.strip(b"\n"))
    found = place(find(place.keys, bad, Places([], [], []))).found
    assert found == Found("dead", spoiled.strip(b"\n"))
    assert place(stats.requeue(place.keys, place.queues, [good, bad])) == (1, [bad])
    assert place(stats.delete(place.keys, [bad])) == 1


def test_died_at_returns_the_time_and_none_for_an_unknown_id(place: Place) -> None:
    ids = bury(place, 2)
    entries = {entry.id: entry.died_ms for entry in place(stats.list_dead(place.keys))}
    assert [place(stats.died_at(place.keys, id)) for id in ids] == [entries[id] for id in ids]
    assert place(stats.died_at(place.keys, "0" * 26)) is None


def test_sessions_next_to_expire_first(place: Place) -> None:
    place.open("late", lease_ms=60_000)
    place.open("soon")
    place.expire("soon")
    soon, late = place(stats.sessions(place.keys))
    assert soon == ("soon", 1)
    assert late.name == "late"


def test_survey_sees_everything_and_changes_nothing(place: Place) -> None:
    bury(place, 2)
    place(operations.renew(place.keys, ["s"], 30_000, "sup", b'{"pid":1}'))
    [ready, _] = place.fill(2, "high")
    place.fill(3, "low", delay_ms=60_000)
    place.fill(1, "mid")
    place.fetch("s", 1)
    before = place.snapshot()
    seen = place(stats.survey(place.keys, place.queues, ["s", "ended"]))
    assert place.snapshot() == before
    assert (seen.in_flight, seen.dead) == (1, 2)
    assert seen.stats == {"dead": 2}
    assert seen.counts == {place.contract: 6}
    assert seen.workers["sup"].endswith(b',"pid":1}')
    assert seen.queues["high"].ready == 1
    assert seen.queues["high"].oldest[25:51] != ready.encode(), "the first one is in flight"
    assert seen.queues["mid"][2:] == (0, None)
    assert (seen.queues["low"].ready, seen.queues["low"].delayed) == (0, 3)
    assert seen.queues["low"].oldest == b""
    due = seen.queues["low"].next_due_ms
    assert due is not None
    assert 50_000 < due - seen.now_ms <= 60_000


def test_survey_of_an_empty_place(place: Place) -> None:
    seen = place(stats.survey(place.keys, ["mid"], []))
    assert seen[1:] == (0, 0, {}, {}, {}, {"mid": QueueStats(0, b"", 0, None)})
