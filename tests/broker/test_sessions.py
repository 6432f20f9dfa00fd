"""open, renew, replace, recover and tick: who holds what, for how long, and who gets it then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest

from typedq import reasons
from typedq.broker import operations, settlements
from typedq.broker.operations import Replaced
from typedq.broker.settlements import Fetched
from typedq.message import Envelope, decode_message

if TYPE_CHECKING:
    from tests.broker.conftest import Place

HOUR = 3_600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def leases(place: Place) -> dict[str, int]:
    """What is left of each, in ms, to the nearest 10 s: looking takes its time."""
    scores = place.redis.zrange(place.keys.sessions, 0, -1, withscores=True)
    return {name.decode(): round(score - now_ms(), -4) for name, score in scores}


def lease(place: Place, session: str) -> int | None:
    return leases(place).get(session)


ABOUT = b'{"pid":1}'


def renew(place: Place, *sessions: str, lease_ms: int = 30_000) -> list[str]:
    return place(operations.renew(place.keys, sessions, lease_ms, "sup", ABOUT))[1]


def replace(place: Place, old: str, fresh: str) -> Replaced:
    return place(operations.replace_session(place.keys, old, fresh, place.queues, 30_000))


def recover(
    place: Place,
    session: str,
    fates: dict[str, operations.Fate] | None = None,
    *,
    owner: bool = True,
    others: Literal["back", "lost"] = "lost",
    queues: tuple[str, ...] = ("high", "mid", "low"),
) -> operations.Recovered:
    named: dict[bytes, operations.Fate] = {id.encode(): fate for id, fate in (fates or {}).items()}
    return place(
        operations.recover_session(
            place.keys, session, queues, owner=owner, fates=named, others=others
        )
    )


def marks(place: Place, queue: str = "mid") -> list[tuple[bytes, bytes, bytes]]:
    """Crashes, losses and attempts of what is ready."""
    found = map(decode_message, place.redis.lrange(place.keys.ready(queue), 0, -1))
    return [(e.crashes, e.losses, e.attempts) for e in found]


def in_dead_letter(place: Place, id: str) -> Envelope:
    return decode_message((place.letter(id) or b"").split(b"\n", 1)[1])


def sessions_left(place: Place) -> set[str]:
    return {n for n in place.names() if n.split(":")[0] in {"sessions", "session_queues", "flight"}}


# --- open and renew -----------------------------------------------------------------------------


def test_open_of_a_new_session_gives_a_lease_and_records_its_queues(place: Place) -> None:
    assert place(operations.open(place.keys, ["a", "b"], ["high", "low"], 30_000)) == 2
    assert lease(place, "a") == lease(place, "b") == 30_000
    assert place.redis.hgetall(place.keys.session_queues) == {b"a": b"high low", b"b": b"high low"}


def test_open_leaves_a_known_session_as_it_is(place: Place) -> None:
    place.open("a")
    before = place.snapshot()
    assert place(operations.open(place.keys, ["a"], ["low"], 1)) == 0
    assert place.snapshot() == before


def test_renew_of_sessions_extends_leases_and_names_the_ended(place: Place) -> None:
    place.open("a", lease_ms=5_000)
    assert renew(place, "a", "ended") == ["ended"]
    assert lease(place, "a") == 30_000
    assert lease(place, "ended") is None
    (about,) = place.redis.hvals(place.keys.workers)
    said = msgspec.json.decode(about)
    assert said.pop("pid") == 1
    seconds, _ = place.redis.time()
    assert 0 <= seconds * 1000 + 1000 - said.pop("seen_ms") < 10_000, "by the server's clock"
    assert said == {}


def test_renew_after_the_server_was_emptied_says_that_the_supervisor_is_new(place: Place) -> None:
    def is_new() -> bool:
        return place(operations.renew(place.keys, [], 30_000, "sup", ABOUT))[0]

    assert [is_new(), is_new()] == [True, False]
    place.redis.flushall()
    assert [is_new(), is_new()] == [True, False]


def test_renew_of_an_expired_session_that_was_not_ended_extends_it(place: Place) -> None:
    place.open("a")
    place.expire("a")
    assert renew(place, "a") == []
    assert recover(place, "a", owner=False).alive
    assert lease(place, "a") == 30_000


# --- replace ------------------------------------------------------------------------------------


def test_replace_of_a_session_moves_everything_and_ends_the_old_id(place: Place) -> None:
    place.open("a")
    ids = place.fill(3)
    messages = place.work("a", 3).messages
    kept, moved = replace(place, "a", "b")
    assert kept
    assert sorted(moved) == sorted(messages)
    assert (lease(place, "a"), lease(place, "b")) == (None, 30_000)
    assert (place.flying("a"), place.flying("b")) == (set(), set(ids))
    assert place.redis.hgetall(place.keys.session_queues) == {b"b": b"high mid low"}
    late = place.work("a", 3, settlements.Ack(place.contract.encode(), [ids[0].encode()]))
    assert late == Fetched(False, 0, [])
    assert place.flying("b") == set(ids)
    assert renew(place, "a") == ["a"]


def test_replace_sent_twice_changes_nothing_more(place: Place) -> None:
    place.open("a")
    place.fill(2)
    place.fetch("a", 2)
    first = replace(place, "a", "b")
    before = place.snapshot()
    assert replace(place, "a", "b") == first
    assert place.snapshot() == before


def test_replace_of_a_session_without_messages_opens_the_fresh_one(place: Place) -> None:
    place.open("a")
    assert replace(place, "a", "b") == (True, [])
    assert lease(place, "b") == 30_000


def test_replace_after_others_ended_the_session_opens_the_fresh_one_empty(place: Place) -> None:
    place.open("a")
    [id] = place.fill(1)
    place.fetch("a")
    recover(place, "a")
    assert replace(place, "a", "b") == (False, [])
    assert place.everywhere() == {id: 1}
    assert place.fetch("b") == [id], "the fresh session is open"


def test_replace_after_a_lease_extension_forgets_the_extension(place: Place) -> None:
    place.open("a")
    place.tick()  # the first tick ever comes after a gap
    replace(place, "a", "b")
    assert "pardoned" not in place.names()


# --- recover ------------------------------------------------------------------------------------


def test_recover_while_the_lease_runs_is_for_its_owner_only(place: Place) -> None:
    place.open("a")
    place.fill(1)
    place.fetch("a")
    before = place.snapshot()
    assert recover(place, "a", owner=False) == (True, 0, 0, 0)
    assert place.snapshot() == before
    assert recover(place, "a", owner=True) == (False, 0, 0, 1)
    assert sessions_left(place) == set()


def test_recover_with_each_fate_settles_or_returns_the_message(place: Place) -> None:
    place.open("a")
    done, crashed, lost, back, unnamed = place.fill(5)
    place.fetch("a", 5)
    assert place.token() == 0
    fates: dict[str, operations.Fate] = {done: "done", crashed: "crash", lost: "lost", back: "back"}
    assert recover(place, "a", fates) == (False, 1, 0, 4)
    # The oldest is next again, but who must run alone now waits behind the others.
    assert place.ready() == [lost, back, unnamed, crashed]
    assert marks(place) == [
        (b"0", b"01", b"000"),
        (b"0", b"00", b"000"),
        (b"0", b"01", b"000"),
        (b"1", b"00", b"000"),
    ]
    assert place.stats() == {"done": 1, "crashed": 1, "lost": 2}
    assert place.waiting() == 4
    assert place.tokens() == "mid"
    assert sessions_left(place) == set()


def test_recover_of_messages_that_were_lost_twice_puts_them_behind_the_others(place: Place) -> None:
    for session in ("a", "b"):
        place.open(session)
    twice, once = place.fill(2)
    for session, ids in (("a", [twice]), ("b", [twice, once])):
        place.fetch(session, len(ids))
        recover(place, session, dict.fromkeys(ids, "lost"))
    assert marks(place) == [(b"0", b"01", b"000"), (b"0", b"02", b"000")]
    assert place.ready() == [once, twice]


def test_recover_of_messages_without_a_fate_can_return_them_uncounted(place: Place) -> None:
    place.open("a")
    place.fill(2)
    place.fetch("a", 2)
    recover(place, "a", others="back")
    assert marks(place) == [(b"0", b"00", b"000")] * 2


def test_recover_sent_twice_changes_nothing_more(place: Place) -> None:
    place.open("a")
    place.fill(2)
    place.fetch("a", 2)
    place.expire("a")
    assert recover(place, "a", owner=False).requeued == 2
    before = place.snapshot()
    assert recover(place, "a", owner=False) == (False, 0, 0, 0)
    assert recover(place, "a", owner=True) == (False, 0, 0, 0)
    assert place.snapshot() == before


def test_recover_with_a_fate_of_a_message_it_does_not_hold_ignores_it(place: Place) -> None:
    place.open("a", "b")
    [id] = place.fill(1)
    place.fetch("b")
    assert recover(place, "a", {id: "done"}) == (False, 0, 0, 0)
    assert place.flying("b") == {id}


@pytest.mark.parametrize(
    ("fate", "limit", "reason"), [("crash", 3, reasons.CRASHED), ("lost", 10, reasons.LOST)]
)
def test_recover_at_the_limit_makes_a_dead_letter(
    place: Place, fate: operations.Fate, limit: int, reason: bytes
) -> None:
    [id] = place.fill(1)
    for n in range(1, limit + 1):
        place.open(f"s{n}")
        assert place.fetch(f"s{n}") == [id]
        buried = int(n == limit)
        assert recover(place, f"s{n}", {id: fate}) == (False, 0, buried, 1 - buried)
    assert place.dead() == [id]
    assert (place.letter(id) or b"").startswith(reason + b"\n")
    envelope = in_dead_letter(place, id)
    assert int(envelope.crashes if fate == "crash" else envelope.losses) == limit
    assert place.waiting() == 0


@pytest.mark.parametrize(("fate", "most"), [("crash", 9), ("lost", 99)])
def test_recover_with_a_limit_above_the_header_digits_still_ends(
    place: Place, fate: operations.Fate, most: int
) -> None:
    [id] = place.fill(1)
    for n in range(most):
        place.open(f"s{n}")
        place.fetch(f"s{n}")
        fates: dict[bytes, operations.Fate] = {id.encode(): fate}
        place(
            operations.recover_session(
                place.keys, f"s{n}", place.queues, owner=True, fates=fates, crashes=500, losses=500
            )
        )
    assert place.dead() == [id]
    assert in_dead_letter(place, id).id == id.encode()


def test_recover_of_a_message_of_an_unknown_queue_makes_a_dead_letter(place: Place) -> None:
    place.open("a")
    [id] = place.fill(1)
    place.fetch("a")
    assert recover(place, "a", queues=("high",)) == (False, 0, 1, 0)
    assert (place.letter(id) or b"").startswith(reasons.NO_QUEUE + b"\n1 0 01 ")


# --- tick ---------------------------------------------------------------------------------------


def steady(place: Place) -> None:
    """As if somebody ticked a moment ago."""
    place.redis.set(place.keys.last_tick, now_ms())


def test_tick_with_a_due_message_makes_it_ready_and_returns_the_next_due_time(place: Place) -> None:
    place.fill(1, delay_ms=60_000)
    [due] = place.fill(1, delay_ms=30_000)
    place.fill(1, "low", delay_ms=90_000)
    mid = place.keys.delayed("mid")
    place.redis.zadd(mid, {place.redis.zrange(mid, 0, 0)[0]: 1})
    ticked = place.tick()
    assert ticked.moved == 1
    assert ticked.next_due_ms is not None
    assert 50_000 < ticked.next_due_ms <= 60_000
    assert place.ready() == [due]
    assert place.tokens() == "mid"


def test_tick_of_an_empty_namespace_returns_nothing(place: Place) -> None:
    assert place.tick() == (None, 0, [])


def test_tick_with_more_than_500_due_moves_500_and_says_that_more_are_due(place: Place) -> None:
    for queue in ("high", "mid"):
        place.fill(300, queue, delay_ms=60_000)
        key = place.keys.delayed(queue)
        place.redis.zadd(key, dict.fromkeys(place.redis.zrange(key, 0, -1), 1))
    ticked = place.tick()
    assert (ticked.moved, ticked.next_due_ms) == (500, 0)
    assert (len(place.ready("high")), len(place.ready("mid"))) == (300, 200)
    assert place.tick()[:2] == (None, 100)


def test_tick_replaces_lost_tokens(place: Place) -> None:
    place.fill(1)
    place.redis.delete(place.keys.wake("mid"))
    place.tick()
    assert place.tokens() == "mid"


def test_tick_with_expired_sessions_names_them_with_their_queues(place: Place) -> None:
    place.open("a", "b")
    place(operations.open(place.keys, ["c"], ["low"], 30_000))
    place.expire("a", "c")
    steady(place)
    assert sorted(place.tick().expired) == [("a", ["high", "mid", "low"]), ("c", ["low"])]
    assert recover(place, "b", owner=False).alive


def test_tick_after_a_gap_extends_each_lease_once_between_renewals(place: Place) -> None:
    place.open("a", "b")
    place.expire("a", "b")
    place.redis.set(place.keys.last_tick, now_ms() - HOUR)
    assert place.tick().expired == []
    assert lease(place, "a") == lease(place, "b") == 30_000
    renew(place, "b")
    place.expire("a", "b")
    place.redis.set(place.keys.last_tick, now_ms() - HOUR)
    assert [name for name, _ in place.tick().expired] == ["a"], "b was renewed in between"
    recover(place, "a", owner=False)
    assert place.redis.smembers(place.keys.lease_extended) == {b"b"}


def test_tick_without_a_gap_extends_no_lease(place: Place) -> None:
    place.open("a")
    place.expire("a")
    steady(place)
    assert [name for name, _ in place.tick().expired] == ["a"]


def test_tick_after_the_clock_jumped_back_shortens_leases(place: Place) -> None:
    place.open("a", lease_ms=HOUR)
    place.redis.set(place.keys.last_tick, now_ms() + HOUR)
    assert place.tick().expired == []
    assert lease(place, "a") == 30_000
    assert abs(int(place.redis.get(place.keys.last_tick)) - now_ms()) < 5_000


def test_tick_after_a_gap_extends_the_lease_of_every_session(place: Place) -> None:
    names = [f"s{n}" for n in range(1_200)]
    place.open(*names)
    place.expire(*names)
    assert place.tick().expired == []
    assert leases(place) == dict.fromkeys(names, 30_000)


def test_tick_with_many_expired_sessions_names_50(place: Place) -> None:
    names = [f"s{n}" for n in range(80)]
    place.open(*names)
    place.expire(*names)
    steady(place)
    assert len(place.tick().expired) == 50
