"""The metrics of one worker, from the memory that its children write."""

from __future__ import annotations

import time
from importlib.metadata import version
from platform import python_version
from typing import final

from typedq import health
from typedq.observe.exposition import Exposition, Metric
from typedq.observe.labels import DURATIONS, EXITS, OUTCOMES, WAITS
from typedq.observe.pages import Page
from typedq.observe.sampled import Sampled
from typedq.observe.tallies import Tallies
from typedq.worker.memory import private_bytes
from typedq.worker.status import Status

METRICS = {
    "typedq_tasks_total": Metric(
        "counter",
        ("task", "queue", "outcome"),
        "Attempts by how they ended; a message that is retried counts once for each attempt.",
    ),
    "typedq_task_duration_seconds": Metric(
        "histogram", ("task", "queue"), "How long attempts ran, however they ended."
    ),
    "typedq_task_wait_seconds": Metric(
        "histogram", ("queue",), "From when a message was due until its attempt started."
    ),
    "typedq_children": Metric("gauge", (), "Child processes that are alive."),
    "typedq_children_busy": Metric("gauge", (), "Child processes that do not wait for messages."),
    "typedq_child_exits_total": Metric("counter", ("reason",), "Child processes that have ended."),
    "typedq_child_memory_bytes": Metric(
        "gauge",
        ("child",),
        "Memory that would be free if the child ended; child: its place, from 0.",
    ),
    "typedq_server_errors_total": Metric("counter", (), "Requests to the server that failed."),
    "typedq_last_tick_seconds": Metric(
        "gauge", (), "Seconds since this worker last made due messages ready."
    ),
    "typedq_build_info": Metric("gauge", ("version", "python"), "Always 1; see its labels."),
}


@final
class WorkerMetrics:
    """Writes the page /metrics of a worker."""

    def __init__(self, tallies: Tallies, status: Status) -> None:
        self._tallies, self._status = tallies, status
        # A child's page faults wait while the kernel counts: 30 ms for each GB.
        self._private_bytes = Sampled(private_bytes)

    def page(self) -> Page:
        """Return what was counted until now."""
        text = Exposition(METRICS)
        self._tasks(text)
        errors, *exits = self._tallies.head()
        text.add("typedq_server_errors_total", errors)
        for reason, count in zip(EXITS, exits, strict=True):
            text.add("typedq_child_exits_total", count, reason)
        self._children(text)
        text.add("typedq_build_info", 1, version("typedq"), python_version())
        return text.page()

    def _tasks(self, text: Exposition) -> None:
        waits: dict[str, list[float]] = {}
        low, high = len(OUTCOMES), len(OUTCOMES) + len(DURATIONS) + 1
        for task, queue, cells in self._tallies.rows():
            for outcome, count in zip(OUTCOMES, cells, strict=False):
                text.add("typedq_tasks_total", count, task, queue, outcome)
            durations, total, waited = cells[low:high], cells[high], cells[high + 1 :]
            name = "typedq_task_duration_seconds"
            text.add_histogram(name, DURATIONS, durations, total, task, queue)
            before = waits.get(queue, [0.0] * len(waited))
            waits[queue] = [a + b for a, b in zip(before, waited, strict=True)]
        for queue, (*counts, total) in waits.items():
            text.add_histogram("typedq_task_wait_seconds", WAITS, counts, total, queue)

    def _children(self, text: Exposition) -> None:
        try:
            report = health.Report(self._status.memory[:])
        except ValueError:  # the supervisor has not reported yet
            return
        text.add("typedq_children", report.children)
        text.add("typedq_children_busy", report.busy)
        if report.ticked:
            text.add("typedq_last_tick_seconds", time.monotonic() - report.ticked)
        for place, tally in enumerate(self._tallies.of_children):
            if (pid := tally.pid) and (size := self._private_bytes(pid)):
                text.add("typedq_child_memory_bytes", size, str(place))
