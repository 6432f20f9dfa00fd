"""A key of another type, whichever it is, stops a move or not; no message is lost or doubled by it.

Each move is made once for each of its keys, with that key replaced by what another program might
have put there, and the key is put back afterwards. What a move settles may be settled or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker.conftest import CONTRACT, Place
from typedq.broker import Operation, cron, operations, parking, settlements, stats
from typedq.broker.parking import Group, Parked
from typedq.errors import ServerRefused

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

GROUP = Group("mid", CONTRACT)
WHY = b'{"kind":"failed","error":"x"}'


class Odd(Place):
    """A place where keys may be of another type for a while."""

    def everywhere_and_dead(self) -> Counter[str]:
        letters = self.redis.hkeys(self.keys.dead_letters)
        return self.everywhere() + Counter(id.decode() for id in letters)

    def try_with(self, key: str, move: Operation[Any]) -> bool:
        """Make a move while this key is spoiled; whether the server let it."""
        was, kind = self.redis.dump(key), self.redis.type(key)
        self.redis.delete(key)
        self.redis.set(key, "x") if kind != b"string" else self.redis.rpush(key, "x")
        try:
            self(move)
        except ServerRefused as error:
            if "a key has another type; run typedq doctor (WRONGTYPE" not in str(error):
                raise
            return False
        finally:
            self.redis.delete(key)
            if was:
                self.redis.restore(key, 0, was)
        return True


@pytest.fixture
def place(server: OwnServer, namespace: str) -> Iterator[Odd]:
    here = Odd(server, namespace)
    yield here
    here.close()


def fetched(place: Odd, count: int = 2) -> list[bytes]:
    place.fill(count)
    place.open("s")
    return [id.encode() for id in place.fetch("s", count)]


def put(place: Odd) -> Operation[Any]:
    place.fill(1)  # publishes the contract
    batch = [place.outgoing(queue, delay_ms=ms) for queue in place.queues for ms in (None, 60_000)]
    return operations.enqueue(place.keys, "producer", 1, batch, {})


def fetch(place: Odd) -> Operation[Any]:
    for queue in place.queues:
        place.fill(2, queue)
        place.fill(1, queue, delay_ms=1)
    place.open("s")
    return settlements.settle_and_fetch(place.keys, "s", place.queues, max_messages=9)


def settle(place: Odd, *settle: Callable[[bytes], settlements.Settlement]) -> Operation[Any]:
    ids = fetched(place, len(settle))
    owed = [how(id) for how, id in zip(settle, ids, strict=True)]
    return settlements.settle_and_fetch(place.keys, "s", place.queues, settle=owed)


def park(place: Odd) -> Operation[Any]:
    ids = fetched(place)
    return parking.park(place.keys, "s", [Parked(GROUP, id) for id in ids], operations.DeadBounds())


def parked(place: Odd) -> None:
    place(park(place))


def unpark(place: Odd) -> Operation[Any]:
    parked(place)
    return parking.unpark(place.keys, "s", GROUP, 2)


def release(place: Odd, fate: Any) -> Operation[Any]:
    parked(place)
    return parking.release(place.keys, GROUP, fate)


def reap(place: Odd) -> Operation[Any]:
    first, second, *_ = fetched(place, 4)
    fates: Any = {first: "crash", second: "back"}
    return operations.recover_session(
        place.keys, "s", place.queues, owner=True, fates=fates, losses=1
    )


def rotate(place: Odd) -> Operation[Any]:
    fetched(place)
    return operations.replace_session(place.keys, "s", "fresh", place.queues, 30_000)


def tick(place: Odd) -> Operation[Any]:
    place.fill(3, delay_ms=1)
    return operations.tick(place.keys, place.queues, grace_ms=1000, lease_ms=1000)


def revive(place: Odd) -> Operation[Any]:
    ids = fetched(place)
    place.work("s", 0, *(settlements.DeadLetter(id, WHY) for id in ids))
    return stats.requeue(place.keys, place.queues, [id.decode() for id in ids])


SCENES: dict[str, Callable[[Odd], Operation[Any]]] = {
    "fetch": fetch,
    "bury": lambda place: settle(place, *[lambda one: settlements.DeadLetter(one, WHY)] * 2),
    "again": lambda place: settle(
        place,
        lambda one: settlements.Retry(one, "mid", 1, 0),
        lambda one: settlements.Retry(one, "mid", 1, 60_000),
    ),
    "back": lambda place: settle(place, *[lambda one: settlements.Release(one, "mid")] * 2),
    "park": park,
    "unpark": unpark,
    "release, ready": lambda place: release(place, "ready"),
    "release, dead": lambda place: release(place, "dead"),
    "reap": reap,
    "rotate": rotate,
    "tick": tick,
    "revive": revive,
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_no_message_is_lost_or_doubled_when_a_key_is_spoiled(
    scene: Callable[[Odd], Operation[Any]], place: Odd
) -> None:
    for at in range(len(scene(place).keys)):
        place.redis.delete(*place.redis.keys(f"{place.keys.tag}:*"))
        move = scene(place)
        if scene is rotate and ":flight:" in move.keys[at]:
            continue  # what it keeps would be gone already
        before = place.everywhere_and_dead()
        assert before
        assert set(before.values()) == {1}
        place.try_with(move.keys[at], move)
        assert place.everywhere_and_dead() == before, move.keys[at]


def test_a_batch_is_accepted_as_a_whole_or_not_at_all(place: Odd) -> None:
    accepted = []
    for key in put(place).keys:
        place.redis.delete(*place.redis.keys(f"{place.keys.tag}:*"))
        move = put(place)
        before = place.everywhere()
        if place.try_with(key, move):
            accepted.append(key.removeprefix(f"{place.keys.tag}:"))
            more = len(place.everywhere() - before)
            lies_there = key.startswith((place.keys.ready(""), place.keys.delayed("")))
            assert more == 6 or lies_there
        elif not key.startswith((place.keys.ready(""), place.keys.delayed(""))):
            assert place.everywhere() == before, key
    # Whom to wake, and how many wait, is not worth a message.
    assert {"counts", "wake_supervisors", "wake:high", "wake:mid", "wake:low"} <= set(accepted)


def test_a_slot_that_could_not_be_fired_is_fired_later(place: Odd) -> None:
    out = place.outgoing()
    place(cron.cron(place.keys, [cron.Firing("entry")], {CONTRACT: b"{}"}))
    place.redis.hset(place.keys.cron, "entry", 1)
    move = cron.cron(place.keys, [cron.Firing("entry", 1000, out)], {})
    for key in move.keys:
        if not place.try_with(key, move):
            assert not place.everywhere(), key
        else:
            with suppress(ServerRefused):
                place(move)
            assert len(place.everywhere()) <= 1
            place.redis.delete(place.keys.ready("mid"))
            place.redis.hset(place.keys.cron, "entry", 1)
    assert place(move).slots == [(1000, True)]


@pytest.mark.parametrize("garbage", ["x", "nan", "1e400", "", "-1", "\xff"])
def test_spoiled_producer_or_count_key_blocks_no_message(place: Odd, garbage: str) -> None:
    place.fill(1)
    for sequence in place.redis.scan_iter(place.keys.sequence("*")):
        place.redis.set(sequence, garbage)
    place.redis.hset(place.keys.counts, CONTRACT, garbage)
    ids = place.fill(2)
    assert set(ids) <= set(place.ready())
