"""What children count, in memory that they share with the supervisor and the process that serves.

Each child that runs at once has a place. When a child has died, the next one in its place goes on
with the same numbers. A count changes with the journal: the change is logged, made, and the log is
closed when the journal says so, too. So a kill at any moment neither loses nor doubles a count.
"""

from __future__ import annotations

import mmap
import time
from array import array
from binascii import unhexlify
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from struct import Struct
from typing import Protocol, final

from typedq.message import BROADCAST, ID_SIZE, is_broadcast
from typedq.observe.labels import (
    DURATIONS,
    EXITS,
    HEAD,
    OUTCOMES,
    ROW,
    TOOK,
    TOOK_SUM,
    WAITED,
    WAITED_SUM,
    WAITS,
    Labels,
)

LOGGED = 10  # numbers in the log for each message: a place and a value for five cells
_MAX_KINDS = 10_000
_DUE = 1000 << 20
_MS_SIZE = 11  # digits of an id


class Ended(Protocol):
    """A message whose attempt ended. took: how long it ran (s); below 0 if it never began."""

    @property
    def slot(self) -> int: ...
    @property
    def took(self) -> float: ...


@final
class Tally:
    """The counts of one place. Its child writes; after its death the supervisor does."""

    def __init__(self, memory: mmap.mmap, labels: Labels, slots: int) -> None:
        view, at = memoryview(memory), -(-labels.rows // 8) * 8
        self._labels, self._rows = labels, dict[bytes, int]()
        self.used = view[: labels.rows]
        cells = view[at:].cast("d")
        size = HEAD + ROW * labels.rows
        self._cells, rest = cells[:size], cells[size:]
        # Of each message that is held: its row; when it was due (ms), or 0 for when it was
        # enqueued; when it ended (monotonic), if it was a coroutine.
        self._row, self._due, self.ended = (rest[n * slots : (n + 1) * slots] for n in range(3))
        log = rest[3 * slots :]
        # How many cells are logged, 0 if none; how many slots, below 0 if they lie side by side and
        # only the first is logged; the pid of the child, 0 if none.
        self._state, self._slots, self._log = log[:3], log[3 : 3 + slots], log[3 + slots :]
        self._delayed = set[int]()  # slots whose due time is not 0
        # Of the messages in each slot, until the journal gives its own: starts and ids.
        self.started = memoryview(bytes(8 * slots)).cast("d")
        self.ids = memoryview(bytes(ID_SIZE * slots))

    # --- the child -------------------------------------------------------------------------------

    def track(
        self, slots: Sequence[int], kinds: Sequence[bytes], messages: Sequence[bytes]
    ) -> None:
        """Record rows and due times of messages that were fetched.

        kinds: the text of each; if all have the same, once is enough
        messages: none if all were due when they were enqueued
        """
        rows = [self._rows[kind] if kind in self._rows else self._learn(kind) for kind in kinds]
        column = array("d", rows) * (len(slots) // len(rows))
        if isinstance(slots, range):
            self._row[slots.start : slots.stop] = column
        else:
            for slot, row in zip(slots, column, strict=True):
                self._row[slot] = row
        if messages or self._delayed:
            for slot, message in zip(slots, messages or [b""] * len(slots), strict=True):
                self._due[slot] = due = _due_ms(message)
                (self._delayed.add if due else self._delayed.discard)(slot)

    def fold(self, groups: Mapping[bytes, Sequence[Ended]], slots: Sequence[int]) -> None:
        """Count attempts that ended well, by the text of their kind.

        Then the journal is to free their slots, which are among `slots`, and then `close`.
        """
        changes = dict[int, float]()
        for kind, group in groups.items():
            row = self._rows[kind] if kind in self._rows else self._learn(kind)
            own = slots if len(group) == len(slots) else [each.slot for each in group]
            changes[HEAD + ROW * row] = changes.get(HEAD + ROW * row, 0.0) + len(group)
            self._observe(row, own, [each.took for each in group], changes)
        self._write(slots, changes)

    def count(self, attempt: Ended, kind: bytes, outcome: str) -> None:
        """Count one attempt. Then the journal is to free its slot, and then `close`."""
        row = self._rows[kind] if kind in self._rows else self._learn(kind)
        changes = {HEAD + ROW * row + OUTCOMES.index(outcome): 1.0}
        if attempt.took >= 0:
            self._observe(row, [attempt.slot], [attempt.took], changes)
        self._write([attempt.slot], changes)

    def close(self) -> None:
        """The journal has changed, too."""
        self._state[0] = 0

    def server_error(self) -> None:
        """Count a request to the server that failed."""
        self._cells[0] += 1

    def exit(self, reason: str) -> None:
        """Count a child that has ended."""
        self._cells[1 + EXITS.index(reason)] += 1

    def _learn(self, kind: bytes) -> int:
        contract, queue = (word.decode(errors="replace") for word in kind.split(b" ")[:2])
        queue = BROADCAST if is_broadcast(queue) else queue
        row = self._labels.row(contract.partition("@")[0], queue)
        if len(self._rows) < _MAX_KINDS:
            self._rows[kind] = row
        self.used[row] = 1
        return row

    def _observe(
        self, row: int, slots: Sequence[int], tooks: Sequence[float], changes: dict[int, float]
    ) -> None:
        """Add durations and waits of attempts that ran, which are of one row."""
        first, n, get = HEAD + ROW * row, len(slots), changes.get
        total, now = sum(tooks), time.time()
        if total <= DURATIONS[0]:  # then each is
            changes[first + TOOK] = get(first + TOOK, 0.0) + n
        else:
            for at in [first + TOOK + bisect_left(DURATIONS, took) for took in tooks]:
                changes[at] = get(at, 0.0) + 1
        changes[first + TOOK_SUM] = get(first + TOOK_SUM, 0.0) + total
        if isinstance(slots, range):
            # A memoryview makes its numbers one by one.
            started: Sequence[float] = array("d", bytes(self.started[slots.start : slots.stop]))
        else:
            started = [self.started[slot] for slot in slots]
        # On the clock of the due times. Often all are in one bucket, so that none need be paired.
        due, epoch = self._dues(slots), now - time.monotonic()
        ordered = sorted(due)
        latest = ordered[-1]
        low = min(started) + epoch - latest / _DUE
        bucket = bisect_left(WAITS, now - ordered[0] / _DUE)  # all have started by now
        at = first + WAITED_SUM
        if low >= 0 and (not bucket or low > WAITS[bucket - 1]):
            changes[first + WAITED + bucket] = get(first + WAITED + bucket, 0.0) + n
            dues = sum(due) if ordered[0] < latest else n * latest
            changes[at] = get(at, 0.0) + sum(started) + n * epoch - dues / _DUE
            return
        for slot, unit in zip(slots, due * (n // len(due)), strict=True):
            wait = max(0.0, self.started[slot] + epoch - unit / _DUE)
            bucket = first + WAITED + bisect_left(WAITS, wait)
            changes[bucket] = get(bucket, 0.0) + 1
            changes[at] = get(at, 0.0) + wait

    def _dues(self, slots: Sequence[int]) -> tuple[int, ...]:
        """Return when messages were due, in seconds times _DUE; one number if all are the same.

        Without a due time, it is that of the id: the first 11 of its 26 digits are milliseconds,
        and those behind them make less than one.
        """
        if isinstance(slots, range):
            ids = bytes(self.ids[slots.start * ID_SIZE : slots.stop * ID_SIZE])
        else:
            ids = b"".join(self.ids[slot * ID_SIZE : (slot + 1) * ID_SIZE] for slot in slots)
        ms = ids[:_MS_SIZE]
        try:
            if ids.count(ms) == len(slots):  # one call enqueued them all
                found: tuple[int, ...] = (int(ms, 16) << 20,)
            else:
                found = _unpacker(len(slots))(unhexlify(ids))
        except ValueError:  # one is no id
            return (int(time.time() * _DUE),)
        if not self._delayed:
            return found
        pairs = zip(slots, found * (len(slots) // len(found)), strict=True)
        return tuple([int(self._due[slot]) << 20 or number for slot, number in pairs])

    def _write(self, slots: Sequence[int], changes: dict[int, float]) -> None:
        cells, n = self._cells, len(changes)
        values = [cells[at] + more for at, more in changes.items()]
        self._log[: 2 * n] = array("d", [*changes, *values])
        if isinstance(slots, range):
            self._state[1], self._slots[0] = -len(slots), slots.start
        else:
            self._state[1] = len(slots)
            self._slots[: len(slots)] = array("d", slots)
        self._state[0] = n  # from now on it counts
        for at, value in zip(changes, values, strict=True):
            cells[at] = value

    # --- the supervisor --------------------------------------------------------------------------

    def recover(self, ended: Mapping[int, str]) -> None:
        """Count what a dead child had not: the outcome of each slot."""
        n = int(self._state[0])
        for at, value in zip([*self._log[:n]], [*self._log[n : 2 * n]], strict=True):
            self._cells[int(at)] = value
        counted, size = set[int](), int(self._state[1]) if n else 0
        if size < 0:
            first = int(self._slots[0])
            counted = {*range(first, first - size)}
        elif size:
            counted = {int(slot) for slot in self._slots[:size]}
        self.close()
        self._delayed = {slot for slot in ended if self._due[slot]}
        now = time.monotonic()
        starts = sorted(self.started[slot] for slot in ended)
        for slot, outcome in ended.items():
            if slot in counted:
                continue
            started, end = self.started[slot], self.ended[slot]
            if outcome != "done":
                end = now
            elif end < started:  # a sync task: the next one began when it was over
                end = next((start for start in starts if start > started), now)
            row = int(self._row[slot])
            changes = {HEAD + ROW * row + OUTCOMES.index(outcome): 1.0}
            self._observe(row, [slot], [end - started], changes)
            self._write([slot], changes)
            self.close()

    # --- who serves them -------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of the child that has this place, 0 if none."""
        return int(self._state[2])

    @pid.setter
    def pid(self, pid: int) -> None:
        self._state[2] = pid

    def row(self, row: int) -> Sequence[float]:
        """Return the cells of a row."""
        return self._cells[HEAD + ROW * row : HEAD + ROW * (row + 1)].tolist()

    def head(self) -> Sequence[float]:
        """Return the cells before the rows."""
        return self._cells[:HEAD].tolist()


@cache
def _unpacker(ids: int) -> Callable[[bytes], tuple[int, ...]]:
    return Struct(">" + "Q5x" * ids).unpack


def _due_ms(message: bytes) -> int:
    try:
        return int(message[11:24])
    except ValueError:
        return 0
