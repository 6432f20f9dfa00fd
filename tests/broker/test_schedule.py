"""Cron slots and broadcasts on the server: each slot once, each broadcast once per supervisor."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

import pytest

from typedq.broker import cron, operations, settlements
from typedq.broker.cron import BroadcastCursor, Fired, Firing
from typedq.message import Destination, OutgoingMessage, decode_message, encode_message, new_ids

if TYPE_CHECKING:
    from tests.broker.conftest import Place

Act = Literal["fire", "pause", "resume"]
ORDERS: list[tuple[Act, ...]] = [*product(get_args(Act), repeat=5)]
MINE, OTHERS = "_broadcast.aaaaaaaa", "_broadcast.bbbbbbbb"


def server_ms(place: Place) -> int:
    s, us = place.redis.time()
    return int(s) * 1000 + int(us) // 1000


def fire(place: Place, entry: str, *slots: int, queue: str = "mid") -> Fired:
    firings = [Firing(entry, slot, place.outgoing(queue)) for slot in slots] or [Firing(entry)]
    return place(cron.cron(place.keys, firings, {place.contract: b"{}"}))


def begin(place: Place, entry: str = "e", ago_ms: int = 60_000) -> int:
    """Let an entry have begun a while ago; answers when, on the server's clock."""
    fire(place, entry)
    began = server_ms(place) - ago_ms
    place.redis.hset(place.keys.cron, entry, -began)
    return began


def test_an_entry_starts_when_it_is_first_asked_for(place: Place) -> None:
    before = server_ms(place)
    fired = fire(place, "e", before - 1000, before - 10)
    assert [now for _, now in fired.slots] == [False, False]
    assert all(before <= last <= fired.now_ms for last, _ in fired.slots)
    assert place.ready() == []
    assert place(cron.last_slots(place.keys)) == {"e": -fired.slots[0][0]}


def test_a_slot_fires_once_however_often_it_is_asked_for(place: Place) -> None:
    began = begin(place)
    slots = [began + 1000, began + 2000]
    assert [now for _, now in fire(place, "e", *slots).slots] == [True, True]
    assert fire(place, "e", *slots).slots == [(slots[1], False)] * 2
    assert fire(place, "e").slots == [(slots[1], False)]
    assert len(place.ready()) == place.waiting() == 2
    assert place.tokens() == "mid"
    assert place(cron.last_slots(place.keys)) == {"e": slots[1]}


def test_an_older_slot_never_fires_after_a_newer_one(place: Place) -> None:
    began = begin(place)
    fire(place, "e", began + 2000)
    assert fire(place, "e", began + 1000).slots == [(began + 2000, False)]


def test_a_slot_later_than_the_servers_clock_waits(place: Place) -> None:
    began = begin(place)
    assert fire(place, "e", server_ms(place) + 60_000).slots == [(began, False)]
    assert place.ready() == []


def test_entries_do_not_know_each_other(place: Place) -> None:
    began = begin(place, "a")
    begin(place, "b")
    fire(place, "a", began + 3000)
    assert fire(place, "b", began + 1000, queue="low").slots == [(began + 1000, True)]
    assert (len(place.ready("mid")), len(place.ready("low"))) == (1, 1)


def test_the_message_has_its_slot_and_its_contract_is_published(place: Place) -> None:
    began = begin(place)
    place.redis.delete(place.keys.contracts)
    fire(place, "e", began + 1000)
    (message,) = place.redis.lrange(place.keys.ready("mid"), 0, -1)
    assert decode_message(message).due_ms == began + 1000
    assert place.redis.hexists(place.keys.contracts, place.contract)
    place.open("s")
    assert place.fetch("s") == [decode_message(message).id.decode()]
    place.work("s", 0, settlements.Ack(place.contract.encode(), [decode_message(message).id]))
    assert place.waiting() == 0


def switch(place: Place, act: Literal["pause", "resume"], entry: str = "e") -> bool:
    return place(cron.switch_cron(place.keys, entry, act))


def next_ms(place: Place, after: int) -> int:
    """The server's clock, once it is later."""
    while (now := server_ms(place)) <= after:
        pass
    return now


def test_what_passed_while_an_entry_was_paused_never_fires(place: Place) -> None:
    """All orders of acts. A slot passes before each, and firing tries all slots there ever were."""
    for number, acts in enumerate(ORDERS):
        entry, last, is_paused = f"e{number}", 0, False
        slots = [begin(place, entry)]
        for act in acts:
            slots.append(next_ms(place, slots[-1]))
            if act == "fire":
                expected = [not is_paused and slot > last for slot in slots[1:]]
                assert [now for _, now in fire(place, entry, *slots[1:]).slots] == expected, acts
                last = last if is_paused else slots[-1]
            else:
                assert switch(place, act, entry) == (is_paused != (act == "pause"))
                switched = int(place.redis.hget(place.keys.cron_paused, entry) or 0)
                assert not switched or slots[0] < abs(switched) <= server_ms(place)
                last, is_paused = max(last, switched), act == "pause"
            assert (entry in place(cron.paused_cron(place.keys))) == is_paused


def test_a_pause_is_of_one_entry_and_moves_no_last_slot(place: Place) -> None:
    began = begin(place, "a")
    begin(place, "b")
    fire(place, "a", began + 1000)
    switch(place, "pause", "a")
    told = fire(place, "a").slots
    assert fire(place, "b", began + 1000).slots == [(began + 1000, True)]
    assert place(cron.last_slots(place.keys)) == {"a": began + 1000, "b": began + 1000}
    ((since, now),) = told
    assert (since > began + 1000, now) == (True, False)
    switch(place, "resume", "a")
    assert place(cron.last_slots(place.keys))["a"] == began + 1000
    assert place(cron.paused_cron(place.keys)) == {}


@pytest.mark.parametrize("spoiled", ["x", "nan", "-nan", "1e400", "-1e400", "", "1e15", "-1e15"])
def test_what_is_no_time_is_no_pause(place: Place, spoiled: str) -> None:
    began = begin(place)
    place.redis.hset(place.keys.cron_paused, "e", spoiled)
    assert place(cron.paused_cron(place.keys)) == {}
    assert fire(place, "e", began + 1000).slots == [(began + 1000, True)]
    assert switch(place, "pause")
    assert fire(place, "e", server_ms(place)).slots[0][1] is False


# --- broadcasts -----------------------------------------------------------------------------------


def tell(place: Place, count: int = 1) -> list[str]:
    ids = new_ids(count)
    for id in ids:
        message = encode_message(
            id=id, contract=place.contract, queue="_broadcast", options=b"-", body=b'{"a":" b"}'
        )
        place.put(
            OutgoingMessage(
                id,
                Destination("_broadcast", place.contract, broadcast_to_all=True),
                message,
            )
        )
    return ids


def hear(place: Place, queue: str, heard: BroadcastCursor | None = None) -> BroadcastCursor:
    return place(cron.deliver(place.keys, queue, heard or BroadcastCursor()))


def test_each_supervisor_gets_broadcasts_since_it_started(place: Place) -> None:
    tell(place)
    mine = hear(place, MINE)
    assert (mine.number, mine.delivered, mine.missed) == (1, 0, 0)
    ids = tell(place, 2)
    others = hear(place, OTHERS)
    assert others.delivered == 0
    ids += tell(place)
    assert hear(place, MINE, mine).delivered == 3
    assert hear(place, OTHERS, others).delivered == 1
    assert (place.ready(MINE), place.ready(OTHERS)) == (ids, ids[2:])
    assert (place.token(MINE), place.token(OTHERS)) == (1, 1)
    assert place.stats() == {"broadcast": 4, "delivered": 4}


def test_the_first_broadcast_ever_is_delivered(place: Place) -> None:
    mine = hear(place, MINE)
    tell(place)
    assert hear(place, MINE, mine).delivered == 1


def test_asking_twice_delivers_once(place: Place) -> None:
    mine = hear(place, MINE)
    ids = tell(place)
    assert hear(place, MINE, mine).delivered == 1
    assert hear(place, MINE, mine).delivered == 0  # as after a reply that was lost
    assert place.ready(MINE) == ids


def test_a_resent_broadcast_is_accepted_once(place: Place) -> None:
    mine, out = hear(place, MINE), place.outgoing()
    schemas = {place.contract: b"{}"}
    move = cron.broadcast(place.keys, "producer", 1, [out], {})
    assert place(move) == operations.Accepted("unknown", (place.contract,))
    told = [place(cron.broadcast(place.keys, "producer", 1, [out], schemas)) for _ in range(2)]
    assert [answer.status for answer in told] == ["accepted", "seen"]
    assert hear(place, MINE, mine).delivered == 1


def test_only_the_queue_in_the_header_changes(place: Place) -> None:
    mine = hear(place, MINE)
    (id,) = tell(place)
    hear(place, MINE, mine)
    (message,) = place.redis.lrange(place.keys.ready(MINE), 0, -1)
    expected = encode_message(
        id=id, contract=place.contract, queue=MINE, options=b"-", body=b'{"a":" b"}'
    )
    assert message == expected


def test_more_than_a_call_may_move_comes_in_several(place: Place) -> None:
    mine = hear(place, MINE)
    place.redis.hset(place.keys.contracts, place.contract, b"{}")
    tell(place, 501)
    mine = hear(place, MINE, mine)
    assert mine.delivered == cron.MAX_DELIVERED
    assert hear(place, MINE, mine).delivered == 1


def test_what_was_missed_is_counted(place: Place) -> None:
    mine = hear(place, MINE)
    tell(place, 3)
    place.redis.xtrim(place.keys.broadcasts, maxlen=1, approximate=False)
    mine = hear(place, MINE, mine)
    assert (mine.delivered, mine.missed, mine.number) == (1, 2, 3)
    assert place.stats()["missed"] == 2


def test_a_server_that_was_emptied_is_no_gap(place: Place) -> None:
    tell(place, 3)
    mine = hear(place, MINE)
    place.redis.delete(*place.redis.scan_iter(f"{place.keys.tag}:*"))
    assert hear(place, MINE, mine).delivered == 0
    tell(place)
    mine = hear(place, MINE, mine)
    assert (mine.delivered, mine.missed, mine.number) == (1, 0, 1)


def test_old_broadcasts_are_trimmed_by_age(place: Place) -> None:
    old = (server_ms(place) - cron.BROADCAST_TTL_MS - 1000, server_ms(place) - 60_000)
    for ms in old:
        place.redis.xadd(place.keys.broadcasts, {"n": 1, "m": "x"}, id=f"{ms}-0")
    tell(place)
    assert place.redis.xlen(place.keys.broadcasts) == 2


def test_every_key_of_a_supervisor_expires(place: Place) -> None:
    mine = hear(place, MINE)
    tell(place)
    hear(place, MINE, mine)
    own = [*place.keys.queue_keys([MINE]), place.keys.broadcast_cursor(MINE)]
    there = [key for key in own if place.redis.exists(key)]
    assert len(there) == 3
    assert all(0 < place.redis.ttl(key) <= cron.COPIES_TTL_S for key in there)
    place(cron.abandon(place.keys, MINE))
    assert not place.redis.exists(*own)


# --- in a supervisor's hands it is an ordinary message, but never counted -------------------------


@pytest.fixture
def holding(place: Place) -> tuple[list[bytes], list[str]]:
    """Session s holds three broadcasts and has just settled nothing."""
    queues = [MINE, *place.queues]
    place(operations.open(place.keys, ["s"], queues, 30_000))
    mine = hear(place, MINE)
    tell(place, 3)
    hear(place, MINE, mine)
    worked = place(settlements.settle_and_fetch(place.keys, "s", queues, max_messages=9))
    return [decode_message(m).id for m in worked.messages], queues


def test_every_way_to_settle_leaves_the_counts_alone(
    place: Place, holding: tuple[list[bytes], list[str]]
) -> None:
    (done, dropped, failed), queues = holding
    settle: list[settlements.Settlement] = [
        settlements.Ack(b"", [done]),
        settlements.Discard(dropped),
        settlements.DeadLetter(failed, b"{}"),
    ]
    assert place(settlements.settle_and_fetch(place.keys, "s", queues, settle=settle)).settled == 3
    assert place.flying("s") == set()
    assert place.dead() == [failed.decode()]
    assert place.waiting() == 0


def test_retried_and_released_broadcasts_stay_with_the_supervisor(
    place: Place, holding: tuple[list[bytes], list[str]]
) -> None:
    (again, later, back), queues = holding
    settle = [settlements.Retry(again, MINE, 1, 0), settlements.Retry(later, MINE, 1, 99_000)]
    place(
        settlements.settle_and_fetch(
            place.keys, "s", queues, settle=[*settle, settlements.Release(back, MINE)]
        )
    )
    assert place.ready(MINE) == [back.decode(), again.decode()]
    assert place.delayed(MINE) == [later.decode()]


def test_a_broadcast_after_a_crash_returns_to_the_same_supervisor(
    place: Place, holding: tuple[list[bytes], list[str]]
) -> None:
    ids, queues = holding
    fates: dict[bytes, operations.Fate] = {ids[0]: "done", ids[1]: "crash"}
    reaped = place(
        operations.recover_session(place.keys, "s", queues, owner=True, fates=fates, others="back")
    )
    assert (reaped.done, reaped.requeued) == (1, 2)
    assert set(place.ready(MINE)) == {id.decode() for id in ids[1:]}
    assert place.waiting() == 0


def test_broadcasts_of_a_lost_supervisor_are_dropped(
    place: Place, holding: tuple[list[bytes], list[str]]
) -> None:
    place.expire("s")
    reaped = place(operations.recover_session(place.keys, "s", place.queues, owner=False))
    assert (reaped.dead_lettered, reaped.requeued) == (0, 0)
    assert place.names().isdisjoint({"flight:s", "dead"})
    assert place.waiting() == 0
