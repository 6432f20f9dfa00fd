"""The messages that one child holds: fetched and settled in batches, recorded until settled."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import final

from typedq.broker import DeadBounds, DedicatedClient, operations
from typedq.broker.parking import Group, Parked, park, unpark
from typedq.broker.script import Operation
from typedq.broker.settlements import (
    ANY_QUEUE,
    Ack,
    AckAll,
    Fetched,
    Release,
    Settlement,
    settle_and_fetch,
)
from typedq.errors import ServerError, ServerRefused
from typedq.message import ID, is_message, uncancelled, wrong_digits
from typedq.telemetry import event
from typedq.worker.delivery import Delivery, MessageKinds
from typedq.worker.journal import Journal, State, compact, new_session
from typedq.worker.settle import FAILURES, bad_message, outcome_of

MAX_PAUSE_S = 0.5
Groups = Mapping[bytes, Sequence[Delivery]]


@final
class Session:
    """Owns the record of every message that its child holds.

    A record is a `Delivery`: in `_records` from the fetch until it ended, in `waiting` until it is
    started, in `unsettled` until the server knows how it ended. Its row in the journal tells the
    supervisor the same, should this process die. The child takes what it starts from the left of
    `waiting`, and only reads `unsettled`. `urgent`: a settlement is not an ack.
    """

    def __init__(
        self,
        client: DedicatedClient,
        journal: Journal,
        queues: Sequence[str],
        *,
        lease_s: float,
        bounds: DeadBounds,
    ) -> None:
        self._client, self._journal, self._queues = client, journal, tuple(queues)
        self._name, self._tally = journal.session, journal.tally
        self._lease_ms, self._bounds = round(lease_s * 1000), bounds
        self._kinds = MessageKinds(queues)
        # By slot and not by id: a message that was released may come to us a second time.
        self._records: list[Delivery | None] = [None] * journal.slots
        self._free = list(range(journal.slots))
        self.waiting, self.unsettled = deque[Delivery](), list[Delivery]()
        self._failed = 0
        self._must_replace, self._lost_connections = False, client.lost_connections
        self.urgent, self.bytes_each = False, 1

    @property
    def free_slots(self) -> int:
        """Return how many more messages can be held once the ended ones are settled."""
        return len(self._free) + len(self.unsettled)

    def owns(self, delivery: Delivery) -> bool:
        """Return True if this session still holds it; others may have ended the session."""
        return self._records[delivery.slot] is delivery

    # --- what the child asks and reports ---------------------------------------------------------

    def postpone(self, delivery: Delivery) -> None:
        """Put a message back at the front of `waiting`."""
        self._journal.set_state(delivery.slot, State.WAITING)
        self.waiting.appendleft(delivery)

    def end(self, delivery: Delivery) -> None:
        """Record the end of an attempt, if it started; the next `sync` tells the server."""
        if delivery.settlement is None and not delivery.started:
            self.release(delivery)
        elif delivery.settlement is None and self._records[delivery.slot] is delivery:
            self._records[delivery.slot] = None
            self.unsettled.append(delivery)
        else:
            self._failed += delivery.started and delivery.settlement is not None
            self.settle(delivery, delivery.settlement)

    def settle(self, delivery: Delivery, settlement: Settlement | Parked | None) -> None:
        """Record the settlement of a message; None is an ack. The next `sync` tells the server."""
        slot, tally = delivery.slot, self._tally
        if tally and (outcome := outcome_of(settlement)):
            tally.count(delivery, delivery.kind.text, outcome)
        if self._records[slot] is not delivery:
            self._journal.free([slot])
            self._free.append(slot)
            if tally:
                tally.close()
            return
        self._records[slot] = None
        self.unsettled.append(delivery)
        if settlement is not None:
            delivery.settlement = settlement
            # If this process dies now, a failed task may be the cause, so it counts as running.
            has_failed = isinstance(settlement, FAILURES)
            self._journal.set_state(slot, State.FAILED if has_failed else State.FREE)
            self.urgent = True
        if tally:
            tally.close()

    def release(self, delivery: Delivery) -> None:
        """Put a message that did not start back at the head of its queue, without an attempt."""
        if self._journal.is_revoked(delivery.slot):
            # The supervisor releases it too, perhaps after us. If we had fetched it again under the
            # same session by then, it would be released while it runs.
            self._must_replace = True
            others = (other for other in self._records if other is not delivery)
            if any(other and other.id == delivery.id for other in others):
                self._records[delivery.slot] = None
        self.settle(delivery, Release(delivery.id, delivery.kind.queue))

    def release_waiting(self) -> None:
        """Release every message that was not started, newest first: the oldest is next again."""
        while self.waiting:
            self.release(self.waiting.pop())

    # --- round trips -----------------------------------------------------------------------------

    def sync(self, max_messages: int = 0, token: str | None = None) -> None:
        """Settle what ended and fetch up to `max_messages`; both in one round trip.

        token: the queue whose wake token was taken

        It blocks while the server is away.
        """
        # A lost connection may mean a restart that forgot the last second: then the server believes
        # that we hold what we settled, or what we never received.
        if self._must_replace or self._lost_connections != self._client.lost_connections:
            self._replace()
        ended = self.unsettled
        acked = [each for each in ended if each.settlement is None] if self.urgent else ended
        groups = _by_kind(acked)
        try:
            fetched = self._settle_and_fetch(groups, max_messages, token)
        except ServerError as error:
            event(logging.WARNING, "request to Redis failed; retrying", why=str(error))
            if self._tally:
                self._tally.server_error()
            if isinstance(error, ServerRefused):
                time.sleep(MAX_PAUSE_S)  # it answered, so what is wrong there may last
            self._replace()
            return
        if ended and fetched.alive:
            self._forget_settled(groups)
        self.take(fetched)

    def fetch_operation(self) -> Operation[Fetched] | None:
        """Return the fetch to pipeline after a `BLPOP`; None if `sync` must come first.

        Its result is for `take`. If its reply is lost, the next `sync` finds what it fetched. It
        fetches one message, because the server runs it even if this process is frozen or cut off.
        """
        if self._must_replace or self._lost_connections != self._client.lost_connections:
            return None
        return self._operation(1, ANY_QUEUE)

    def take(self, fetched: Fetched) -> None:
        """Record what the server fetched for us; replace the session if it has ended."""
        if not fetched.alive:
            self._replace()
        self._track(fetched.messages)

    def unpark(self, group: Group, max_messages: int) -> bool:
        """Fetch parked messages of a group; return False if there were none."""
        operation = unpark(self._client.keys, self._name, group, max_messages, self._bounds)
        try:
            fetched = self._client.call(operation)
        except ServerError:
            fetched = Fetched(False, 0, [])
        self.take(fetched)
        return bool(fetched.messages)

    def _operation(
        self, max_messages: int, token: str | None, settle: Sequence[Settlement | AckAll] = ()
    ) -> Operation[Fetched]:
        ours = self._client.keys, self._name, self._queues
        return settle_and_fetch(
            *ours, settle=settle, max_messages=max_messages, token=token, bounds=self._bounds
        )

    def _settle_and_fetch(self, groups: Groups, max_messages: int, token: str | None) -> Fetched:
        ended, call = self.unsettled, self._client.call
        if ended and not self.urgent and self.free_slots == self._journal.slots:
            # Every message of the session is acknowledged, so the server needs no ids.
            counts = Counter[bytes]()
            for group in groups.values():
                counts[group[0].kind.counted] += len(group)
            all_held = [AckAll(counts, ended[-1].id)]
            fetched = call(self._operation(max_messages, token, all_held))
            if fetched.settled is not None:
                return fetched
        acks = [Ack(each[0].kind.counted, [e.id for e in each]) for each in groups.values()]
        others = [d.settlement for d in ended if d.settlement is not None]
        if parked := [each for each in others if isinstance(each, Parked)]:
            call(park(self._client.keys, self._name, parked, self._bounds))
        rest = [each for each in others if not isinstance(each, Parked)]
        return call(self._operation(max_messages, token, [*acks, *rest]))

    def _forget_settled(self, groups: Groups) -> None:
        """Free the slots of settled messages; `groups` has the acknowledged ones."""
        slots = compact([delivery.slot for delivery in self.unsettled])
        if self._tally and groups:
            self._tally.fold(groups, slots)
        self._journal.free(slots, sum(map(len, groups.values())), self._failed)
        if self._tally:
            self._tally.close()
        self._free.extend(slots)
        if len(self._free) == len(self._records):
            self._free.sort()  # so that the next ones follow each other, too
        self.unsettled.clear()
        self._failed, self.urgent = 0, False

    def _track(self, messages: Sequence[bytes]) -> None:
        """Make the records of messages that were fetched; bad messages are settled at once."""
        if not messages:
            return
        n, records = len(messages), self._records
        self.bytes_each = sum(map(len, messages)) // n
        slots = compact(self._free[-n:])
        del self._free[-n:]
        batch = self._kinds.deliveries(messages, slots)
        for slot, delivery in zip(slots, batch.deliveries, strict=True):
            records[slot] = delivery
        if self._tally:
            texts = [kind.text for kind in batch.kinds]
            self._tally.track(slots, texts, () if batch.all_new else messages)
        self._journal.hold(slots, batch.ids, batch.places)
        if batch.all_good:
            self.waiting.extend(batch.deliveries)
            return
        for delivery in batch.deliveries:
            if not delivery.kind.is_ours:
                why = "it names another queue than the one it was in"
            elif wrong_digits(delivery.id):
                why = "its id is not 26 hexadecimal digits"
            else:
                self.waiting.append(delivery)
                continue
            self.settle(delivery, bad_message(delivery.message, why))

    def _replace(self) -> None:
        """Continue under a new session id, and track what was fetched without our knowledge.

        What ended is sent again with the next `sync`: the server settles it once at most.
        """
        journal, pause = self._journal, 0.05
        journal.fresh = journal.fresh or new_session()
        operation = operations.replace_session(
            self._client.keys, self._name, journal.fresh, self._queues, self._lease_ms
        )
        while True:
            try:
                replaced = self._client.call(operation)
                break
            except ServerError:
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
        self._name, journal.session, journal.fresh = journal.fresh, journal.fresh, ""
        self._must_replace, self._lost_connections = False, self._client.lost_connections
        text = "session ID replaced to reconcile in-flight messages"
        event(logging.INFO, text, kept=replaced.kept)
        # Malformed messages stay in the session and become dead letters when it is recovered.
        whole = [uncancelled(message) or message for message in replaced.messages]
        held = {message[ID]: message for message in filter(is_message, whole)}
        for slot, delivery in enumerate(self._records):
            if delivery and delivery.id not in held:
                self._records[slot] = None
        known = {delivery.id for delivery in (*self._records, *self.unsettled) if delivery}
        self._track([held[id] for id in sorted(held.keys() - known)[: len(self._free)]])
        cancelled = {message[ID] for message in replaced.messages if uncancelled(message)}
        for delivery in [*self.waiting]:
            if delivery.id in cancelled or not self.owns(delivery):
                self.waiting.remove(delivery)
                self.release(delivery)  # the server drops it


def _by_kind(ended: Sequence[Delivery]) -> Groups:
    """Return deliveries by the text of their kind."""
    if len({delivery.kind for delivery in ended}) == 1:
        return {ended[0].kind.text: ended}
    texts = {delivery.kind.text for delivery in ended}
    return {text: [each for each in ended if each.kind.text == text] for text in texts}
