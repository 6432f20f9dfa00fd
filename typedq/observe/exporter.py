"""The metrics of a namespace, read from the server: for one exporter, however many workers run."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from threading import Lock
from typing import Any, final

from typedq.admin.overview import alive, overview, published
from typedq.app import TypedQ
from typedq.errors import ServerError
from typedq.observe.exposition import Exposition, Metric
from typedq.observe.labels import MAX_TASKS, OTHER
from typedq.observe.pages import Page, Pages

LATE_S = 2.0  # a worker makes due messages ready each second
METRICS = {
    "typedq_queue_ready": Metric("gauge", ("queue",), "Messages that a worker may fetch now."),
    "typedq_queue_delayed": Metric("gauge", ("queue",), "Messages that wait for their due time."),
    "typedq_queue_parked": Metric(
        "gauge", ("queue",), "Messages that wait for a worker that can read them."
    ),
    "typedq_queue_paused": Metric("gauge", ("queue",), "1 if the queue is paused, else 0."),
    "typedq_queue_oldest_seconds": Metric(
        "gauge", ("queue",), "How long the oldest ready message has been due; 0 if there is none."
    ),
    "typedq_queue_overdue": Metric(
        "gauge",
        ("queue",),
        "Seconds by which the next delayed message is late: no worker makes it ready.",
    ),
    "typedq_in_flight": Metric("gauge", (), "Messages that workers hold."),
    "typedq_dead": Metric("gauge", (), "Dead letters."),
    "typedq_workers": Metric("gauge", (), "Workers that are alive."),
    "typedq_contract_waiting": Metric(
        "gauge",
        ("task", "fingerprint", "readable"),
        "Messages of a contract that wait; readable: whether a live worker can read them: yes, no,"
        " or unknown if there was no time to compare.",
    ),
    "typedq_contract_readers": Metric(
        "gauge", ("task", "fingerprint"), "Live workers that can read a contract."
    ),
    "typedq_cron_last_run_timestamp_seconds": Metric(
        "gauge", ("cron",), "The last slot for which a cron entry was enqueued; 0 if never."
    ),
    "typedq_cron_paused": Metric("gauge", ("cron",), "1 if the cron entry is paused, else 0."),
}


@final
class Exporter:
    """Makes the pages of an exporter. Requests within `min_age_s` share one read of the server."""

    def __init__(self, app: TypedQ, min_age_s: float = 1.0) -> None:
        self._app, self._min_age_s, self._lock = app, min_age_s, Lock()
        # Kept, so that each pair of contracts is compared once and not at each scrape.
        self._contracts = published(app, max_checked=0)
        self._read_at, self._facts = float("-inf"), dict[str, Any]()

    def pages(self) -> Pages:
        """Return the pages by path. /readyz and /metrics fail while the server is away."""
        return {"/livez": lambda: Page("live\n"), "/readyz": self._ready, "/metrics": self.metrics}

    def metrics(self) -> Page:
        """Return the metrics of the namespace, or 503 and why there are none."""
        try:
            facts = self._overview()
        except ServerError as error:
            return Page(f"{error}\n", HTTPStatus.SERVICE_UNAVAILABLE)
        text = Exposition(METRICS)
        for queue in facts["queues"]:
            _add_queue(text, queue)
        text.add("typedq_in_flight", facts["in_flight"])
        text.add("typedq_dead", facts["dead"])
        text.add("typedq_workers", len(alive(facts)))
        _add_contracts(text, facts["contracts"])
        if left_out := facts["left_out"]["messages"]:
            text.add("typedq_contract_waiting", left_out, OTHER, "", "unknown")
        for entry in facts["cron"]:
            last = datetime.fromisoformat(entry["last"]).timestamp() if entry["last"] else 0
            text.add("typedq_cron_last_run_timestamp_seconds", last, entry["name"])
            text.add("typedq_cron_paused", int(entry["paused"]), entry["name"])
        return text.page()

    def _ready(self) -> Page:
        page = self.metrics()
        return page if page.status != HTTPStatus.OK else Page("ready\n")

    def _overview(self) -> dict[str, Any]:
        with self._lock:  # each page is made in a thread of its own
            if time.monotonic() - self._read_at > self._min_age_s:
                self._facts = overview(self._app, self._contracts)
                self._read_at = time.monotonic()
            return self._facts


def _add_queue(text: Exposition, queue: dict[str, Any]) -> None:
    name = queue["name"]
    for what in ("ready", "delayed", "parked"):
        text.add(f"typedq_queue_{what}", queue[what], name)
    text.add("typedq_queue_paused", int(queue["paused"]), name)
    text.add("typedq_queue_oldest_seconds", queue["oldest_s"] or 0, name)
    late_s = -(queue["next_due_s"] or 0)
    text.add("typedq_queue_overdue", late_s if late_s > LATE_S else 0, name)


def _add_contracts(text: Exposition, contracts: list[dict[str, Any]]) -> None:
    """Add each contract; the messages of those beyond 500 are added up, as `other`."""
    ranked = sorted(contracts, key=lambda each: (-each["waiting"], not each["in_app"]))
    rest = {"yes": 0, "no": 0}
    for place, each in enumerate(ranked):
        unreadable = each["unreadable"]
        waiting = {"yes": each["waiting"] - unreadable, "no": unreadable}
        if place >= MAX_TASKS:
            rest = {answer: rest[answer] + waiting[answer] for answer in rest}
            continue
        labels = each["task"], each["fingerprint"]
        for answer, count in waiting.items():
            text.add("typedq_contract_waiting", count, *labels, answer)
        text.add("typedq_contract_readers", len(each["read_by"]), *labels)
    if len(ranked) > MAX_TASKS:
        for answer, count in rest.items():
            text.add("typedq_contract_waiting", count, OTHER, "", answer)
