"""What children count, in memory that they share with the supervisor and the process that serves.

Each child that runs at once has a place. When a child has died, the next one in its place goes on
with the same numbers. A count changes with the journal: the change is logged, made, and the log is
closed when the journal says so, too. So a kill at any moment neither loses nor doubles a count.
"""

from __future__ import annotations

import mmap
import time
from binascii import unhexlify
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from struct import unpack
from typing import NamedTuple, final

from typedq.message import BROADCAST, is_broadcast

OUTCOMES = (
    *("done", "retried", "failed", "rejected", "timeout", "crashed", "parked"),
    *("expired", "cancelled"),
)
EXITS = ("recycled", "stopped", "crashed", "timeout", "out_of_memory", "killed")
# Upper bounds in seconds. The first 14 are those that OpenTelemetry advises for durations.
DURATIONS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(30.0, 60.0, 300.0, 900.0),
)
WAITS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 900.0, 1800.0),
)
MAX_TASKS, OTHER = 500, "other"
# The cells of a row: outcomes, buckets and sum of durations, buckets and sum of waits.
_TOOK = len(OUTCOMES)
_TOOK_SUM = _TOOK + len(DURATIONS) + 1
_WAITED = _TOOK_SUM + 1
_WAITED_SUM = _WAITED + len(WAITS) + 1
ROW = _WAITED_SUM + 1
HEAD = 1 + len(EXITS)  # cells before the rows: server errors, exits
_LOGGED = 10  # numbers in the log for each message: a place and a value for five cells
_NOT_DELAYED = b"0" * 13


class Labels(NamedTuple):
    """The rows: one for each task and queue that may be told apart.

    tasks, queues: each ends with `other`, for all that the app does not declare
    """

    tasks: tuple[str, ...]
    queues: tuple[str, ...]

    @staticmethod
    def of(tasks: Sequence[str], queues: Sequence[str]) -> Labels:
        """Return the labels of an app; tasks beyond 500 are `other`."""
        return Labels((*sorted(tasks)[:MAX_TASKS], OTHER), (*queues, OTHER))

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return len(self.tasks) * len(self.queues)

    def row(self, task: str, queue: str) -> int:
        """Return the row of a task and a queue."""
        task = task if task in self.tasks else OTHER
        queue = queue if queue in self.queues else OTHER
        return self.tasks.index(task) * len(self.queues) + self.queues.index(queue)


@final
class Tallies:
    """The counts of all places, and of the supervisor in the last one. Made before any fork."""

    def __init__(self, labels: Labels, places: int, slots: int) -> None:
        self.labels, self.places, self.slots = labels, places, slots
        # Pages that are not written take no memory: most rows of most tasks never are.
        used, cells, rest = labels.rows, HEAD + ROW * labels.rows, (4 + _LOGGED) * slots + 3
        size = -(-used // 8) * 8 + 8 * (cells + rest)
        self._memory = [mmap.mmap(-1, size) for _ in range(places + 1)]
        self._tallies = [Tally(memory, labels, slots) for memory in self._memory]

    @property
    def of_children(self) -> Sequence[Tally]:
        """Return one for each child that may run at once."""
        return self._tallies[:-1]

    @property
    def own(self) -> Tally:
        """Return that of the supervisor."""
        return self._tallies[-1]

    def rows(self) -> Iterator[tuple[str, str, list[float]]]:
        """Yield task, queue and the summed cells of each row in which something was counted."""
        for row in range(self.labels.rows):
            if found := [tally.row(row) for tally in self._tallies if tally.used[row]]:
                task, queue = divmod(row, len(self.labels.queues))
                sums = [sum(cells) for cells in zip(*found, strict=True)]
                yield self.labels.tasks[task], self.labels.queues[queue], sums

    def head(self) -> list[float]:
        """Return the sums of the cells before the rows."""
        return [sum(cells) for cells in zip(*(each.head() for each in self._tallies), strict=True)]


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
        # Of each message that is held: its row, when it was due (ms), when it ended (monotonic).
        self._row, self._due, self.ended = (rest[n * slots : (n + 1) * slots] for n in range(3))
        log = rest[3 * slots :]
        # How many cells are logged, 0 if none; how many slots; the pid of the child, 0 if none.
        self._state, self._slots, self._log = log[:3], log[3 : 3 + slots], log[3 + slots :]
        self.started: Sequence[float] = ()  # by slot: the column of the journal

    # --- the child -------------------------------------------------------------------------------

    def track(
        self, slots: Sequence[int], messages: Sequence[bytes], kinds: Sequence[bytes]
    ) -> None:
        """Record the rows and due times of messages that were fetched; `kinds`: their texts."""
        row, due, rows = self._row, self._due, self._rows
        for slot, ms, kind in zip(slots, _due_ms(messages), kinds, strict=True):
            due[slot] = ms
            row[slot] = rows[kind] if kind in rows else self._learn(kind)

    def fold(self, slots: Sequence[int]) -> None:
        """Count attempts that ended well. Then the journal is to free the slots; then `close`."""
        changes = Counter[int]()
        sums = dict[int, float]()
        by_row: dict[float, list[int]] = {}
        for slot in slots:
            by_row.setdefault(self._row[slot], []).append(slot)
        for row, of_row in by_row.items():
            self._observe(int(row), of_row, changes, sums)
            changes[HEAD + ROW * int(row)] += len(of_row)
        self._write(slots, changes, sums)

    def count(self, slot: int, outcome: str, *, ran: bool) -> None:
        """Count one attempt. Then the journal is to free the slot; then `close`."""
        row, changes, sums = int(self._row[slot]), Counter[int](), dict[int, float]()
        if ran:
            self._observe(row, [slot], changes, sums)
        changes[HEAD + ROW * row + OUTCOMES.index(outcome)] += 1
        self._write([slot], changes, sums)

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
        if len(self._rows) < 10_000:
            self._rows[kind] = row
        return row

    def _observe(
        self, row: int, slots: Sequence[int], changes: Counter[int], sums: dict[int, float]
    ) -> None:
        """Add the durations and waits of attempts that ran, which are of one row."""
        first = HEAD + ROW * row
        started = [self.started[slot] for slot in slots]
        ended = [self.ended[slot] for slot in slots]
        due = [self._due[slot] for slot in slots]
        epoch, n = time.time() - time.monotonic(), len(slots)
        if max(ended) - min(started) <= DURATIONS[0]:
            changes[first + _TOOK] += n
        else:
            for begun, over in zip(started, ended, strict=True):
                changes[first + _TOOK + bisect_left(DURATIONS, over - begun)] += 1
        sums[first + _TOOK_SUM] = sum(ended) - sum(started)
        low = min(started) + epoch - max(due) / 1000
        high = max(started) + epoch - min(due) / 1000
        if low >= 0 and (bucket := bisect_left(WAITS, low)) == bisect_left(WAITS, high):
            changes[first + _WAITED + bucket] += n
            sums[first + _WAITED_SUM] = sum(started) + n * epoch - sum(due) / 1000
            return
        waits = [max(0.0, s + epoch - d / 1000) for s, d in zip(started, due, strict=True)]
        for wait in waits:
            changes[first + _WAITED + bisect_left(WAITS, wait)] += 1
        sums[first + _WAITED_SUM] = sum(waits)

    def _write(self, slots: Sequence[int], changes: Counter[int], sums: dict[int, float]) -> None:
        cells, log, logged, n = self._cells, self._log, self._slots, 0
        for at, more in chain(changes.items(), sums.items()):
            log[n], log[n + 1] = at, cells[at] + more
            n += 2
        for place, slot in enumerate(slots):
            logged[place] = slot
        self._state[1] = len(slots)
        self._state[0] = n // 2  # from now on it counts
        self._apply()

    def _apply(self) -> None:
        cells, log = self._cells, self._log
        for n in range(0, 2 * int(self._state[0]), 2):
            at = int(log[n])
            cells[at] = log[n + 1]
            if at >= HEAD:
                self.used[(at - HEAD) // ROW] = 1

    # --- the supervisor --------------------------------------------------------------------------

    def recover(self, done: Sequence[int], running: dict[int, str]) -> None:
        """Count what a dead child had not: what was done, and outcomes of what ran, by slot."""
        self._apply()
        counted = (
            {int(self._slots[n]) for n in range(int(self._state[1]))} if self._state[0] else ()
        )
        self.close()
        now = time.monotonic()
        for slot, outcome in {**dict.fromkeys(done, "done"), **running}.items():
            if slot in counted:
                continue
            if slot in running or self.ended[slot] < self.started[slot]:
                self.ended[slot] = now  # it was killed before it could say when
            self.count(slot, outcome, ran=True)
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


def _due_ms(messages: Sequence[bytes]) -> Sequence[float]:
    """Return when messages were due: their due time, else when they were enqueued."""
    if b"".join([m[11:24] for m in messages]) == _NOT_DELAYED * len(messages):
        try:
            ids = unhexlify(b"".join([m[25:51] for m in messages]))
            return [number >> 20 for number in unpack(">" + "Q5x" * len(messages), ids)]
        except ValueError:  # one is no id
            pass
    return [_due(message) for message in messages]


def _due(message: bytes) -> float:
    try:
        return int(message[11:24]) or int(message[25:36], 16)
    except ValueError:
        return time.time() * 1000
