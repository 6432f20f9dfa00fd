"""enqueue: all or none, once, in order, and somebody is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from typedq.broker import OutgoingMessage, operations
from typedq.errors import ServerRefused
from typedq.message import decode_message, new_ids

if TYPE_CHECKING:
    from tests.broker.conftest import Place


OTHER = "u@0123456789abcdef"


def send(
    place: Place, seq: int, batch: list[OutgoingMessage], *published: str
) -> operations.Accepted:
    """The move itself under a producer id of the test's, without what the client does around it."""
    schemas = {contract: place.document(contract) for contract in published}
    return place(operations.enqueue(place.keys, "producer", seq, batch, schemas))


def test_a_batch_goes_to_its_queues_in_order(place: Place) -> None:
    batch = [place.outgoing(queue) for queue in ("mid", "low", "mid", "high", "mid")]
    place.put(*batch)
    for queue in place.queues:
        assert place.ready(queue) == [out.id for out in batch if out.destination.queue == queue]
    assert place.waiting() == 5
    assert place.tokens() == "high mid low"
    assert not place.supervisors_token()


def test_the_message_is_stored_as_it_was_encoded(place: Place) -> None:
    out = place.outgoing(body=b'{"a":"b c \xc3\xbc \x00\r\n"}')
    place.put(out)
    assert place.redis.lrange(place.keys.ready("mid"), 0, -1) == [out.message]


def test_an_unknown_contract_is_refused_and_nothing_is_done(place: Place) -> None:
    place.fill(1)
    before = place.snapshot()
    batch = [place.outgoing(), place.outgoing(contract=OTHER), place.outgoing(delay_ms=9)]
    assert send(place, 1, batch) == operations.Accepted("unknown", (OTHER,))
    assert place.snapshot() == before
    assert send(place, 1, batch, OTHER) == operations.Accepted("accepted")
    assert place.redis.hget(place.keys.contracts, OTHER) == place.document(OTHER)
    assert place.waiting(OTHER) == 1
    assert place.waiting() == 3


@pytest.mark.parametrize("delay_ms", [None, 60_000])
@pytest.mark.parametrize("others", [0, 2])
def test_a_spoiled_key_refuses_the_whole_batch(
    place: Place, others: int, delay_ms: int | None
) -> None:
    keys = place.keys
    place.fill(1)
    place.redis.set((keys.ready if delay_ms is None else keys.delayed)("low"), "spoiled")
    before = place.snapshot()
    batch = [*(place.outgoing() for _ in range(others)), place.outgoing("low", delay_ms=delay_ms)]
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        send(place, 1, batch)
    assert place.snapshot() == before


def test_a_published_schema_is_never_overwritten(place: Place) -> None:
    place.fill(1)
    place(
        operations.enqueue(
            place.keys, "producer", 1, [place.outgoing()], {place.contract: b"other"}
        )
    )
    assert place.redis.hget(place.keys.contracts, place.contract) == place.document(place.contract)


def test_a_resend_changes_nothing(place: Place) -> None:
    batch = [place.outgoing(), place.outgoing(delay_ms=60_000)]
    assert send(place, 1, batch, place.contract).status == "accepted"
    before = place.snapshot()
    assert send(place, 1, batch).status == "seen"
    assert place.snapshot() == before
    assert send(place, 2, [place.outgoing()]).status == "accepted"
    assert send(place, 1, batch).status == "seen", "late, after the next one"
    assert place.waiting() == 3


def test_a_producer_id_expires(place: Place) -> None:
    send(place, 1, [place.outgoing()], place.contract)
    assert 3_500 < place.redis.ttl(place.keys.sequence("producer")) <= operations.SEQUENCE_TTL_S


def test_a_producer_id_that_somebody_else_used_is_never_taken_for_success(place: Place) -> None:
    place.fill(1)
    [producer] = place.broker._pool._idle
    place(operations.enqueue(place.keys, producer.id, 7, [place.outgoing()], {}))
    used = producer.id
    out = place.outgoing()
    place.put(out)
    assert place.ready()[-1] == out.id
    assert producer.id != used


def test_a_delay_is_counted_on_the_servers_clock(place: Place) -> None:
    before = time.time_ns() // 1_000_000
    place.fill(1, delay_ms=60_000)
    [(message, due)] = place.redis.zrange(place.keys.delayed("mid"), 0, -1, withscores=True)
    assert before + 60_000 <= due <= time.time_ns() // 1_000_000 + 60_000
    assert decode_message(message).due_ms == due
    assert place.waiting() == 1
    assert place.tokens() == ""


@pytest.mark.parametrize(
    ("delay_ms", "eta_ms"), [(0, None), (-5, None), (None, 0), (None, 1_700_000_000_000)]
)
def test_what_is_due_already_is_ready(
    place: Place, delay_ms: int | None, eta_ms: int | None
) -> None:
    ids = place.fill(2, delay_ms=delay_ms, eta_ms=eta_ms)
    assert place.ready() == ids
    assert place.tokens() == "mid"


def test_an_eta_is_an_instant(place: Place) -> None:
    eta = 1_000 * int(time.time()) + 100_000
    ids = place.fill(1, eta_ms=eta)
    assert place.delayed() == ids
    assert (
        place.redis.zscore(
            place.keys.delayed("mid"), *place.redis.zrange(place.keys.delayed("mid"), 0, -1)
        )
        == eta
    )


def test_what_is_due_together_keeps_its_order(place: Place) -> None:
    eta = 1_000 * int(time.time()) + 100_000
    ids = place.fill(300, eta_ms=eta)
    assert place.delayed() == ids


def test_supervisors_are_woken_only_by_what_is_next(place: Place) -> None:
    def woken(delay_ms: int, queue: str = "mid") -> bool:
        place.redis.delete(place.keys.supervisors)
        place.fill(1, queue, delay_ms=delay_ms)
        return place.supervisors_token()

    assert woken(50_000)
    assert not woken(60_000)
    assert woken(40_000)
    assert woken(90_000, "low"), "each queue has its own next"


def test_one_token_at_most(place: Place) -> None:
    for _ in range(3):
        place.fill(2)
    place.fill(1, delay_ms=9_000)
    place.fill(1, delay_ms=8_000)
    assert place.token() == 1
    assert place.redis.llen(place.keys.supervisors) == 1


def test_ten_thousand_messages_in_one_call(place: Place) -> None:
    ids = place.fill(10_000)
    assert place.ready() == ids
    later = place.fill(10_000, delay_ms=90_000)
    assert place.delayed() == later
    assert place.waiting() == 20_000


def test_an_empty_batch_is_harmless(place: Place) -> None:
    place.put()
    assert place.names() <= {f"sequence:{producer.id}" for producer in place.broker._pool._idle}


def test_ids_name_their_time_and_rise() -> None:
    before = time.time_ns() // 1_000_000
    ids = new_ids(1_000)
    assert ids == sorted(set(ids))
    assert before <= int(ids[0][:11], 16) <= time.time_ns() // 1_000_000
