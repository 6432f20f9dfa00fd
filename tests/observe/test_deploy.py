"""The alert rules and the board in deploy/ use metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from typedq.observe import exporter
from typedq.worker import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
METRICS = metrics.METRICS | exporter.METRICS
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
SAMPLES = {
    name + part: {*metric.labels, *(["le"] if part == "_bucket" else [])}
    for name, metric in METRICS.items()
    for part in _PARTS[metric.type]
}
_OF_PROMETHEUS = {"instance", "job"}


def alerts() -> list[str]:
    return re.findall(r"^ +expr: (.*)$", (DEPLOY / "alerts.yml").read_text(), re.MULTILINE)


def panels() -> Iterator[str]:
    board: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in board["panels"]:
        assert panel["title"]
        yield from (target["expr"] for target in panel["targets"])


EXPRESSIONS = [*alerts(), *panels()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_uses_metrics_and_labels_that_exist(expression: str) -> None:
    names = set(re.findall(r"\btypedq_\w+", expression))
    assert names
    assert names <= SAMPLES.keys()
    labels = set(re.findall(r"(\w+)=~?\"", expression))
    for listed in re.findall(r"\bby \((.*?)\)", expression):
        labels |= {label.strip() for label in listed.split(",")}
    known = set[str]().union(*(SAMPLES[name] for name in names))
    assert labels <= known | _OF_PROMETHEUS


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_promql_of_the_right_types(expression: str) -> None:
    """The parser is that of Prometheus in Rust; it checks the types of functions, too."""
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))  # raises ValueError


def test_every_rule_is_read() -> None:
    """No expression is written in a form that the tests above do not see."""
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    assert [rule["expr"] for group in groups for rule in group["rules"]] == alerts()


def test_every_danger_has_an_alert() -> None:
    text = " ".join(alerts())
    for name in (
        *('typedq_contract_waiting{readable="no"}', "typedq_queue_oldest_seconds", "typedq_dead"),
        *("typedq_child_exits_total", "typedq_workers == 0", "typedq_cron_last_run"),
    ):
        assert name in text


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is in Debian's prometheus")
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", str(DEPLOY / "alerts.yml")),
        ("test", "rules", str(Path(__file__).with_name("alert_cases.yml"))),
    ],
)
def test_promtool_accepts_the_rules_and_what_they_say(words: Sequence[str]) -> None:
    command = ["promtool", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
