"""The text format, read by the parser of Prometheus' own client; and its documentation."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from typedq.observe.exporter import METRICS as OF_NAMESPACE
from typedq.observe.exposition import Exposition, Metric
from typedq.worker.metrics import METRICS as OF_WORKER

METRICS = OF_WORKER | OF_NAMESPACE

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"


def test_any_label_is_read_as_it_was_written() -> None:
    table = {"a_total": Metric("counter", ("queue",), "Help."), "b": Metric("gauge", (), "None.")}
    text, names = Exposition(table), ['a"b', "a\\nb", "a\nb", "\\", "é\u202e", '{x="y"}', ""]
    for name in names:
        text.add("a_total", 1.5, name)
    (family,) = text_string_to_metric_families(text.page().text)
    assert [sample.labels["queue"] for sample in family.samples] == names
    assert {sample.value for sample in family.samples} == {1.5}


def test_a_histogram_is_cumulative() -> None:
    text = Exposition({"h": Metric("histogram", ("task",), "Help.")})
    text.add_histogram("h", (0.5, 1.0), (1, 2, 3), 7.25, "a")
    (family,) = text_string_to_metric_families(text.page().text)
    found = {(s.name, s.labels.get("le")): s.value for s in family.samples}
    assert found == {
        ("h_bucket", "0.5"): 1,
        ("h_bucket", "1"): 3,
        ("h_bucket", "+Inf"): 6,
        ("h_sum", None): 7.25,
        ("h_count", None): 6,
    }


def test_the_documentation_lists_every_metric_with_its_labels() -> None:
    rows = re.findall(
        r"^\| `(typedq_\w+)` \| (.*?) \| (.*?) \|$", MONITORING.read_text(), re.MULTILINE
    )
    listed = {name: (re.findall(r"`(\w+)`", labels), says) for name, labels, says in rows}
    assert listed == {
        name: ([*metric.labels], f"{metric.type}: {metric.help}")
        for name, metric in METRICS.items()
    }
