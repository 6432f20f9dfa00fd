"""One message for each unique key and time: decided by the server, whoever asks and how often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.faults.proxy import Proxy
from tests.faults.topologies import port_of
from typedq import Receipt, TypedQ
from typedq.broker import Operation, operations, stats
from typedq.broker.script import script
from typedq.embedded import OwnServer
from typedq.errors import ServerRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.broker.conftest import Place
    from tests.conftest import WaitUntil
    from typedq.task import Task


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    app = TypedQ(namespace, url=server.url, queues=["high", "mid"])
    yield app
    app.close()


@pytest.fixture
def note(app: TypedQ) -> Task[[str], None]:
    @app.task
    def note(text: str) -> None: ...

    return note


def test_1_000_concurrent_enqueues_over_lost_replies_admit_one(namespace: str) -> None:
    """The first reply of all is lost, too: whoever was accepted asks again, and hears the same."""
    with OwnServer(tcp=True) as server, Proxy(port_of(server)) as proxy:
        app = TypedQ(namespace, url=proxy.url, queues=["high", "mid"])

        @app.task
        def note(text: str) -> None: ...

        note.enqueue("publishes the contract")
        sender, gate = note.options(unique="ada", unique_for=60), threading.Barrier(8)
        lose_reply = partial(proxy.drop_reply_to, script("enqueue").sha)

        def enqueue(_: int) -> list[Receipt]:
            gate.wait(20)
            receipts = list[Receipt]()
            for number in range(125):
                if number % 12 == 0:
                    lose_reply()
                receipts.append(sender.enqueue("x"))
            return receipts

        with ThreadPoolExecutor(8) as pool:
            receipts = [receipt for found in pool.map(enqueue, range(8)) for receipt in found]
        (first,) = [receipt for receipt in receipts if not receipt.duplicate]
        assert len(receipts) == 1_000
        assert proxy.dropped >= 8
        assert {receipt.id for receipt in receipts} == {first.id}
        assert app.get(first.id).state == "ready"
        assert app.broker.call(survey(app)).queues["mid"].ready == 2
        app.close()


def survey(app: TypedQ) -> Operation[stats.Stats]:
    return stats.survey(app.broker.keys, ["high", "mid"], [])


def test_keys_are_of_one_task_and_end(
    app: TypedQ, note: Task[[str], None], wait_until: WaitUntil
) -> None:
    @app.task
    def other(text: str) -> None: ...

    assert not note.options(unique="a", unique_for=60).enqueue("x").duplicate
    assert not note.options(unique="b", unique_for=60).enqueue("x").duplicate
    assert not other.options(unique="a", unique_for=60).enqueue("x").duplicate
    assert note.options(unique="a", unique_for=0.001).enqueue("y").duplicate
    brief = note.options(unique="brief", unique_for=0.05)
    first = brief.enqueue("x")
    receipts = list[Receipt]()

    def is_accepted() -> bool:
        receipts.append(brief.enqueue("y"))
        return not receipts[-1].duplicate

    wait_until(is_accepted)
    assert receipts[-1].id != first.id


def test_of_many_calls_the_first_of_each_key_is_accepted(
    app: TypedQ, note: Task[[str], None]
) -> None:
    once = note.options(unique="a", unique_for=60)
    later = note.options(unique="b", unique_for=60, delay=60)
    calls = [once.call("1"), note.call("2"), once.call("3"), once.call("4"), later.call("5")]
    receipts = app.enqueue_many([*calls, later.call("6"), note.call("7")])
    assert [r.duplicate for r in receipts] == [False, False, True, True, False, True, False]
    assert receipts[2].id == receipts[3].id == receipts[0].id
    assert receipts[5].id == receipts[4].id
    assert app.get(receipts[4].id).state == "delayed"
    counts = app.broker.call(survey(app)).counts
    assert counts[note.contract.id] == 4


def test_a_resend_says_the_same_also_when_the_key_has_ended(place: Place) -> None:
    batch = [place.outgoing(unique=("t:k", 60_000)) for _ in range(3)]
    schemas = {place.contract: b"{}"}
    send = operations.enqueue(place.keys, "producer", 1, batch, schemas)
    first = {batch[1].id: batch[0].id, batch[2].id: batch[0].id}
    assert place(send) == operations.Accepted("accepted", duplicates=first)
    assert place(send) == operations.Accepted("seen", duplicates=first)
    place.redis.delete(place.keys.unique("t:k"))
    assert place(send) == operations.Accepted("seen", duplicates=first)
    assert place.ready() == [batch[0].id]
    assert place.redis.get(place.keys.unique("t:k")) is None
    plain = operations.enqueue(place.keys, "producer", 2, [place.outgoing()], {})
    assert [place(plain).status for _ in range(2)] == ["accepted", "seen"]
    assert place(send) == operations.Accepted("seen"), "an older number"


def test_an_unknown_contract_takes_no_key(place: Place) -> None:
    batch = [place.outgoing(unique=("t:k", 60_000))]
    send = operations.enqueue(place.keys, "producer", 1, batch, {})
    assert place(send).status == "unknown"
    assert not place.redis.exists(place.keys.unique("t:k"))


def test_a_spoiled_key_refuses_the_whole_batch(place: Place) -> None:
    place.redis.rpush(place.keys.unique("t:k"), "x")
    batch = [place.outgoing(), place.outgoing(unique=("t:k", 60_000))]
    send = operations.enqueue(place.keys, "producer", 1, batch, {place.contract: b"{}"})
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        place(send)
    assert not place.ready()


def test_inside_testing_the_clock_of_the_queue_counts(app: TypedQ, note: Task[[str], None]) -> None:
    sender = note.options(unique="a", unique_for=60)
    with app.testing() as outbox:
        first, second = sender.enqueue("1"), sender.enqueue("2")
        assert (first.duplicate, second.duplicate, second.id) == (False, True, first.id)
        assert outbox.calls() == [sender.call("1")]
        assert outbox.run() == 1
        assert sender.enqueue("3").duplicate
        outbox.advance(61)
        assert not sender.enqueue("4").duplicate
