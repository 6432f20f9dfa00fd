"""The parts of a child, without processes: journal, pace, waiter, who holds which message."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from typedq.broker import Broker, operations, settlements, stats
from typedq.broker.operations import Destination, OutgoingMessage
from typedq.broker.script import Argument
from typedq.broker.wire import Refused
from typedq.errors import ServerUnavailable
from typedq.message import encode_message, new_ids
from typedq.worker.child import SLOW_S, Child, Plan
from typedq.worker.delivery import Kind
from typedq.worker.journal import Journal, Phase, State
from typedq.worker.prefetch import Prefetch
from typedq.worker.session import Session, new_session
from typedq.worker.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage

ID = b"0123456789abcdef0123456789"


@pytest.fixture
def journal() -> Journal:
    made = Journal(200)
    made.set_lease_deadline(time.monotonic() + 60)
    return made


def test_a_journal_tells_what_its_child_holds(journal: Journal) -> None:
    journal.hold([3], [ID], 2)
    journal.hold([199], [ID[::-1]], 0)
    assert [(e.slot, e.state, e.id, e.queue) for e in journal.entries()] == [
        (3, State.HELD, ID, 2),
        (199, State.HELD, ID[::-1], 0),
    ]
    before = time.monotonic()
    assert journal.claim(3, time.monotonic(), None)
    (entry, _) = journal.entries()
    assert entry.state == State.RUNNING
    assert before <= entry.started <= time.monotonic()
    journal.done(3)
    assert [e.state for e in journal.entries()] == [State.DONE, State.HELD]
    journal.put(3, State.FREE)
    assert [e.slot for e in journal.entries()] == [199]


def test_a_marked_message_cannot_be_claimed_and_its_slot_can_be_used_again(
    journal: Journal,
) -> None:
    journal.hold([0], [ID], 0)
    journal.revoke(0)
    assert not journal.claim(0, time.monotonic(), None)
    assert [e.state for e in journal.entries()] == [State.HELD]
    journal.hold([0], [ID], 0)
    assert not journal.is_revoked(0)
    assert journal.claim(0, time.monotonic(), None)


def test_nothing_can_be_claimed_behind_the_fence(journal: Journal) -> None:
    journal.hold([0], [ID], 0)
    journal.set_lease_deadline(time.monotonic() - 0.001)
    assert journal.is_lease_over()
    assert not journal.claim(0, time.monotonic(), None)
    journal.set_lease_deadline(time.monotonic() + 1)
    assert journal.claim(0, time.monotonic(), None)


def test_a_journal_outlives_a_kill_of_its_child(journal: Journal) -> None:
    journal.session = "a" * 16
    pid = os.fork()
    if pid == 0:
        journal.fresh, journal.phase = "b" * 16, Phase.BUSY
        journal.hold([7], [ID], 1)
        journal.claim(7, time.monotonic(), None)
        journal.count(done=3, failed=1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (journal.session, journal.fresh, journal.phase) == ("a" * 16, "b" * 16, Phase.BUSY)
    assert journal.totals == (3, 1)
    assert [(e.slot, e.state) for e in journal.entries()] == [(7, State.RUNNING)]


def test_the_pace_is_about_twenty_milliseconds_of_work() -> None:
    pace = Prefetch(128)
    quick, slow, middling = (Kind(b"%b@0 mid - " % name, ["mid"]) for name in (b"a", b"b", b"c"))
    assert pace.batch() == 1  # a task not seen yet
    assert quick.typical > SLOW_S
    for _ in range(60):
        pace.ran(quick, 0.0001)
    assert pace.batch() == 128
    assert not quick.typical > SLOW_S
    pace.ran(slow, 0.5)
    assert pace.batch() == 1  # at once
    for _ in range(10):
        pace.ran(quick, 0.0001)
    assert pace.batch() < 128  # slowly
    assert slow.typical > SLOW_S
    for _ in range(60):
        pace.ran(middling, 0.004)
    assert pace.batch() in {4, 5}
    assert not middling.typical > SLOW_S
    assert Prefetch(1).batch() == 1


def test_a_batch_is_about_a_mebibyte(stage: Stage, journal: Journal) -> None:
    pace, quick = Prefetch(128), Kind(b"a@0 mid - ", ["mid"])
    for _ in range(60):
        pace.ran(quick, 0.0001)
    assert [pace.batch(size) for size in (180, 400_000, 5 << 20)] == [128, 3, 1]
    held = Held(stage, journal, 3)
    jobs = held.session.exchange(3)
    assert held.session.bytes_each == sum(len(job.message) for job in jobs) // 3


@pytest.fixture
def waiter(stage: Stage) -> Iterator[Waiter]:
    keys = stage.keys
    made = Waiter(stage.app.broker, [keys.wake("high"), keys.wake("low")])
    yield made
    made.close()


def test_a_waiter_answers_whose_token_it_took(stage: Stage, waiter: Waiter) -> None:
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(5.0) == 1
    stage.redis.rpush(stage.keys.wake("high"), "1")
    assert waiter.wait(5.0) == 0
    assert waiter.wait(0.01) is None


def test_a_waiter_that_was_called_away_takes_no_token(stage: Stage, waiter: Waiter) -> None:
    """Nobody may eat a token and then be busy."""
    for _ in range(50):
        waiter.poke()
        assert waiter.wait(5.0) is None
        assert stage.redis.info("clients")["blocked_clients"] == 0
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(1.0, tokens=False) is None or stage.redis.llen(stage.keys.wake("low")) == 1
    assert stage.redis.llen(stage.keys.wake("low")) == 1


def test_no_token_is_lost_between_a_call_away_and_a_token(stage: Stage, waiter: Waiter) -> None:
    """The token may be taken in the moment in which the request is taken back."""
    key, taken = stage.keys.wake("low"), 0
    for round in range(200):
        stage.redis.delete(key)
        push = threading.Thread(target=stage.redis.rpush, args=(key, "1"))
        if round % 2:
            waiter.poke()
        push.start()
        answer = waiter.wait(1.0)
        push.join()
        assert (answer == 1) != bool(stage.redis.llen(key))
        taken += answer == 1
    assert taken


def test_a_waiter_outlives_its_connection(stage: Stage, waiter: Waiter) -> None:
    stage.redis.rpush(stage.keys.wake("low"), "1")
    waiter.wait(5.0)
    stage.redis.client_kill_filter(_id=str(waiter._tokens.link.id))
    assert waiter.wait(1.0) is None
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(5.0) == 1


def test_who_is_called_away_does_no_harm_to_a_server_that_is_paused(
    stage: Stage, waiter: Waiter
) -> None:
    """CLIENT UNBLOCK ends Redis 7.0 here: what CLIENT PAUSE holds up has no way to time out."""
    for _ in range(3):
        stage.redis.client_pause(100, all=False)
        waiter.poke()
        assert waiter.wait(5.0) is None
    stage.redis.rpush(stage.keys.wake("low"), "1")
    assert waiter.wait(5.0) == 1
    ttl = stage.redis.ttl(waiter._own)
    assert -2 <= ttl <= operations.CALLED_BACK_TTL_S, "what is left of it goes"
    assert ttl != -1


@pytest.mark.parametrize("called_away", [False, True])
def test_what_waits_behind_a_token_is_done_when_the_wait_is_over(
    stage: Stage, waiter: Waiter, called_away: bool
) -> None:
    """Also when it was no token that ended it: then the request is not taken back."""
    count = ["INCR", stage.keys.lane("seen")]
    for seen in range(1, 20):
        if called_away:
            waiter.poke()
        else:
            stage.redis.rpush(stage.keys.wake("low"), "1")
        assert waiter.wait_and_ask(5.0, count) == (None if called_away else 1, seen)
        assert stage.redis.info("clients")["blocked_clients"] == 0


def test_what_waits_behind_a_token_may_be_refused(stage: Stage, waiter: Waiter) -> None:
    stage.redis.rpush(stage.keys.wake("high"), "1")
    place, reply = waiter.wait_and_ask(5.0, ["EVALSHA", "0" * 40, 0])
    assert place == 0
    assert reply.code == "NOSCRIPT"
    stage.redis.set(stage.keys.wake("high"), "spoiled")
    assert waiter.wait_and_ask(5.0, ["ECHO", "done"]) == (None, b"done")


def test_a_lost_connection_leaves_it_unknown_what_was_done(stage: Stage, waiter: Waiter) -> None:
    stage.redis.rpush(stage.keys.wake("high"), "1")
    assert waiter.wait_and_ask(5.0, ["ECHO", "1"]) == (0, b"1")
    stage.redis.client_kill_filter(_id=str(waiter._tokens.link.id))
    assert waiter.wait_and_ask(1.0, ["ECHO", "2"]) == (None, None)
    stage.redis.rpush(stage.keys.wake("high"), "1")
    assert waiter.wait_and_ask(5.0, ["ECHO", "3"]) == (0, b"3")


# --- who holds what --------------------------------------------------------------------------


class Held:
    """A session with a journal, on a queue with messages."""

    def __init__(self, stage: Stage, journal: Journal, count: int) -> None:
        self.stage, self.broker, self.journal = stage, stage.app.broker, journal
        journal.session = new_session()
        self._open(journal.session)
        bounds = operations.DeadBounds()
        self.session = Session(self.broker, journal, ["mid"], lease_s=30, bounds=bounds)
        stage.send_many([stage.call("nap")] * count)

    def _open(self, name: str) -> None:
        self.broker.call(operations.open(self.stage.keys, [name], ["mid"], 30_000))

    def end(self) -> None:
        """Others end the session, as if its lease had run out."""
        name = self.journal.session
        self.broker.call(
            operations.recover_session(self.stage.keys, name, ["mid"], owner=True, others="back")
        )

    def ready(self) -> list[bytes]:
        return [m[25:51] for m in self.stage.redis.lrange(self.stage.keys.ready("mid"), 0, -1)]


def test_an_old_delivery_settles_nothing_of_a_new_one(stage: Stage, journal: Journal) -> None:
    """The same message, handed back by others and fetched again by the same child."""
    held = Held(stage, journal, 1)
    (old,) = held.session.exchange(1)
    held.end()
    assert held.session.exchange() == []  # gone: goes on under a fresh id
    assert not held.session.is_mine(old)
    (new,) = held.session.exchange(1)
    assert new.id == old.id
    assert held.session.is_mine(new)
    assert not held.session.is_mine(old)
    held.session.ack([old])
    held.session.hand_back([old])
    held.session.settle(settlements.Retry(old.id, "mid", 1, 0), old)
    assert not held.session.owes
    assert held.session.exchange() == []
    assert list(stage.in_flight()) == [new.id.decode()]
    held.session.ack([new])
    held.session.exchange()
    assert not stage.in_flight()
    assert not held.ready()


def test_what_is_owed_survives_a_lost_reply_and_a_lost_session(
    stage: Stage, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(stage, journal, 4)
    first = held.session.exchange(2)
    old = journal.session
    for job in first:
        held.session.ack([job])
    _lose_the_next_reply(held.broker, monkeypatch)
    more = held.session.exchange(2)  # settled and fetched, though nobody was told so
    assert journal.session != old
    assert journal.fresh == ""
    assert len(more) == 2
    assert all(held.session.is_mine(d) for d in more)
    assert held.session.owes
    held.session.exchange()
    assert not held.session.owes
    assert stage.look().stats["done"] == 2
    assert stage.flying(old) == {}
    held.session.hand_back(more)
    held.session.exchange()
    assert held.ready() == [d.id for d in more]
    assert held.session.room == journal.slots
    assert list(journal.entries()) == []


def test_what_has_no_right_id_is_buried_also_after_a_lost_reply(
    stage: Stage, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(stage, journal, 1)
    (job,) = held.session.exchange(1)
    stage.redis.rpush(stage.keys.ready("mid"), job.message[:25] + b"z" * 26 + job.message[51:])
    held.session.ack([job])
    _lose_the_next_reply(held.broker, monkeypatch)
    assert held.session.exchange(5) == []
    while held.session.owes:
        assert held.session.exchange() == []
    assert not stage.in_flight()
    assert stage.look().stats == {"done": 1, "dead": 1}
    assert stage.dead()["z" * 26]["kind"] == "bad_message"


def test_a_link_that_somebody_else_lost_makes_a_session_look_at_what_it_holds(
    stage: Stage, journal: Journal
) -> None:
    """After a restart that forgot, the server may believe that we hold what we never saw."""
    held = Held(stage, journal, 2)
    assert held.session.exchange() == []
    unseen = held.broker.call(
        operations.settle_and_fetch(stage.keys, journal.session, ["mid"], want=2)
    ).messages
    assert held.session.exchange() == []  # nothing tells it
    stage.redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(ServerUnavailable):  # a task that asks for something of its own
        held.broker.call(stats.workers(stage.keys))
    assert [d.message for d in held.session.exchange()] == unseen
    assert held.session.exchange() == []


def _lose_the_next_reply(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    link = broker._links[-1]
    reply = link.reply

    def lost() -> None:
        monkeypatch.undo()
        reply()
        link.close()
        raise TimeoutError("lost on the way")

    monkeypatch.setattr(type(link), "reply", lambda self: lost())


def test_a_message_of_another_queue_is_buried_not_run(stage: Stage, journal: Journal) -> None:
    held = Held(stage, journal, 0)
    (id,) = new_ids(1)
    contract = stage.app.find("nap").contract.id
    message = encode_message(id=id, contract=contract, queue="low", options=b"-", body=b"{}")
    stage.app.broker.enqueue(
        [OutgoingMessage(id, Destination("mid", contract), message)], lambda _: b"{}"
    )
    assert held.session.exchange(5) == []
    held.session.exchange()
    assert stage.dead()[id]["kind"] == "bad_message"
    assert not stage.in_flight()


def test_each_settlement_is_made_with_the_next_exchange(stage: Stage, journal: Journal) -> None:
    held = Held(stage, journal, 3)
    one, two, three = held.session.exchange(3)
    held.session.ack([one])
    held.session.settle(settlements.Retry(two.id, "mid", 1, 60_000), two)
    held.session.hand_back([three])
    held.session.exchange()
    assert stage.look().stats == {"done": 1, "retried": 1}
    assert held.ready() == [three.id]
    assert held.session.room == journal.slots


def test_what_a_child_looked_for_while_it_waited_is_held(stage: Stage, journal: Journal) -> None:
    held = Held(stage, journal, 3)
    look = held.session.look(2)
    assert look
    jobs = held.session.looked(_made(stage, look))
    assert jobs
    assert len(jobs) == 2
    assert all(map(held.session.is_mine, jobs))
    assert held.session.look(2), "what is held may run elsewhere meanwhile"
    held.session.ack(jobs)
    assert held.session.look(2) is None, "what is owed comes first"
    held.session.exchange()
    assert held.session.look(2)
    held.end()
    assert held.session.looked(_made(stage, look)) is None
    assert held.session.exchange() == []
    again = held.session.look(2)
    assert again
    assert again != look, "it goes on under a fresh id"


def test_a_look_whose_answer_was_lost_strands_nothing(stage: Stage, journal: Journal) -> None:
    held = Held(stage, journal, 2)
    look = held.session.look(2)
    assert look
    messages = _made(stage, look)[2]
    assert held.session.looked(None) is None
    assert held.session.look(2) is None, "first it is to find out what became of it"
    assert [job.message for job in held.session.exchange()] == messages


def test_a_look_that_the_server_refused_is_asked_again(stage: Stage, journal: Journal) -> None:
    held, before = Held(stage, journal, 2), journal.session
    look = held.session.look(2)
    assert look
    assert held.session.looked(Refused("ERR something half done")) is None
    assert held.session.look(2) is None, "first it is to find out what became of it"
    assert len(held.session.exchange(2)) == 2
    assert journal.session != before


def test_a_server_that_does_not_know_the_script_is_given_it(stage: Stage, journal: Journal) -> None:
    session = Held(stage, journal, 2).session
    first = session.look(1)
    assert first
    assert first[0] == "EVAL"
    assert session.looked(_made(stage, first))
    again = session.look(1)
    assert again
    assert again[0] == "EVALSHA"
    stage.redis.script_flush()
    with pytest.raises(Refused, match="NOSCRIPT") as refused:
        _made(stage, again)
    assert session.looked(refused.value) is None
    assert session.look(1) == first, "nothing was done"
    assert session.looked(_made(stage, first))


def test_what_a_child_gets_when_it_may_begin_nothing_goes_back_in_order(
    stage: Stage, journal: Journal, wait_until: WaitUntil
) -> None:
    """Its lease ended while it waited, as when its supervisor stands still."""
    journal.session, ids = new_session(), list[str]()
    stage.ask(operations.open(stage.keys, [journal.session], ["mid"], 30_000))
    child = Child(stage.app, journal, Plan(["mid"], 1, 30.0, operations.DEFAULT_BOUNDS))

    def fence() -> None:
        wait_until(lambda: journal.phase == Phase.IDLE)
        journal.set_lease_deadline(0.0)
        ids.extend(stage.send_many([stage.call("nap")] * 4))
        wait_until(lambda: stage.flying(journal.session) == {})
        child.stop()

    other = threading.Thread(target=fence)
    other.start()
    child.run()
    other.join()
    waiting = stage.redis.lrange(stage.keys.ready("mid"), 0, -1)
    assert [message[25:51].decode() for message in waiting] == ids
    assert not stage.effects("start")


def _made(stage: Stage, look: Sequence[Argument]) -> Any:
    """What the server answers to it."""
    with closing(stage.app.broker.link()) as link:
        return link.ask(look)
