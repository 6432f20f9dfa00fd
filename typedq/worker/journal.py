"""The in-flight records of a child in memory that its supervisor shares: they outlive a kill.

The child writes and the supervisor reads. Only the supervisor sets the lease deadline and revokes.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, final

from typedq.message import ID_SIZE
from typedq.observe.tally import Tally

# The header: session, fresh session, lease deadline, phase, stop request, totals, heartbeat. Then
# a column for each field of a record: started, deadline (doubles), state, mark, queue's place
# (bytes), id, and the id of the message that is cancelled.
_HEADER = 128
MAX_QUEUES = 255  # a place is one byte, and the first is that of the supervisor's own queue
_SESSION, _FRESH, _LEASE, _PHASE, _STOP, _TOTALS, _HEARTBEAT = 0, 32, 64, 72, 73, 80, 96


class Phase(IntEnum):
    """What a child as a whole does. ENDED: all it had to do; it is about to exit with code 0."""

    STARTING, IDLE, BUSY, ENDED = range(4)


class State(IntEnum):
    """The state of a record.

    WAITING: not started, because it must run alone and others run; FAILED: the server does not know
    yet how it failed
    """

    FREE, HELD, RUNNING, DONE, WAITING, FAILED = range(6)


class Entry(NamedTuple):
    """One record as the supervisor reads it.

    queue: its place among the child's queues; started, deadline: monotonic clock, if it runs
    """

    slot: int
    state: State
    id: bytes
    queue: int
    started: float
    deadline: float


# Plain ints: an enum member costs more than the write it stands for.
_NEVER = float("inf")
_MANY = 4  # slots that are worth a range
_TRIES = 100  # to read a record that changes; memory that a task overwrote may hold a NaN
_FREE, _HELD = int(State.FREE), int(State.HELD)
_RUNNING, _DONE = int(State.RUNNING), int(State.DONE)
_REVOKED, _CANCELLED, _TAKEN = 1, 2, 3  # marks; the last is set by the child


def new_session() -> str:
    """Return a session id that was never used before."""
    return os.urandom(8).hex()


@final
class Journal:
    """The journal of one child, created before the fork, for at most `slots` messages."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, _HEADER + slots * (2 * 8 + 3 + 2 * ID_SIZE))
        view, at, size = memoryview(self._memory), _HEADER, 8 * slots
        self.lease_deadline = view[_LEASE : _LEASE + 8].cast("d")
        self.stop_request = view[_STOP : _STOP + 1]  # not 0: the child is to stop
        self._totals = view[_TOTALS : _TOTALS + 16].cast("Q")
        self._heartbeat = view[_HEARTBEAT : _HEARTBEAT + 8].cast("d")
        self.started = view[at : at + size].cast("d")
        self._deadlines = view[at + size : at + 2 * size].cast("d")
        at += 2 * size
        self._states, self._marks, self._queues = (
            view[at + column * slots : at + (column + 1) * slots] for column in range(3)
        )
        at += 3 * slots
        self.tally: Tally | None = None
        self.ids, self._cancelled = view[at : at + ID_SIZE * slots], view[at + ID_SIZE * slots :]

    # --- the child -----------------------------------------------------------------------------

    def hold(self, slots: Sequence[int], ids: Sequence[bytes], places: bytes) -> None:
        """Record messages that were fetched; `places` are those of their queues."""
        column, queues, marks, states = self.ids, self._queues, self._marks, self._states
        if isinstance(slots, range):
            run, n = slice(slots.start, slots.stop), len(slots)
            column[run.start * ID_SIZE : run.stop * ID_SIZE] = b"".join(ids)
            queues[run], marks[run] = places, bytes(n)
            states[run] = bytes([_HELD]) * n
            return
        for slot, id, place in zip(slots, ids, places, strict=True):
            column[slot * ID_SIZE : (slot + 1) * ID_SIZE] = id
            queues[slot], marks[slot] = place, 0
            states[slot] = _HELD  # last: it makes the rest valid

    def claim(self, slot: int, now: float, hard: float | None) -> bool:
        """Record that a message runs from `now` (monotonic), for at most `hard` seconds.

        Return False if it must not start: it was revoked or cancelled, or the lease is over. The
        claim is written before the mark is read. The supervisor revokes only while this process is
        stopped, and sends a signal behind each cancellation: one of the two always sees the other.
        """
        self.started[slot] = now
        self._deadlines[slot] = _NEVER if hard is None else now + hard
        self._states[slot] = _RUNNING
        if self._marks[slot] or now >= self.lease_deadline[0]:
            self._states[slot] = _HELD
            return False
        return True

    def done(self, slot: int) -> None:
        """Record that it ended well; the server need not know yet."""
        self._states[slot] = _DONE

    def set_state(self, slot: int, state: State) -> None:
        """Record a state for which there is no other method."""
        self._states[slot] = state

    def free(self, slots: Sequence[int], done: int = 0, failed: int = 0) -> None:
        """Free slots, and add what ended to the totals that the supervisor reports."""
        states = self._states
        if isinstance(slots, range):
            states[slots.start : slots.stop] = bytes(len(slots))
        else:
            for slot in slots:
                states[slot] = _FREE
        self._totals[0] += done
        self._totals[1] += failed

    def is_revoked(self, slot: int) -> bool:
        """Return True if the supervisor released it."""
        return self._marks[slot] == _REVOKED

    def take_cancellation(self, slot: int, id: bytes) -> bool:
        """Return True, once, if this message was cancelled and runs: interrupt its task."""
        if not self.is_cancelled(slot, id):
            return False
        self._marks[slot] = _TAKEN
        return True

    def return_cancellation(self, slot: int) -> None:
        """Undo `take_cancellation`: a finalizer dropped what was raised in the task."""
        self._marks[slot] = _CANCELLED

    def is_cancelled(self, slot: int, id: bytes) -> bool:
        """Return True if this message was cancelled, runs, and was not interrupted yet."""
        if self._marks[slot] != _CANCELLED or self._states[slot] != _RUNNING:
            return False
        return bytes(self._cancelled[slot * ID_SIZE : (slot + 1) * ID_SIZE]) == id

    def is_lease_over(self) -> bool:
        """Return True if the lease has ended, as far as this process knows."""
        return time.monotonic() >= self.lease_deadline[0]

    # --- both ----------------------------------------------------------------------------------

    @property
    def session(self) -> str:
        """Return the session under which the child fetches."""
        return self._text(_SESSION)

    @session.setter
    def session(self, name: str) -> None:
        self._write(_SESSION, name)

    @property
    def fresh(self) -> str:
        """Return the session that is about to replace the session, or ""."""
        return self._text(_FRESH)

    @fresh.setter
    def fresh(self, name: str) -> None:
        self._write(_FRESH, name)

    @property
    def phase(self) -> Phase:
        """Return what the child as a whole does. Setting it is a heartbeat."""
        return Phase(self._memory[_PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._heartbeat[0] = time.monotonic()
        self._memory[_PHASE] = phase

    @property
    def last_heartbeat(self) -> float:
        """Return when the child last set its phase (monotonic)."""
        return self._heartbeat[0]

    # --- the supervisor ------------------------------------------------------------------------

    def begin_session(self, lease_s: float) -> str:
        """Set a new session, whose lease begins now; return its name."""
        self.session, self._heartbeat[0] = new_session(), time.monotonic()
        self.set_lease_deadline(self._heartbeat[0] + lease_s)
        return self.session

    def set_lease_deadline(self, until: float) -> None:
        """Let no message start after this instant (monotonic)."""
        self.lease_deadline[0] = until

    def request_stop(self) -> None:
        """Have the child stop, even if a task holds the signal that tells it so."""
        self.stop_request[0] = 1

    def revoke(self, slot: int) -> None:
        """Revoke a message that was not claimed. Only while the child is stopped."""
        self._marks[slot] = _REVOKED

    def cancel(self, slot: int, id: bytes) -> None:
        """Cancel a message. Send the child a signal afterwards.

        The slot may be another message's by now: one that runs does not have this id, and one that
        has not started is released.
        """
        if self._marks[slot] in (0, _CANCELLED):
            self._cancelled[slot * ID_SIZE : (slot + 1) * ID_SIZE] = id
            self._marks[slot] = _CANCELLED

    @property
    def totals(self) -> tuple[int, int]:
        """Return how many ended well and how many failed since the start."""
        done, failed = self._totals
        return done, failed

    def entries(self) -> Iterator[Entry]:
        """Yield the record of every message that the child holds."""
        for slot, state in enumerate(bytes(self._states)):
            if state and (entry := self._entry(slot)):
                yield entry

    def entries_in(self, state: State) -> Iterator[Entry]:
        """Yield those in one state; a child may hold a thousand messages, and run one of them."""
        states, slot = bytes(self._states), -1
        while (slot := states.find(state, slot + 1)) >= 0:
            if (entry := self._entry(slot)) and entry.state == state:
                yield entry

    def _entry(self, slot: int) -> Entry | None:
        """Return the record of one message, not parts of two: the child goes on meanwhile."""
        tries = 0
        while True:
            state, began = self._states[slot], self.started[slot]
            id = bytes(self.ids[slot * ID_SIZE : (slot + 1) * ID_SIZE])
            deadline, queue = self._deadlines[slot], self._queues[slot]
            # Each claim has another start.
            tries += 1
            same = state == self._states[slot] and began == self.started[slot]
            if same or tries == _TRIES:
                break
        if state != _RUNNING:
            began, deadline = 0.0, _NEVER
        return Entry(slot, State(state), id, queue, began, deadline) if state else None

    def _text(self, at: int) -> str:
        return self._memory[at : at + 32].rstrip(b"\0").decode()

    def _write(self, at: int, text: str) -> None:
        self._memory[at : at + 32] = text.encode().ljust(32, b"\0")


def compact(slots: list[int]) -> Sequence[int]:
    """Return slots as a range if each follows the one before: what is of them lies side by side.

    Fewer than four are returned as they are: a range saves less than it costs to find one.
    """
    if len(slots) < _MANY:
        return slots
    run = range(slots[0], slots[0] + len(slots))
    return run if slots == [*run] else slots
