"""What operators see and do: reads change nothing, a letter is dead or alive and never both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typedq.broker import operations, settlements, stats
from typedq.broker.stats import Letter, QueueStats
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


def revive(place: Place, *ids: str, queues: tuple[str, ...] = ("high", "mid", "low")) -> object:
    return place(stats.requeue(place.keys, queues, ids))


def test_a_revived_letter_is_new_again(place: Place) -> None:
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
    assert revive(place, out.id) == (1, [])
    assert place.redis.lrange(place.keys.ready("mid"), 0, -1) == [out.message]
    assert not place.dead()
    assert place.letter(out.id) is None
    assert place.waiting() == 1
    assert place.tokens() == "mid"


def test_revive_goes_to_the_end_of_the_line(place: Place) -> None:
    dead = bury(place, 2)
    waiting = place.fill(1)
    assert revive(place, *dead) == (2, [])
    assert place.ready() == [*waiting, *dead]


def test_what_cannot_live_stays_dead(place: Place) -> None:
    [low] = bury(place, 1, "low")
    place.redis.rpush(place.keys.ready("mid"), b"garbage")
    place.fetch("s", 1)
    [garbage] = set(place.dead()) - {low}
    before = place.snapshot()
    assert revive(place, low, garbage, "0" * 26, queues=("high", "mid")) == (0, [low, garbage])
    assert place.snapshot() == before


def test_reviving_twice_is_reviving_once(place: Place) -> None:
    [id] = bury(place, 1)
    assert revive(place, id, id) == (1, [])
    assert revive(place, id) == (0, [])
    assert place.everywhere() == {id: 1}


def test_forget_drops_what_is_named(place: Place) -> None:
    first, second, third = bury(place, 3)
    assert place(stats.delete(place.keys, [first, third, "0" * 26])) == 2
    assert place.dead() == [second]
    assert place.redis.hkeys(place.keys.dead_letters) == [second.encode()]


def test_graves_are_youngest_first_and_letters_come_by_id(place: Place) -> None:
    ids = bury(place, 3)
    for n, id in enumerate(ids):
        place.redis.zadd(place.keys.dead, {id: 1_000 + n})
    graves = place(stats.graves(place.keys))
    assert graves == [(ids[2], 1_002), (ids[1], 1_001), (ids[0], 1_000)]
    assert place(stats.graves(place.keys, 1, 1)) == graves[1:2]
    letter, none = place(stats.letters(place.keys, [ids[0], "0" * 26]))
    assert none is None
    assert isinstance(letter, Letter)
    assert letter.reason == REASON
    assert decode_message(letter.message).id == ids[0].encode()


def test_a_letter_whose_body_has_line_breaks(place: Place) -> None:
    place.open("s")
    out = place.outgoing(body=b'"a\nb\n"')
    place.put(out)
    place.fetch("s")
    place.work("s", 0, settlements.DeadLetter(out.id.encode(), REASON))
    assert place(stats.letters(place.keys, [out.id])) == [Letter(REASON, out.message)]


def test_sessions_next_to_expire_first(place: Place) -> None:
    place.open("late", lease_ms=60_000)
    place.open("soon")
    place.expire("soon")
    soon, late = place(stats.sessions(place.keys))
    assert soon == ("soon", 1)
    assert late.name == "late"


def test_survey_sees_everything_and_changes_nothing(place: Place) -> None:
    bury(place, 2)
    place(operations.renew(place.keys, ["s"], 30_000, "sup", b"about"))
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
    assert seen.workers == {"sup": b"about"}
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
