"""A child's standing with the server: what it holds, what it owes, how it outlives a loss."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, final

from typedq.broker import Broker, DeadBounds, Operation, operations, settlements
from typedq.broker.parking import Group, Parked, park, unpark
from typedq.broker.script import Argument
from typedq.broker.wire import Refused
from typedq.errors import ServerError, ServerRefused
from typedq.message import KIND_AT, are_ids, is_message, is_ordinary
from typedq.telemetry import event
from typedq.worker.delivery import Delivery, Kind, MessageKinds
from typedq.worker.journal import Journal, State
from typedq.worker.settle import bad_message

LONGEST_PAUSE_S = 0.5


def new_session() -> str:
    """A session id, never used before."""
    return os.urandom(8).hex()


@final
class Session:
    """Fetches and settles for one child, one round trip a batch."""

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        queues: Sequence[str],
        *,
        lease_s: float,
        bounds: DeadBounds,
    ) -> None:
        self._broker, self._journal, self._queues = broker, journal, list(queues)
        self._lease_ms, self._bounds = round(lease_s * 1000), bounds
        self._kinds = MessageKinds(queues)
        self._free = list(range(journal.slots))
        self._ended = defaultdict[bytes, list[Delivery]](list)  # well, by contract
        self._others: list[settlements.Settlement] = []
        self._parked: list[Parked] = []
        self._owed: list[int] = []
        # By slot and not by id: a message may come to us a second time.
        self.held: list[Delivery | None] = [None] * journal.slots
        self._unsure, self._lost_links = False, broker.lost_links
        self._is_known = False  # the script of `look`, to the server
        self.urgent, self.bytes_each = False, 1

    @property
    def room(self) -> int:
        """How many more messages can be held, once what is owed is settled."""
        return len(self._free) + len(self._owed)

    @property
    def owes(self) -> bool:
        """Whether something waits to be settled."""
        return bool(self._owed)

    def ack(self, jobs: Iterable[Delivery]) -> None:
        """These ended well: tell the server with the next exchange."""
        # As `_let_go`, without a call for each: this is done for every message.
        held, owed, ended = self.held, self._owed, self._ended
        for job in jobs:
            slot = job.slot
            if held[slot] is job:
                held[slot] = None
                owed.append(slot)
                ended[job.kind.counted].append(job)
            else:
                self._release([slot])

    def settle(self, settlement: settlements.Settlement | Parked, job: Delivery) -> None:
        """It ended otherwise: tell the server with the next exchange, which should be soon."""
        if not self._let_go(job):
            return
        # It is not running any more, and not to be revoked; if we die now, it goes back uncounted.
        self._journal.put(job.slot, State.FREE)
        if isinstance(settlement, Parked):
            self._parked.append(settlement)
        else:
            self._others.append(settlement)
        self.urgent = True

    def hand_back(self, jobs: Sequence[Delivery]) -> None:
        """These were not started; the oldest will be next again. What others have is let go."""
        for job in reversed(jobs):
            if self._journal.is_revoked(job.slot):
                self._unsure = True
                if any(each and each.id == job.id for each in self.held if each is not job):
                    self.held[job.slot] = None  # handed back by then, it came again and may run
            self.settle(settlements.Release(job.id, job.kind.queue), job)

    def _let_go(self, job: Delivery) -> bool:
        """Hold it no more; whether it was ours, and so is to be settled before its slot is free."""
        slot = job.slot
        if self.held[slot] is not job:
            self._release([slot])
            return False
        self.held[slot] = None
        self._owed.append(slot)
        return True

    def is_mine(self, job: Delivery) -> bool:
        """Whether it is still held: a session that was ended by others holds nothing."""
        return self.held[job.slot] is job

    def exchange(self, want: int = 0, token: str | None = None) -> list[Delivery]:
        """Settle what is owed and fetch up to `want`; `token` is the queue whose token was taken.

        Outlives a server that is away: it returns when the server is back.
        """
        late: list[Delivery] = []
        # Revoked: the supervisor hands them back too, perhaps later than we. If we had fetched one
        # again under the same session by then, it would be handed back while it runs.
        # A lost link: perhaps a restart that forgot the last second, so that the server believes
        # that we hold what we settled, or what we never saw; as after a look whose answer was lost.
        if self._unsure or self._lost_links != self._broker.lost_links:
            late = self._rotate()
        try:
            if self._parked:
                name = self._journal.session
                self._broker.call(park(self._broker.keys, name, self._parked, self._bounds))
            worked = self._work(want, token)
        except ServerError as error:
            event(logging.WARNING, "server does not answer, going on when it does", why=str(error))
            if isinstance(error, ServerRefused):
                time.sleep(LONGEST_PAUSE_S)  # it answers: what is wrong there may last
            return [*late, *self._rotate()]
        if not worked.alive:
            return [*late, *self._rotate()]
        if self._owed:
            self._settled()
        return [*late, *self._hold(worked.messages)]

    def _settled(self) -> None:
        self._journal.count(done=sum(map(len, self._ended.values())))
        self._ended.clear()
        self._others.clear()
        self._parked.clear()
        self._release(self._owed)
        self._owed = []
        self.urgent = False

    def _work(self, want: int, token: str | None) -> operations.Worked:
        call, ended = self._broker.call, self._ended.items()
        # Nothing else is held: then the server need not be told which they are.
        if ended and not self._others and self.room == self._journal.slots:
            numbers = {contract: len(jobs) for contract, jobs in ended}
            all = settlements.AckAll(numbers, next(iter(ended))[1][-1].id)
            worked = call(self._move(want, token, [all]))
            if worked.settled is not None:
                return worked
        acks = [settlements.Ack(contract, [job.id for job in jobs]) for contract, jobs in ended]
        return call(self._move(want, token, [*acks, *self._others]))

    def look(self, want: int) -> Sequence[Argument] | None:
        """What the server may do while an idle child waits; None if something else comes first."""
        if self._owed or self._unsure or self._lost_links != self._broker.lost_links:
            return None
        look = operations.fetch_idle(self._broker.keys, self._journal.session, self._queues, want)
        return look.evalsha() if self._is_known else look.eval_source()

    def looked(self, reply: Any) -> list[Delivery] | None:
        """What came of it, as `Waiter.wait_and_ask` answers; None if it fetched nothing."""
        refused = isinstance(reply, Refused)
        self._is_known = not (refused and reply.code == "NOSCRIPT")
        # Refused for another reason, it may be half done.
        self._unsure = reply is None or (refused and self._is_known)
        if reply is None or refused:
            return None
        worked = operations.worked(reply)
        return None if worked.settled is None else self._hold(worked.messages)

    def _move(
        self,
        want: int,
        token: str | None,
        settle: Sequence[settlements.Settlement | settlements.AckAll] = (),
    ) -> Operation[operations.Worked]:
        return operations.settle_and_fetch(
            self._broker.keys,
            self._journal.session,
            self._queues,
            settle=settle,
            want=want,
            token=token,
            bounds=self._bounds,
        )

    def unpark(self, group: Group, want: int) -> list[Delivery]:
        """Fetch parked messages instead of those of the queues."""
        try:
            move = unpark(self._broker.keys, self._journal.session, group, want, self._bounds)
            worked = self._broker.call(move)
        except ServerError:
            return self._rotate()
        if not worked.alive:
            return self._rotate()
        return self._hold(worked.messages)

    def _hold(self, messages: Sequence[bytes]) -> list[Delivery]:
        """Take what was fetched at once: none but the last was lost before."""
        if len(messages) == 1:
            return self._hold_one(messages[0])
        if not messages:
            return []
        self.bytes_each = sum(map(len, messages)) // len(messages)
        jobs: list[Delivery] = []
        start, kind = 0, self._kinds.of(messages[0])
        for end, message in enumerate(messages):
            if not message.startswith(kind.text, KIND_AT):
                jobs += self._hold_alike(messages[start:end], kind)
                start, kind = end, self._kinds.of(message)
        return [*jobs, *self._hold_alike(messages[start:], kind)]

    def _hold_one(self, message: bytes) -> list[Delivery]:
        """A single one: its sender waits for nothing but this."""
        kind, slot, id = self._kinds.of(message), self._free.pop(), message[25:51]
        self.bytes_each = len(message)
        self._journal.hold_one(slot, id, kind.place or 0)
        self.held[slot] = job = Delivery(message, slot, kind, id, alone=not is_ordinary(message))
        return [job] if self._is_in_order(job) else []

    def _hold_alike(self, messages: Sequence[bytes], kind: Kind) -> list[Delivery]:
        """Messages of one kind, in slots that are next to each other if there are such."""
        slots = self._free[-len(messages) :]
        del self._free[-len(messages) :]
        ids = [message[25:51] for message in messages]
        self._journal.hold(slots, ids, kind.place or 0)
        jobs = [*map(Delivery, messages, slots, repeat(kind), ids)]
        jobs[-1].alone = not is_ordinary(messages[-1])
        for job in jobs:
            self.held[job.slot] = job
        if kind.place is not None and are_ids(ids):
            return jobs
        return [job for job in jobs if self._is_in_order(job)]

    def _is_in_order(self, job: Delivery) -> bool:
        if job.kind.place is None:
            self.settle(bad_message(job.message, "it names another queue than it lay in"), job)
        elif not are_ids([job.id]):
            self.settle(bad_message(job.message, "its id is not of 26 hexadecimal digits"), job)
        else:
            return True
        return False

    def _release(self, slots: Sequence[int]) -> None:
        self._journal.free(slots)
        self._free.extend(slots)
        self._free.sort()  # so that a batch finds slots next to each other

    def _rotate(self) -> list[Delivery]:
        """Go on under a fresh id; return what was fetched without this process being told.

        What is owed is sent again with the next exchange: the server settles it once at most.
        """
        journal, pause = self._journal, 0.05
        journal.fresh = journal.fresh or new_session()
        while True:
            move = operations.replace_session(
                self._broker.keys, journal.session, journal.fresh, self._queues, self._lease_ms
            )
            try:
                rotated = self._broker.call(move)
                break
            except ServerError:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        journal.session, journal.fresh = journal.fresh, ""
        self._unsure, self._lost_links = False, self._broker.lost_links
        event(logging.INFO, "went on under a new session", kept=rotated.kept)
        # What is no message stays behind, and is buried when the session ends.
        ours = {message[25:51]: message for message in filter(is_message, rotated.messages)}
        owed = {job.id for jobs in self._ended.values() for job in jobs}
        owed |= {s.id for s in (*self._others, *self._parked) if not isinstance(s, settlements.Ack)}
        for slot, job in enumerate(self.held):
            if job and job.id not in ours:
                self.held[slot] = None
        held = {job.id for job in self.held if job}
        new = sorted(ours.keys() - held - owed)[: len(self._free)]
        return [job for id in new for job in self._hold([ours[id]])]
