"""What a child is doing, in memory shared with its supervisor, so that a kill loses no knowledge.

The child writes, the supervisor reads; the supervisor alone writes the fence and the marks.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, final

# A slot: state, mark, place of the queue (a byte each), id; then two doubles, from 32 on.
_HEADER, _SLOT, _ID_AT, _ID_END, _STARTED, _DEADLINE = 128, 48, 3, 29, 32, 40
_SESSION, _FRESH, _FENCE, _PHASE, _COUNTS = 0, 32, 64, 72, 80


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
_HELD_OF = [bytes([_HELD, 0, queue]) for queue in range(256)]


@final
class Journal:
    """The journal of one child, made before the fork; `slots` messages at most."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, _HEADER + slots * _SLOT)
        self._doubles = memoryview(self._memory).cast("d")
        self._counts = memoryview(self._memory)[_COUNTS : _COUNTS + 16].cast("Q")

    # --- the child -----------------------------------------------------------------------------

    def hold(self, slot: int, id: bytes, queue: int) -> None:
        """A message was fetched."""
        at = _HEADER + slot * _SLOT
        self._memory[at : at + _ID_END] = _HELD_OF[queue] + id

    def claim(self, slot: int, hard: float | None) -> float:
        """Say that a message runs from now, at most for `hard` seconds; 0.0 if it may not.

        Answers now, by the monotonic clock.

        It may not if it was revoked or fenced off. The claim is written before the mark is read,
        and the supervisor marks only while this process is stopped: one of the two always sees the
        other.
        """
        now, at = time.monotonic(), _HEADER + slot * _SLOT
        self._doubles[(at + _STARTED) >> 3] = now
        self._doubles[(at + _DEADLINE) >> 3] = _NEVER if hard is None else now + hard
        self._memory[at] = _RUNNING
        if self._memory[at + 1] or now >= self._doubles[_FENCE >> 3]:
            self._memory[at] = _HELD
            return 0.0
        return now

    def done(self, slot: int) -> None:
        """It ended well; the server need not know yet."""
        self._memory[_HEADER + slot * _SLOT] = _DONE

    def put(self, slot: int, state: State) -> None:
        """Any other change of state."""
        self._memory[_HEADER + slot * _SLOT] = state

    def free(self, slots: Iterable[int]) -> None:
        """These hold nothing any more."""
        memory = self._memory
        for slot in slots:
            memory[_HEADER + slot * _SLOT] = _FREE

    def is_marked(self, slot: int) -> bool:
        """Whether the supervisor handed it back."""
        return self._memory[_HEADER + slot * _SLOT + 1] != 0

    def is_fenced(self) -> bool:
        """Whether the lease, as far as this process knows, has ended."""
        return time.monotonic() >= self._doubles[_FENCE >> 3]

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
        self._memory[_PHASE] = phase

    # --- the supervisor ------------------------------------------------------------------------

    def fence(self, until: float) -> None:
        """No message may start after this instant of the monotonic clock."""
        self._doubles[_FENCE >> 3] = until

    def mark(self, slot: int) -> None:
        """Revoke a message that was not claimed. Only while the child is stopped."""
        self._memory[_HEADER + slot * _SLOT + 1] = 1

    @property
    def totals(self) -> tuple[int, int]:
        """Done and failed since the start."""
        done, failed = self._counts
        return done, failed

    def entries(self) -> Iterator[Entry]:
        """Every message that the child holds."""
        for slot in range(self.slots):
            at = _HEADER + slot * _SLOT
            state = self._memory[at]
            if state:
                started = self._doubles[(at + _STARTED) >> 3] if state == _RUNNING else 0.0
                id = self._memory[at + _ID_AT : at + _ID_END]
                deadline = self._doubles[(at + _DEADLINE) >> 3] if state == _RUNNING else _NEVER
                yield Entry(slot, State(state), id, self._memory[at + 2], started, deadline)

    def _text(self, at: int) -> str:
        return self._memory[at : at + 32].rstrip(b"\0").decode()

    def _write(self, at: int, text: str) -> None:
        self._memory[at : at + 32] = text.encode().ljust(32, b"\0")
