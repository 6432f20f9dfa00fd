"""What is counted of each task and queue, and where: rows of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
TOOK = len(OUTCOMES)
TOOK_SUM = TOOK + len(DURATIONS) + 1
WAITED = TOOK_SUM + 1
WAITED_SUM = WAITED + len(WAITS) + 1
ROW = WAITED_SUM + 1
HEAD = 1 + len(EXITS)  # cells before the rows: server errors, exits


class Labels(NamedTuple):
    """The rows: one for each task and queue that may be told apart.

    tasks, queues: each ends with `other`, for all that the app does not declare
    aliases: former names of tasks, and those that they count for
    """

    tasks: tuple[str, ...]
    queues: tuple[str, ...]
    aliases: Mapping[str, str]

    @staticmethod
    def of(tasks: Mapping[str, Sequence[str]], queues: Sequence[str]) -> Labels:
        """Return the labels of an app; tasks beyond 500 are `other`.

        tasks: their names, and the former names of each
        """
        aliases = {alias: name for name, former in tasks.items() for alias in former}
        return Labels((*sorted(tasks)[:MAX_TASKS], OTHER), (*queues, OTHER), aliases)

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return len(self.tasks) * len(self.queues)

    def row(self, task: str, queue: str) -> int:
        """Return the row of a task and a queue."""
        task = self.aliases.get(task, task)
        task = task if task in self.tasks else OTHER
        queue = queue if queue in self.queues else OTHER
        return self.tasks.index(task) * len(self.queues) + self.queues.index(queue)
