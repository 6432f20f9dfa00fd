"""The published state machine is the one that the scripts make: no arrow too many, none too few."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tests.broker.states import DOCUMENT, DRAWN, PICTURE, MoveChecker, draw, picture, table
from typedq.broker import cron, operations, parking, search, settlements, stats
from typedq.broker.operations import DEFAULT_BOUNDS, DeadBounds
from typedq.message import Destination, OutgoingMessage, encode_message, new_ids

if TYPE_CHECKING:
    import pytest

    from tests.broker.conftest import Place

MOVE_NO_MESSAGE = {"wake_worker", "delayed_stats", "find", "open", "renew", "survey", "switch_cron"}
MINE = "_broadcast.mine"


class Walk:
    """Takes messages along every arrow."""

    def __init__(self, place: Place) -> None:
        self.place, self.keys, self.seq = place, place.keys, 0
        self.schemas = {place.contract: b"{}"}
        self.group = parking.Group("mid", place.contract)
        self.watch = place.watch = MoveChecker(place.redis, place.keys)

    def enqueue(self, count: int = 1, delay_ms: int | None = None, **more: Any) -> list[bytes]:
        batch = [self.place.outgoing(delay_ms=delay_ms, **more) for _ in range(count)]
        self.seq += 1
        self.place(operations.enqueue(self.keys, "producer", self.seq, batch, self.schemas))
        return [out.id.encode() for out in batch]

    def hold(self, session: str, count: int = 1, **more: Any) -> list[bytes]:
        """New messages in the hands of a new session."""
        ids = self.enqueue(count, **more)
        self.place.open(session)
        assert len(self.place.fetch(session, count)) == count
        return ids

    def recover(
        self,
        session: str,
        *fates: tuple[bytes, operations.Fate],
        limit: int = 9,
        serves: bool = True,
    ) -> None:
        queues = self.place.queues if serves else ()
        move = operations.recover_session(
            self.keys,
            session,
            queues,
            owner=True,
            fates=dict(fates),
            others="back",
            crashes=limit,
            losses=limit,
        )
        self.place(move)

    def empty(self) -> None:
        while self.place(stats.purge(self.keys, "mid")):
            pass

    def due(self) -> None:
        """Time passes by hand."""
        key = self.keys.delayed("mid")
        for message in self.place.redis.zrange(key, 0, -1):
            self.place.redis.zadd(key, {message: 1})

    # --- the walks -------------------------------------------------------------------------

    def in_the_queue(self) -> None:
        place = self.place
        self.enqueue(3, delay_ms=60_000)
        place(stats.purge(self.keys, "mid"))
        self.enqueue(3, delay_ms=60_000)
        self.due()
        place.tick()
        self.empty()
        self.enqueue(3, delay_ms=60_000)
        self.due()
        place.open("looks")
        place.work("looks", 1)
        self.recover("looks")
        self.empty()
        place.redis.hset(self.keys.cron, "entry", 1)
        firing = cron.Firing("entry", 2, place.outgoing())
        place(cron.cron(self.keys, [firing], self.schemas))
        self.empty()

    def settled(self) -> None:
        a, b, c, d, e = self.hold("settles", 5)
        contract = self.place.contract.encode()
        self.place.work("settles", 0, settlements.Ack(contract, [a]))
        self.place.work("settles", 0, settlements.Retry(b, "mid", 1, 0))
        self.place.work("settles", 0, settlements.Retry(c, "mid", 1, 60_000))
        self.place.work("settles", 0, settlements.Release(d, "mid"))
        self.place.work("settles", 0, settlements.DeadLetter(e, b"{}"))
        self.place(stats.requeue(self.keys, ["mid"], [e.decode()]))
        self.empty()
        self.hold("fresh")
        self.place(operations.replace_session(self.keys, "fresh", "fresher", ["mid"], 30_000))
        self.recover("fresher")
        self.empty()

    def cancel(self, *ids: bytes) -> None:
        places = search.Places(["settles", "fresh", "dies"], ["mid"], [self.group])
        for id in ids:
            assert self.place(search.cancel(self.keys, id.decode(), places)).found

    def cancelled(self) -> None:
        self.cancel(*self.enqueue(), *self.enqueue(1, 60_000))
        self.park("parks", ids := self.hold("parks"))
        self.cancel(*ids)
        a, b, c, d = ids = self.hold("settles", 4)
        self.cancel(*ids)
        self.place.work("settles", 0, settlements.Release(a, "mid"))
        self.place.work("settles", 0, settlements.Retry(b, "mid", 1, 60_000))
        self.place.work("settles", 0, settlements.Cancel(c))
        self.park("settles", [d])
        self.cancel(*self.hold("dies"))
        self.recover("dies")

    def expired(self) -> None:
        (a,) = self.hold("settles", expires_ms=1)
        self.place.work("settles", 0, settlements.Expire(a))
        self.park("parks", self.hold("parks", expires_ms=-1))
        self.place(parking.release(self.keys, self.group, "dead"))

    def died(self) -> None:
        a, _ = self.hold("ends", 2)
        self.recover("ends", (a, "done"))
        self.empty()
        a, b, _ = self.hold("dies", 3)
        self.recover("dies", (a, "crash"), (b, "lost"))
        self.empty()
        a, b = self.hold("kills", 2)
        self.recover("kills", (a, "crash"), (b, "lost"), limit=1)
        self.hold("strange")
        self.recover("strange", serves=False)
        dead = [entry.id for entry in self.place(stats.list_dead(self.keys))]
        self.place(stats.delete(self.keys, dead))
        for session in ("one", "another"):
            (a,) = self.hold(session)
            bury = settlements.settle_and_fetch(
                self.keys,
                session,
                ["mid"],
                settle=[settlements.DeadLetter(a, b"{}")],
                bounds=DeadBounds(count=1),
            )
            self.place(bury)

    def park(self, session: str, ids: list[bytes]) -> None:
        parked = [parking.Parked(self.group, id) for id in ids]
        self.place(parking.park(self.keys, session, parked, DEFAULT_BOUNDS))

    def parked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.park("parks", self.hold("parks", 3))
        self.place(parking.unpark(self.keys, "parks", self.group, 1))
        self.place(parking.release(self.keys, self.group, "ready"))
        self.empty()
        for fate in ("dead", "purged"):
            self.park("parks", self.hold("parks"))
            self.place(parking.release(self.keys, self.group, fate))
        monkeypatch.setattr(parking, "MAX_GROUPS", 0)
        self.park("parks", self.hold("parks"))

    def broadcast(self) -> None:
        place, queues = self.place, [MINE]
        old = f"{place.redis.time()[0] * 1000 - cron.BROADCAST_TTL_MS - 1000}-0"
        place.redis.xadd(self.keys.broadcasts, {"n": 1, "m": self.told().message}, id=old)
        self.watch.refresh()
        place(operations.open(self.keys, ["hears"], queues, 30_000))
        heard = cron.BroadcastCursor(old)
        for number in range(1, 6):
            place(cron.broadcast(self.keys, "told", number, [self.told()], self.schemas))
            heard = place(cron.deliver(self.keys, MINE, heard))
            if number == 1:
                place(cron.abandon(self.keys, MINE))
                continue
            worked = place(settlements.settle_and_fetch(self.keys, "hears", queues, max_messages=1))
            id = worked.messages[0][25:51]
            if number == 2:
                settle = [settlements.Retry(id, MINE, 1, 60_000)]
                place(settlements.settle_and_fetch(self.keys, "hears", queues, settle=settle))
                place(cron.abandon(self.keys, MINE))
            elif number == 3:
                place(
                    settlements.settle_and_fetch(
                        self.keys, "hears", queues, settle=[settlements.Discard(id)]
                    )
                )
        self.recover("hears")

    def told(self) -> OutgoingMessage:
        (id,) = new_ids(1)
        message = encode_message(
            id=id, contract=self.place.contract, queue="_broadcast", options=b"-", body=b"{}"
        )
        return OutgoingMessage(
            id,
            Destination("_broadcast", self.place.contract, broadcast_to_all=True),
            message,
        )


def test_table_holds_exactly_the_transitions_of_the_operations(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(place)
    walk.in_the_queue()
    walk.settled()
    walk.cancelled()
    walk.expired()
    walk.died()
    walk.parked(monkeypatch)
    walk.broadcast()
    rows = table()
    assert len(set(rows)) == len(rows)
    assert set(rows) - walk.watch.seen == set(), "the table says what no move was seen to do"


def test_every_script_that_moves_messages_is_in_the_table() -> None:
    lua = files("typedq.broker") / "lua"
    scripts = {entry.name.removesuffix(".lua") for entry in lua.iterdir() if entry.is_file()}
    moving = {row.move for row in table()}
    assert moving - scripts == {
        "abandon",
        "dead_letter",
    }  # a plain command, and a part of several scripts
    assert scripts - moving == MOVE_NO_MESSAGE


def test_the_document_is_drawn_from_the_table() -> None:
    drawn = DRAWN.search(DOCUMENT.read_text("utf-8"))
    assert drawn is not None
    assert drawn[0] == draw(), "run python -m tests.broker.states"
    assert PICTURE.read_text("utf-8") == picture(), "run python -m tests.broker.states"
