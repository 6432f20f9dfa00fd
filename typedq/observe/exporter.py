"""The metrics of a namespace, read from the server: for one exporter, however many workers run."""

from __future__ import annotations

from typedq.observe.exposition import Metric

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
        "Messages of a contract that wait; readable: whether a live worker can read them.",
    ),
    "typedq_contract_readers": Metric(
        "gauge", ("task", "fingerprint"), "Live workers that can read a contract."
    ),
    "typedq_cron_last_run_timestamp_seconds": Metric(
        "gauge", ("cron",), "For when a cron entry was last enqueued; 0 if never."
    ),
}
