"""The counts of a worker: those of each place, and their sums."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import final

from typedq.observe.labels import HEAD, ROW, Labels
from typedq.observe.tally import LOGGED, Tally


@final
class Tallies:
    """The counts of all places, and of the supervisor in the last one. Made before any fork."""

    def __init__(self, labels: Labels, places: int, slots: int) -> None:
        self.labels, self.places, self.slots = labels, places, slots
        # Pages that are not written take no memory: most rows of most tasks never are.
        used, cells, rest = labels.rows, HEAD + ROW * labels.rows, (4 + LOGGED) * slots + 3
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

    def rows(self) -> Iterator[tuple[str, str, Sequence[float]]]:
        """Yield task, queue and the summed cells of each row in which something was counted."""
        for row in range(self.labels.rows):
            if found := [tally.row(row) for tally in self._tallies if tally.used[row]]:
                task, queue = divmod(row, len(self.labels.queues))
                sums = [sum(cells) for cells in zip(*found, strict=True)]
                yield self.labels.tasks[task], self.labels.queues[queue], sums

    def head(self) -> list[float]:
        """Return the sums of the cells before the rows."""
        return [sum(cells) for cells in zip(*(each.head() for each in self._tallies), strict=True)]
