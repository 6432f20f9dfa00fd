"""Every move in any order, against a model in memory: one place per id, always.

The model keeps where each id is and in which order a queue holds it. Time is not waited for: what
is delayed becomes due by hand, and a lease ends by hand.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.broker.states import MoveChecker
from typedq.broker import OutgoingMessage, operations, parking, search, settlements, stats
from typedq.broker.settlements import Fetched
from typedq.message import decode_message, uncancelled

if TYPE_CHECKING:
    from tests.broker.conftest import Place
    from typedq.embedded import OwnServer

QUEUES = ("high", "mid", "low")
CONTRACTS = ("a@0123456789abcdef", "b@0123456789abcdef")
FATES: tuple[operations.Fate, ...] = ("done", "crash", "lost", "back")
STATIC = {
    *("sessions", "session_queues", "pardoned", "last_tick", "contracts", "counts", "stats"),
    *("workers", "dead", "dead_letters", "wake_supervisors", "cancellations"),
}


class Mail:
    """What the model knows of one message."""

    def __init__(self, contract: str, queue: str, expires_ms: int | None = None) -> None:
        self.contract, self.queue, self.expires_ms = contract, queue, expires_ms
        self.until: int = 0
        self.crashes = self.losses = self.attempts = 0
        self.cancelled = False

    @property
    def alone(self) -> bool:
        return self.crashes > 0 or self.losses > 1


class Moves(RuleBasedStateMachine):
    """Rules make a move on the server and on the model, and compare the answers."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.mail: dict[str, Mail] = {}
        self.ready: dict[str, list[str]] = {queue: [] for queue in QUEUES}
        self.delayed: dict[str, list[str]] = {queue: [] for queue in QUEUES}
        self.parked: dict[parking.Group, list[str]] = {}
        self.flight: dict[str, list[str]] = {}
        self.dead: list[str] = []
        self.ended: Counter[str] = Counter()
        self.names = (f"s{n}" for n in range(10_000))
        self.gone: list[str] = []
        self.last: tuple[str, int, list[OutgoingMessage]] | None = None
        self.seq = 0
        self.unique: dict[str, str] = {}

    @initialize()
    def steady(self) -> None:
        here = self.place
        self.watch = here.watch = MoveChecker(here.redis, here.keys)
        here.redis.set(here.keys.last_tick, time.time_ns() // 1_000_000)
        self.open()
        self.enqueue([(queue, contract, False) for queue in QUEUES for contract in CONTRACTS])
        [[name, held]] = self.flight.items()
        held += self.place.fetch(name, 3)
        for id in list(self.fetch(3))[:2]:
            self.place.work(name, 0, settlements.DeadLetter(id.encode(), b"{}"))
            held.remove(id)
            self.dead.append(id)

    # --- enqueue ---------------------------------------------------------------------------

    @rule(
        parts=st.lists(
            st.tuples(st.sampled_from(QUEUES), st.sampled_from(CONTRACTS), st.booleans()),
            min_size=1,
            max_size=6,
        ),
        expires_ms=st.sampled_from((None, -1, 3_600_000)),
    )
    def enqueue(self, parts: list[tuple[str, str, bool]], expires_ms: int | None = None) -> None:
        due = 3_600_000 + len(self.mail)  # later ones are due later, so that their order is known
        batch = [
            self.place.outgoing(
                queue,
                contract=contract,
                delay_ms=due + n if late else None,
                expires_ms=expires_ms,
            )
            for n, (queue, contract, late) in enumerate(parts)
        ]
        self.seq += 1
        self.last = ("producer", self.seq, batch)
        assert self.send().status == "accepted"
        assert self.send().status == "seen"
        for out in batch:
            to = out.destination
            self.mail[out.id] = Mail(to.contract, to.queue, expires_ms)
            (self.ready if to.delay_ms is None else self.delayed)[to.queue].append(out.id)

    @rule(key=st.sampled_from("xyz"), queue=st.sampled_from(QUEUES), count=st.integers(1, 2))
    def enqueue_unique(self, key: str, queue: str, count: int) -> None:
        """One message holds a key, whatever became of it; a resend says the same."""
        outgoing, contract = self.place.outgoing, CONTRACTS[0]
        lives = (key, 3_600_000)
        batch = [outgoing(queue, contract=contract, unique=lives) for _ in range(count)]
        self.seq += 1
        self.last = ("producer", self.seq, batch)
        holder = self.unique.get(key)
        first = holder or batch[0].id
        duplicates = {out.id: first for out in batch if out.id != first}
        assert [self.send().duplicates for _ in range(3)] == [duplicates] * 3
        if not holder:
            self.unique[key] = first
            self.mail[first] = Mail(contract, queue)
            self.ready[queue].append(first)

    def send(self) -> operations.Accepted:
        assert self.last is not None
        producer, seq, batch = self.last
        schemas = {contract: self.place.document(contract) for contract in CONTRACTS}
        return self.place(operations.enqueue(self.place.keys, producer, seq, batch, schemas))

    # --- sessions --------------------------------------------------------------------------

    @precondition(lambda self: len(self.flight) < 4)
    @rule()
    def open(self) -> None:
        name = next(self.names)
        self.place.open(name)
        self.flight[name] = []

    @precondition(lambda self: any(self.flight.values()))
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        old, fresh = self.session(data), next(self.names)
        move = operations.replace_session(self.place.keys, old, fresh, QUEUES, 30_000)
        kept, messages = self.place(move)
        assert kept
        assert sorted(m[25:51].decode() for m in messages) == sorted(self.flight[old])
        assert all(
            (uncancelled(m) is not None) == self.mail[m[25:51].decode()].cancelled for m in messages
        )
        self.flight[fresh] = self.flight.pop(old)
        self.gone.append(old)

    @precondition(lambda self: any(self.flight.values()))
    @rule(
        data=st.data(),
        owner=st.booleans(),
        others=st.sampled_from(("back", "lost")),
        limit=st.integers(1, 3),
    )
    def recover(
        self, data: st.DataObject, owner: bool, others: operations.Fate, limit: int
    ) -> None:
        name = self.session(data)
        held = sorted(self.flight[name])
        drawn: list[operations.Fate | None] = [
            data.draw(st.sampled_from((*FATES, None))) for _ in held
        ]
        named: dict[str, operations.Fate | None] = dict(zip(held, drawn, strict=True))
        fates: dict[bytes, operations.Fate] = {
            id.encode(): fate for id, fate in named.items() if fate is not None
        }
        if not owner:
            assert self.recover_operation(name, fates, others, limit, owner=False).alive
            self.place.expire(name)
            ticked = self.place.tick(grace_ms=3_600_000)
            assert [session for session, _ in ticked.expired] == [name]
        assert not self.recover_operation(name, fates, others, limit, owner=owner).alive
        del self.flight[name]
        self.gone.append(name)
        for id in [id for id in held if self.mail[id].cancelled and named[id] != "done"]:
            self.end(id)
            held.remove(id)
        for id in held:
            self.mail[id].crashes += (named[id] or others) == "crash"
            self.mail[id].losses += (named[id] or others) == "lost"
        # What must run alone now comes behind the others.
        for _, id in sorted(((self.mail[id].alone, id) for id in held), reverse=True):
            self.settle_fate(id, named[id] or others, limit)

    def recover_operation(
        self,
        name: str,
        fates: dict[bytes, operations.Fate],
        others: operations.Fate,
        limit: int,
        *,
        owner: bool,
    ) -> operations.Recovered:
        return self.place(
            operations.recover_session(
                self.place.keys,
                name,
                QUEUES,
                owner=owner,
                fates=fates,
                others="back" if others == "back" else "lost",
                crashes=limit,
                losses=limit,
            )
        )

    def settle_fate(self, id: str, fate: operations.Fate, limit: int) -> None:
        mail = self.mail[id]
        if fate == "done":
            self.end(id)
        elif {"crash": mail.crashes, "lost": mail.losses}.get(fate, 0) >= limit:
            self.dead.append(id)
        else:
            self.ready[mail.queue].insert(0, id)

    def renew(self) -> None:
        asked = [*self.flight, *self.gone[-2:]]
        _, ended = self.place(operations.renew(self.place.keys, asked, 30_000, "sup", b'{"pid":1}'))
        assert ended == self.gone[-2:]

    # --- work ------------------------------------------------------------------------------

    @precondition(lambda self: self.flight)
    @rule(
        data=st.data(),
        want=st.sampled_from((6, 3, 2, 1, 0)),
        token=st.sampled_from((None, *QUEUES)),
    )
    def work(self, data: st.DataObject, want: int, token: str | None) -> None:
        name = self.session(data)
        held = self.flight[name]
        settle = list(self.settlements(data, held))
        wanted = self.place.work(name, want, *settle, token=token)
        assert (wanted.alive, wanted.settled) == (True, len(settle))
        got = [decode_message(m) for m in wanted.messages]
        assert [e.id.decode() for e in got] == list(self.fetch(want))
        for envelope in got:
            id = envelope.id.decode()
            held.append(id)
            assert envelope.contract.decode() == self.mail[id].contract

    @precondition(lambda self: any(self.flight.values()))
    @rule(data=st.data(), want=st.sampled_from((6, 2, 0)), off=st.sampled_from((0, 1, -1)))
    def ack_all(self, data: st.DataObject, want: int, off: int) -> None:
        """Everything at once, after a wrong count of it, which changes nothing."""
        name = self.session(data)
        held = self.flight[name]
        numbers = Counter(self.mail[id].contract.encode() for id in held)
        wrong = numbers + Counter({b"t@0": 1}) if off > 0 else Counter(dict(numbers.most_common(1)))
        if off and wrong != numbers:
            refused = self.place.work(name, want, settlements.AckAll(wrong, held[0].encode()))
            assert refused == Fetched(True, None, [])
        worked = self.place.work(name, want, settlements.AckAll(numbers, held[-1].encode()))
        assert (worked.alive, worked.settled) == (True, len(held))
        for id in held:
            self.end(id)
        held[:] = [decode_message(m).id.decode() for m in worked.messages]
        assert held == list(self.fetch(want))

    @precondition(lambda self: self.flight and any(self.ready.values()))
    @rule(data=st.data(), want=st.integers(2, 6))
    def fetch_more(self, data: st.DataObject, want: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.flight)))
        got = self.place.fetch(name, want)
        assert got == list(self.fetch(want))
        self.flight[name] += got

    def settlements(self, data: st.DataObject, held: list[str]) -> Iterator[settlements.Settlement]:
        """Settle some of what is held; the model moves along."""
        for id in list(held):
            mail, raw = self.mail[id], id.encode()
            kinds = ("keep", "ack", "bury", "back", "again", "later", "cancel", "expire")
            kind = data.draw(st.sampled_from(kinds))
            if kind == "keep":
                continue
            held.remove(id)
            match kind:
                case "ack":
                    self.end(id)
                    yield settlements.Ack(mail.contract.encode(), [raw])
                case "bury":
                    self.dead.append(id)
                    mail.cancelled = False
                    yield settlements.DeadLetter(raw, b'{"kind":"test"}')
                case "cancel":
                    self.end(id)
                    yield settlements.Cancel(raw)
                case "expire":
                    self.end(id)
                    yield settlements.Expire(raw)
                case "back":
                    self.wait_again(id, self.ready, first=True)
                    yield settlements.Release(raw, mail.queue)
                case _:
                    attempts = mail.attempts + 1
                    if not mail.cancelled:
                        mail.attempts += 1
                    self.wait_again(id, self.ready if kind == "again" else self.delayed)
                    wait = 0 if kind == "again" else 7_200_000
                    yield settlements.Retry(raw, mail.queue, attempts, wait)

    def wait_again(self, id: str, queues: dict[str, list[str]], *, first: bool = False) -> None:
        """Put a message into a queue, unless it was cancelled: then it is dropped instead."""
        mail = self.mail[id]
        if mail.cancelled:
            self.end(id)
        else:
            queues[mail.queue].insert(0 if first else len(queues[mail.queue]), id)

    def fetch(self, want: int, *lists: list[str]) -> Iterator[str]:
        for waiting in lists or map(self.ready.__getitem__, QUEUES):
            while want and waiting:
                id = waiting.pop(0)
                yield id
                want = 0 if self.mail[id].alone else want - 1

    @precondition(lambda self: self.gone and self.mail)
    @rule(data=st.data(), want=st.integers(0, 3))
    def stale(self, data: st.DataObject, want: int) -> None:
        """A session that was ended changes nothing, whatever it settles."""
        id = data.draw(st.sampled_from(sorted(self.mail))).encode()
        settle = (
            settlements.Ack(self.mail[id.decode()].contract.encode(), [id]),
            settlements.DeadLetter(id, b"{}"),
            settlements.Release(id, "mid"),
        )
        name = data.draw(st.sampled_from(self.gone))
        assert self.place.work(name, want, *settle) == Fetched(False, 0, [])
        assert self.place.work(name, want, settlements.AckAll({b"t@0": 1}, id)) == Fetched(
            False, 0, []
        )

    # --- parking ---------------------------------------------------------------------------

    @precondition(lambda self: any(self.flight.values()))
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        name = self.session(data)
        held = self.flight[name]
        ids = data.draw(st.lists(st.sampled_from(held), unique=True, min_size=1, max_size=3))
        aside = [(parking.Group(self.mail[id].queue, self.mail[id].contract), id) for id in ids]
        words = [parking.Parked(group, id.encode()) for group, id in aside]
        move = parking.park(self.place.keys, name, words, operations.DEFAULT_BOUNDS)
        assert self.place(move) == len(ids)
        assert self.place(move) == 0
        for group, id in aside:
            held.remove(id)
            if self.mail[id].cancelled:
                self.end(id)
            else:
                self.parked.setdefault(group, []).append(id)

    @precondition(lambda self: self.parked and self.flight)
    @rule(data=st.data(), want=st.integers(1, 3))
    def unpark(self, data: st.DataObject, want: int) -> None:
        group, name = self.group(data), data.draw(st.sampled_from(sorted(self.flight)))
        got = self.place(parking.unpark(self.place.keys, name, group, want))
        ids = list(self.fetch(want, self.parked[group]))
        assert [decode_message(m).id.decode() for m in got.messages] == ids
        self.flight[name] += ids
        if not self.parked[group]:
            del self.parked[group]

    @precondition(lambda self: self.parked)
    @rule(data=st.data(), fate=st.sampled_from(("ready", "dead", "purged")))
    def release(self, data: st.DataObject, fate: Literal["ready", "dead", "purged"]) -> None:
        group = self.group(data)
        ids = self.parked.pop(group)
        released = self.place(parking.release(self.place.keys, group, fate))
        assert released == (len(ids), 0)
        if fate == "ready":
            self.ready[group.queue] += ids
        elif fate == "dead":
            late = {id for id in ids if self.mail[id].expires_ms == -1}
            self.dead += [id for id in ids if id not in late]
            self.ended.update(late)
        else:
            self.ended.update(ids)

    def group(self, data: st.DataObject) -> parking.Group:
        return data.draw(st.sampled_from(sorted(self.parked)))

    # --- cancelling ------------------------------------------------------------------------

    @precondition(lambda self: self.mail)
    @rule(data=st.data())
    def find_and_cancel(self, data: st.DataObject) -> None:
        """Whatever is cancelled: what waits is gone for good, and what is in flight is marked."""
        id = data.draw(st.sampled_from(sorted(self.mail)))
        places = search.Places([*self.flight], QUEUES, [*self.parked])
        seen = self.place(search.find(self.place.keys, id, places))
        done = self.place(search.cancel(self.place.keys, id, places))
        assert (seen.found, seen.after, done.after) == (done.found, None, None)
        lists = [*self.ready.values(), *self.delayed.values(), *self.parked.values()]
        waiting = next((ids for ids in lists if id in ids), None)
        if waiting is not None:
            assert done.found
            assert done.found.state in ("ready", "delayed", "parked")
            waiting.remove(id)
            self.parked = {group: ids for group, ids in self.parked.items() if ids}
            self.end(id)
        elif any(id in held for held in self.flight.values()):
            assert done.found
            assert done.found.state == "in flight"
            self.mail[id].cancelled = True
        else:
            assert (done.found.state if done.found else None) == (
                "dead" if id in self.dead else None
            )

    # --- time and the dead -----------------------------------------------------------------

    @rule(queue=st.sampled_from(QUEUES), count=st.integers(1, 3), idle=st.booleans())
    def time_passes(self, queue: str, count: int, idle: bool) -> None:
        """The next few become due, and a tick sees it, or who finds no work in the queue."""
        here, idle = self.place, idle and not self.ready[queue]
        key = here.keys.delayed(queue)
        for n, message in enumerate(here.redis.zrange(key, 0, count - 1)):
            here.redis.zadd(key, {message: n + 1})
            id = decode_message(message).id.decode()
            self.delayed[queue].remove(id)
            self.ready[queue].append(id)
        if idle and self.flight:
            name = min(self.flight)
            got = here(settlements.settle_and_fetch(here.keys, name, [queue], max_messages=1))
            ids = list(self.fetch(1, self.ready[queue]))
            assert [decode_message(m).id.decode() for m in got.messages] == ids
            self.flight[name] += ids
        else:
            here.tick(grace_ms=3_600_000)
        self.renew()

    @precondition(lambda self: any(self.short()))
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        """Short queues only, so that something is left to play with."""
        queue = data.draw(st.sampled_from(list(self.short())))
        gone = self.ready[queue] or self.delayed[queue]
        assert self.place(stats.purge(self.place.keys, queue)) == len(gone)
        self.ended.update(gone)
        gone.clear()

    def short(self) -> Iterator[str]:
        return (q for q in QUEUES if 0 < len(self.ready[q] or self.delayed[q]) < 3)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), keep=st.booleans())
    def requeue_or_delete(self, data: st.DataObject, keep: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.dead), unique=True, min_size=1))
        keys = self.place.keys
        if keep:
            assert self.place(stats.requeue(keys, QUEUES, ids)) == (len(ids), [])
        else:
            assert self.place(stats.delete(keys, ids)) == len(ids)
        for id in ids:
            self.dead.remove(id)
            if keep:
                old = self.mail[id]
                self.mail[id] = Mail(old.contract, old.queue, old.expires_ms)
                self.ready[old.queue].append(id)
            else:
                self.end(id)

    # --- what always holds -----------------------------------------------------------------

    @invariant()
    def same_places_and_counts(self) -> None:
        here, keys = self.place, self.place.keys
        lying: dict[str, list[str]] = {}
        for one in self.watch.there.values():
            id, mail = one.id, self.mail[one.id]
            lying.setdefault(one.key.decode(), []).append(id)
            assert one.counts == (mail.crashes, mail.losses, mail.attempts)
            assert one.is_cancelled == mail.cancelled
            # The server wrote once when it expires, and no move changes that.
            until = one.message[:1] == b"2" and int(one.message.rsplit(b" ", 2)[1])
            mail.until = mail.until or until
            assert until == mail.until
            assert bool(until) == (mail.expires_ms is not None)
        for key in (
            *map(keys.delayed, QUEUES),
            *map(keys.in_flight, self.flight),
            keys.dead_letters,
        ):
            lying.get(key, []).sort()  # here order says nothing
        expected = {
            **{keys.ready(queue): ids for queue, ids in self.ready.items()},
            **{keys.delayed(queue): sorted(ids) for queue, ids in self.delayed.items()},
            **{keys.in_flight(name): sorted(ids) for name, ids in self.flight.items()},
            **{keys.parked(*group): ids for group, ids in self.parked.items()},
            keys.dead_letters: sorted(self.dead),
        }
        assert lying == {key: ids for key, ids in expected.items() if ids}
        live = set(self.mail) - set(self.dead) - set(self.ended)
        counted = Counter(self.mail[id].contract for id in live)
        pipe = here.redis.pipeline(transaction=False)
        pipe.zrange(keys.dead, 0, -1).hkeys(keys.parked_groups).hmget(keys.counts, CONTRACTS)
        for queue in filter(self.ready.get, QUEUES):
            pipe.llen(keys.wake(queue))
        dead, groups, counts, *tokens = pipe.execute()
        assert sorted(id.decode() for id in dead) == sorted(self.dead)
        assert sorted(group.decode() for group in groups) == sorted(map(str, self.parked))
        assert [int(n or 0) for n in counts] == [counted[contract] for contract in CONTRACTS]
        assert set(tokens) <= {1}, "somebody must be told"
        assert set(self.ended.values()) <= {1}

    def end(self, id: str) -> None:
        self.ended[id] += 1

    def session(self, data: st.DataObject) -> str:
        """One that holds messages, where there is any: with empty hands little can go wrong."""
        loaded = [name for name, held in self.flight.items() if held]
        return data.draw(st.sampled_from(sorted(loaded or self.flight)))

    def teardown(self) -> None:
        """Drain: then no key is left but the static ones, and no static one holds a session."""
        here = self.place
        for name in self.flight:
            here(operations.recover_session(here.keys, name, QUEUES, owner=True, others="back"))
        for group in self.parked:
            here(parking.release(here.keys, group, "ready"))
        for queue in QUEUES:
            key = here.keys.delayed(queue)
            for message in here.redis.zrange(key, 0, -1):
                here.redis.zadd(key, {message: 1})
        here.open("last")
        while messages := here.work("last", 50).messages:
            for envelope in map(decode_message, messages):
                here.work("last", 0, settlements.Ack(envelope.contract, [envelope.id]))
        here(operations.recover_session(here.keys, "last", QUEUES, owner=True))
        left = here.names()
        assert {n for n in left if not n.startswith("unique:")} <= STATIC | {"sequence:producer"}
        assert not left & {"sessions", "session_queues", "pardoned"}
        assert all(here.waiting(contract) == 0 for contract in CONTRACTS)
        if left:
            here.redis.delete(*(f"{here.keys.tag}:{name}" for name in left))
        here.close()


@pytest.mark.timeout(240)  # a busy machine
def test_every_operation_in_any_order_keeps_the_model(server: OwnServer, place: Place) -> None:
    kind = type(place)

    class OnServer(Moves):
        def __init__(self) -> None:
            super().__init__()
            self.place = kind(server, f"m{uuid.uuid4().hex[:12]}")

    run_state_machine_as_test(
        OnServer,
        settings=settings(
            max_examples=50,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # shrinking may take longer than a test may
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
