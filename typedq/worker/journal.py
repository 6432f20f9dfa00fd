"""What a child is doing, in memory shared with its supervisor, so that a kill loses no knowledge.

The child writes, the supervisor reads; the supervisor alone writes the fence and the marks.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, final

# The session, that to come, the fence, the phase, the counts and the beat; then a column for each
# thing that is known of a slot, so that a batch is written at once: began, deadline (doubles),
# state, mark, place of the queue (bytes), id.
_HEADER, _ID = 128, 26
MAX_QUEUES = 255  # a place is one byte, and the first is that of the supervisor's own queue
_SESSION, _FRESH, _FENCE, _PHASE, _COUNTS, _BEAT = 0, 32, 64, 72, 80, 96


class Phase(IntEnum):
    """What a child as a whole is doing."""

    STARTING, IDLE, BUSY = range(3)


class State(IntEnum):
    """What became of one message that the child holds."""

    FREE, HELD, RUNNING, DONE, WAITING = range(5)


class Entry(NamedTuple):
    """One message in a journal.

    queue: its place among the child's queues; started, deadline: by the monotonic clock, if it runs
    """

    slot: int
    state: State
    id: bytes
    queue: int
    started: float
    deadline: float


# Plain ints: an enum member costs more than the write it stands for.
_NEVER = float("inf")
_FREE, _HELD = int(State.FREE), int(State.HELD)
_RUNNING, _DONE = int(State.RUNNING), int(State.DONE)


@final
class Journal:
    """The journal of one child, made before the fork; `slots` messages at most."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, _HEADER + slots * (2 * 8 + 3 + _ID))
        view, at, size = memoryview(self._memory), _HEADER, 8 * slots
        self._fence = view[_FENCE : _FENCE + 8].cast("d")
        self._counts = view[_COUNTS : _COUNTS + 16].cast("Q")
        self._beat = view[_BEAT : _BEAT + 8].cast("d")
        self._began = view[at : at + size].cast("d")
        self._deadlines = view[at + size : at + 2 * size].cast("d")
        at += 2 * size
        self._states, self._marks, self._queues = (
            view[at + column * slots : at + (column + 1) * slots] for column in range(3)
        )
        self._ids = view[at + 3 * slots :]

    # --- the child -----------------------------------------------------------------------------

    def hold(self, slots: Sequence[int], ids: Sequence[bytes], queue: int) -> None:
        """Messages of one queue were fetched into these slots, which rise."""
        first, count = slots[0], len(slots)
        end = first + count
        if slots[-1] >= end:  # there are gaps
            for slot, id in zip(slots, ids, strict=True):
                self.hold_one(slot, id, queue)
            return
        self._ids[first * _ID : end * _ID] = b"".join(ids)
        self._queues[first:end] = bytes([queue]) * count
        self._marks[first:end] = bytes(count)
        self._states[first:end] = bytes([_HELD]) * count  # last: now the rest counts

    def hold_one(self, slot: int, id: bytes, queue: int) -> None:
        """As `hold`, of a single message."""
        self._ids[slot * _ID : (slot + 1) * _ID] = id
        self._queues[slot], self._marks[slot] = queue, 0
        self._states[slot] = _HELD

    def claim(self, slot: int, now: float, hard: float | None) -> bool:
        """Say that a message runs from now, at most for `hard` seconds; False if it may not.

        It may not if it was revoked or fenced off. The claim is written before the mark is read,
        and the supervisor marks only while this process is stopped: one of the two always sees the
        other. `now` is by the monotonic clock.
        """
        self._began[slot] = now
        self._deadlines[slot] = _NEVER if hard is None else now + hard
        self._states[slot] = _RUNNING
        if self._marks[slot] or now >= self._fence[0]:
            self._states[slot] = _HELD
            return False
        return True

    def done(self, slot: int) -> None:
        """It ended well; the server need not know yet."""
        self._states[slot] = _DONE

    def put(self, slot: int, state: State) -> None:
        """Any other change of state."""
        self._states[slot] = state

    def free(self, slots: Iterable[int]) -> None:
        """These hold nothing any more."""
        states = self._states
        for slot in slots:
            states[slot] = _FREE

    def is_revoked(self, slot: int) -> bool:
        """Whether the supervisor handed it back."""
        return self._marks[slot] != 0

    def is_lease_over(self) -> bool:
        """Whether the lease, as far as this process knows, has ended."""
        return time.monotonic() >= self._fence[0]

    def count(self, done: int = 0, failed: int = 0) -> None:
        """Add to the totals that the supervisor reports."""
        self._counts[0] += done
        self._counts[1] += failed

    # --- both ----------------------------------------------------------------------------------

    @property
    def session(self) -> str:
        """The session under which the child fetches."""
        return self._text(_SESSION)

    @session.setter
    def session(self, name: str) -> None:
        self._write(_SESSION, name)

    @property
    def fresh(self) -> str:
        """The session to which the child is about to rotate, or ""."""
        return self._text(_FRESH)

    @fresh.setter
    def fresh(self, name: str) -> None:
        self._write(_FRESH, name)

    @property
    def phase(self) -> Phase:
        """What the child as a whole is doing."""
        return Phase(self._memory[_PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._beat[0] = time.monotonic()
        self._memory[_PHASE] = phase

    @property
    def last_heartbeat(self) -> float:
        """When the child last said its phase, by the monotonic clock."""
        return self._beat[0]

    @last_heartbeat.setter
    def last_heartbeat(self, now: float) -> None:
        self._beat[0] = now

    # --- the supervisor ------------------------------------------------------------------------

    def set_lease_deadline(self, until: float) -> None:
        """No message may start after this instant of the monotonic clock."""
        self._fence[0] = until

    def revoke(self, slot: int) -> None:
        """Revoke a message that was not claimed. Only while the child is stopped."""
        self._marks[slot] = 1

    @property
    def totals(self) -> tuple[int, int]:
        """Done and failed since the start."""
        done, failed = self._counts
        return done, failed

    def entries(self) -> Iterator[Entry]:
        """Every message that the child holds."""
        for slot, state in enumerate(bytes(self._states)):
            if state:
                began, deadline = 0.0, _NEVER
                if state == _RUNNING:
                    began, deadline = self._began[slot], self._deadlines[slot]
                id = bytes(self._ids[slot * _ID : (slot + 1) * _ID])
                yield Entry(slot, State(state), id, self._queues[slot], began, deadline)

    def _text(self, at: int) -> str:
        return self._memory[at : at + 32].rstrip(b"\0").decode()

    def _write(self, at: int, text: str) -> None:
        self._memory[at : at + 32] = text.encode().ljust(32, b"\0")
