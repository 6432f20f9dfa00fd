"""The in-flight records of a child: who holds which message, and what the server is told of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from typedq.broker import Broker, DedicatedClient, operations, settlements, stats
from typedq.broker.failures import Lost
from typedq.errors import ServerUnavailable
from typedq.message import Destination, OutgoingMessage, encode_message, new_ids
from typedq.worker.child import Prefetch
from typedq.worker.delivery import Delivery, MessageKind
from typedq.worker.journal import Journal, State, new_session
from typedq.worker.session import Session

if TYPE_CHECKING:
    from tests.faults.harness import Stage


class Holder:
    """A session with a journal of its own, on a queue with `count` messages."""

    def __init__(
        self,
        stage: Stage,
        count: int,
        slots: int = 200,
        bounds: operations.DeadBounds = operations.DEFAULT_BOUNDS,
    ) -> None:
        self.stage, self.broker, self.journal = stage, stage.app.broker, Journal(slots)
        self.journal.set_lease_deadline(time.monotonic() + 60)
        self.client = DedicatedClient(self.broker)
        self.journal.session = new_session()
        self.broker.call(operations.open(stage.keys, [self.journal.session], ["mid"], 30_000))
        self.session = Session(self.client, self.journal, ["mid"], lease_s=30, bounds=bounds)
        stage.send_many([stage.call("nap")] * count)

    def fetch(self, max_messages: int = 0) -> list[Delivery]:
        """Sync, and take all that wait to be started."""
        self.session.sync(max_messages)
        waiting = self.session.waiting
        return [waiting.popleft() for _ in range(len(waiting))]

    def ack(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            self.end(delivery)

    def end(self, delivery: Delivery, settlement: settlements.Settlement | None = None) -> None:
        delivery.started, delivery.settlement = True, settlement
        self.session.end(delivery)

    def end_session(self) -> None:
        """End the session as others do when its lease is over."""
        name = self.journal.session
        self.broker.call(
            operations.recover_session(self.stage.keys, name, ["mid"], owner=True, others="back")
        )

    def release_for_it(self, delivery: Delivery, session: str) -> settlements.Fetched:
        """Release a revoked message, as the supervisor does."""
        back = [settlements.Release(delivery.id, "mid")]
        return self.broker.call(
            settlements.settle_and_fetch(self.stage.keys, session, ["mid"], settle=back)
        )

    def ready(self) -> list[bytes]:
        return [m[25:51] for m in self.stage.redis.lrange(self.stage.keys.ready("mid"), 0, -1)]


def _lose_the_next_reply(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = broker._pool._idle[-1]
    read = connection.read

    def lost() -> None:
        monkeypatch.undo()
        read()
        connection.close()
        broker._endpoint.losses += 1
        raise Lost("lost on the way")

    monkeypatch.setattr(type(connection), "read", lambda self: lost())


# --- settling ------------------------------------------------------------------------------------


def test_sync_after_each_kind_of_end_settles_each(stage: Stage) -> None:
    held = Holder(stage, 3)
    one, two, three = held.fetch(3)
    held.ack(one)
    held.end(two, settlements.Retry(two.id, "mid", 1, 60_000))
    held.session.end(three)  # it was not started
    held.fetch()
    assert stage.look().stats == {"done": 1, "retried": 1}
    assert held.ready() == [three.id]
    assert held.session.free_slots == held.journal.slots
    assert held.journal.totals == (1, 1)


def test_sync_when_all_that_is_held_ended_well_acknowledges_by_number(stage: Stage) -> None:
    held = Holder(stage, 20)
    held.ack(*held.fetch(20))
    assert held.fetch() == []
    assert stage.look().stats == {"done": 20}
    assert list(held.journal.entries()) == []
    assert held.session.free_slots == held.journal.slots
    assert not stage.in_flight()


def test_sync_when_the_number_differs_acknowledges_each_by_its_id(stage: Stage) -> None:
    """Somebody else took one of them out of its hands without its knowledge."""
    held = Holder(stage, 4)
    all_of_them = held.fetch(4)
    taken = settlements.Ack(all_of_them[0].kind.counted, [all_of_them[0].id])
    name = held.journal.session
    held.broker.call(settlements.settle_and_fetch(stage.keys, name, ["mid"], settle=[taken]))
    held.ack(*all_of_them)
    assert held.fetch() == []
    assert stage.look().stats == {"done": 4}
    assert not held.session.unsettled


def test_sync_with_no_free_slot_left_over_uses_those_of_settled_messages(stage: Stage) -> None:
    held = Holder(stage, 12, slots=4)
    first = held.fetch(4)
    assert held.session.free_slots == 0
    held.ack(*first)
    assert held.session.free_slots == 4
    second = held.fetch(4)
    assert len(second) == 4
    assert {d.slot for d in second} == {0, 1, 2, 3}
    assert [e.state for e in held.journal.entries()] == [State.HELD] * 4


# --- others end the session, replies are lost ----------------------------------------------------


def test_sync_after_a_restart_that_forgot_the_last_second_drops_nothing(stage: Stage) -> None:
    """The server holds as many messages as ended well, one of them among these, but others."""
    held = Holder(stage, 3)
    retried, long = held.fetch(2)
    key = stage.keys.in_flight(held.journal.session)
    saved = stage.redis.hgetall(key)
    held.end(retried, settlements.Retry(retried.id, "mid", 1, 60_000))
    (short,) = held.fetch(1)
    held.ack(short, long)
    stage.redis.delete(key, stage.keys.delayed("mid"))
    stage.redis.hset(key, mapping=saved)
    stage.redis.rpush(stage.keys.ready("mid"), short.message)
    stage.redis.client_kill_filter(_type="normal", skipme=True)
    held.session.sync()
    held.session.sync()
    assert [*stage.in_flight()] == [retried.id.decode()]
    assert held.ready() == [short.id]


def test_a_dedicated_client_sends_nothing_over_a_connection_that_it_opened_unnoticed(
    stage: Stage,
) -> None:
    client = DedicatedClient(stage.app.broker)
    client.call(operations.wake_worker("one"))
    before = client.lost_connections
    stage.redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(ServerUnavailable, match="the server closed the connection"):
        client.call(operations.wake_worker("two"))
    assert stage.redis.exists("one", "two") == 1
    assert client.lost_connections > before
    client.call(operations.wake_worker("two"))
    assert stage.redis.exists("one", "two") == 2


def test_end_of_a_delivery_that_others_recovered_settles_nothing_of_the_next_one(
    stage: Stage,
) -> None:
    """The same message, released by others and fetched again by the same child."""
    held = Holder(stage, 1)
    (old,) = held.fetch(1)
    held.end_session()
    assert held.fetch() == []  # continues under a fresh id
    assert not held.session.owns(old)
    (new,) = held.fetch(1)
    assert new.id == old.id
    assert held.session.owns(new)
    held.ack(old)
    assert not held.session.unsettled
    assert held.fetch() == []
    assert list(stage.in_flight()) == [new.id.decode()]
    held.ack(new)
    held.fetch()
    assert not stage.in_flight()
    assert not held.ready()
    assert held.session.free_slots == held.journal.slots


def test_nothing_of_a_session_that_others_ended_waits(stage: Stage) -> None:
    held = Holder(stage, 3)
    held.session.sync(3)
    held.end_session()
    held.session.sync()
    assert not held.session.waiting
    assert held.session.free_slots == held.journal.slots
    assert len(held.ready()) == 3


def test_sync_after_a_lost_reply_settles_once_and_tracks_what_was_fetched(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Holder(stage, 4)
    first, old = held.fetch(2), held.journal.session
    held.ack(*first)
    _lose_the_next_reply(held.broker, monkeypatch)
    more = held.fetch(2)  # settled and fetched, though we were not told
    assert held.journal.session != old
    assert held.journal.fresh == ""
    assert len(more) == 2
    assert all(map(held.session.owns, more))
    assert held.session.unsettled
    held.fetch()
    assert not held.session.unsettled
    assert stage.look().stats["done"] == 2
    assert stage.flying(old) == {}
    for delivery in reversed(more):
        held.session.release(delivery)
    held.fetch()
    assert held.ready() == [d.id for d in more]
    assert held.session.free_slots == held.journal.slots
    assert list(held.journal.entries()) == []


def test_sync_after_somebody_else_lost_a_connection_tracks_what_the_server_believes(
    stage: Stage,
) -> None:
    """After a restart that forgot, the server may believe that we hold what we never received."""
    held = Holder(stage, 2)
    assert held.fetch() == []
    unseen = held.broker.call(
        settlements.settle_and_fetch(stage.keys, held.journal.session, ["mid"], max_messages=2)
    ).messages
    assert held.fetch() == []  # nothing tells it
    stage.redis.client_kill_filter(_type="normal", skipme=True)
    held.broker.call(stats.workers(stage.keys))  # a task that asks for something of its own
    assert [d.message for d in held.fetch()] == unseen
    assert held.fetch() == []


# --- revoked messages ----------------------------------------------------------------------------


def test_release_of_a_revoked_message_makes_the_release_of_the_supervisor_inert(
    stage: Stage,
) -> None:
    """The supervisor revokes what waits behind a long task; the child may release it first."""
    held = Holder(stage, 2)
    first, waiting = held.fetch(2)
    old = held.journal.session
    held.journal.claim(first.slot, time.monotonic(), None)
    held.journal.revoke(waiting.slot)
    held.session.release(waiting)
    assert not [e for e in held.journal.entries() if e.state == State.HELD]
    (again,) = held.fetch(1)
    assert again.id == waiting.id
    assert not held.release_for_it(waiting, old).alive
    assert stage.look().queues["mid"].ready == 0
    assert stage.flying(held.journal.session).keys() == {d.id.decode() for d in (first, waiting)}


def test_release_of_a_revoked_message_that_was_fetched_again_keeps_the_second(
    stage: Stage,
) -> None:
    held = Holder(stage, 1)
    (first,) = held.fetch(1)
    held.journal.revoke(first.slot)
    held.release_for_it(first, held.journal.session)
    (again,) = held.fetch(1)
    assert again.id == first.id
    assert held.journal.claim(again.slot, time.monotonic(), None)
    held.session.release(first)
    assert held.fetch(1) == []
    assert (held.session.owns(first), held.session.owns(again)) == (False, True)
    assert stage.flying(held.journal.session).keys() == {first.id.decode()}
    assert stage.look().queues["mid"].ready == 0


# --- bad messages --------------------------------------------------------------------------------


def test_fetch_of_a_message_with_a_bad_id_after_a_lost_reply_makes_a_dead_letter(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Holder(stage, 1)
    (delivery,) = held.fetch(1)
    bad = delivery.message[:25] + b"z" * 26 + delivery.message[51:]
    stage.redis.rpush(stage.keys.ready("mid"), bad)
    held.ack(delivery)
    _lose_the_next_reply(held.broker, monkeypatch)
    assert held.fetch(5) == []
    while held.session.unsettled:
        assert held.fetch() == []
    assert not stage.in_flight()
    assert stage.look().stats == {"done": 1, "dead": 1}
    assert stage.dead()["z" * 26]["kind"] == "bad_message"


def test_fetch_of_a_message_that_names_another_queue_makes_a_dead_letter(stage: Stage) -> None:
    held = Holder(stage, 0)
    (id,) = new_ids(1)
    contract = stage.app.declarations.find("nap").contract.id
    message = encode_message(id=id, contract=contract, queue="low", options=b"-", body=b"{}")
    stage.app.broker.enqueue(
        [OutgoingMessage(id, Destination("mid", contract), message)], lambda _: b"{}"
    )
    assert held.fetch(5) == []
    held.fetch()
    assert stage.dead()[id]["kind"] == "bad_message"
    assert not stage.in_flight()


# --- how many to fetch ---------------------------------------------------------------------------


def test_batch_is_about_twenty_milliseconds_of_work() -> None:
    prefetch = Prefetch(128)
    quick, slow, middling = (
        MessageKind(b"%b@0 mid - " % name, ["mid"]) for name in (b"a", b"b", b"c")
    )
    assert prefetch.batch() == 1  # a task not seen yet
    for _ in range(60):
        prefetch.ran(quick, 0.0001)
    assert prefetch.batch() == 128
    prefetch.ran(slow, 0.5)
    assert prefetch.batch() == 1  # at once
    for _ in range(10):
        prefetch.ran(quick, 0.0001)
    assert prefetch.batch() < 128  # slowly
    assert quick.typical < 0.005 < slow.typical
    for _ in range(60):
        prefetch.ran(middling, 0.004)
    assert prefetch.batch() in {4, 5}
    assert Prefetch(1).batch() == 1


def test_batch_of_large_messages_is_about_a_mebibyte(stage: Stage) -> None:
    prefetch, quick = Prefetch(128), MessageKind(b"a@0 mid - ", ["mid"])
    for _ in range(60):
        prefetch.ran(quick, 0.0001)
    assert [prefetch.batch(size) for size in (180, 400_000, 5 << 20)] == [128, 3, 1]
    held = Holder(stage, 3)
    deliveries = held.fetch(3)
    assert held.session.bytes_each == sum(len(d.message) for d in deliveries) // 3


def test_what_was_fetched_behind_a_wait_is_held(stage: Stage) -> None:
    held = Holder(stage, 3)
    fetch = held.session.fetch_operation()
    assert fetch
    held.session.take(held.broker.call(fetch))
    first = [*held.session.waiting]
    held.session.waiting.clear()
    assert [entry.state for entry in held.journal.entries()] == [State.HELD]
    assert len(held.ready()) == 2, "the process may be frozen, so it takes one"
    held.ack(*first)
    held.ack(*held.fetch(5))
    held.fetch()
    assert stage.look().stats == {"done": 3}


def test_what_a_lost_fetch_behind_a_wait_took_is_found_by_the_next_sync(stage: Stage) -> None:
    held = Holder(stage, 3)
    fetch = held.session.fetch_operation()
    assert fetch
    taken = held.broker.call(fetch)
    held.broker._endpoint.losses += 1  # as the waiter counts it
    assert held.session.fetch_operation() is None, "first it must know what it holds"
    found = held.fetch(2)
    assert {each.message for each in found} >= set(taken.messages)
    held.ack(*found)
    held.fetch()
    assert len(held.ready()) + stage.look().stats["done"] == 3


def test_a_fetch_behind_a_wait_in_an_ended_session_opens_another(stage: Stage) -> None:
    held = Holder(stage, 3)
    before, fetch = held.journal.session, held.session.fetch_operation()
    assert fetch
    held.end_session()
    held.session.take(held.broker.call(fetch))
    assert held.journal.session != before
    assert len(held.fetch(3)) == 3


def test_a_fetch_behind_a_wait_keeps_as_many_dead_letters_as_the_app_says(stage: Stage) -> None:
    held = Holder(stage, 0, bounds=operations.DeadBounds(count=1))
    stage.redis.rpush(stage.keys.ready("mid"), b"no message", b"another")
    for _ in "ab":
        fetch = held.session.fetch_operation()
        assert fetch
        assert held.broker.call(fetch).messages == []
    assert len(stage.dead()) == 1
