"""`typedq exporter`: what a namespace looks like to Prometheus."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import WaitUntil
from tests.faults.harness import Stage
from tests.faults.processes import ROOT
from tests.observe.test_counts import Samples, scrape, total
from tests.worker.test_expires import set_aside
from tests.worker.test_pages import free_port, get
from typedq import TypedQ
from typedq.admin.doctor import check_waiting
from typedq.admin.overview import overview
from typedq.broker import operations, stats
from typedq.embedded import OwnServer
from typedq.observe.exporter import Exporter
from typedq.registry import Declared, readers


def read(app: TypedQ, exporter: Exporter | None = None) -> Samples:
    """Read a page as Prometheus does."""
    page = (exporter or Exporter(app)).metrics()
    assert page.status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def test_unreadable_messages_show_until_a_worker_reads_them(
    stage: Stage, wait_until: WaitUntil
) -> None:
    stage.send("nap")
    fingerprint = stage.app.tasks["nap"].contract.fingerprint

    def waiting(readable: str) -> float:
        labels = {"task": "nap", "fingerprint": fingerprint, "readable": readable}
        return total(read(stage.app), "typedq_contract_waiting", **labels)

    assert (waiting("no"), waiting("yes")) == (1, 0)
    blind = stage.worker("-c", "1", "--forget", "nap")
    wait_until(lambda: total(read(stage.app), "typedq_queue_parked", queue="mid") == 1)
    assert total(read(stage.app), "typedq_workers") == 1
    assert (waiting("no"), waiting("yes")) == (1, 0)
    stage.worker("-c", "1")
    wait_until(stage.ended)
    wait_until(lambda: (waiting("no"), waiting("yes")) == (0, 0))
    seen = read(stage.app)
    assert total(seen, "typedq_contract_readers", task="nap", fingerprint=fingerprint) == 1
    assert blind.stop() == 0


def test_a_worker_that_serves_other_queues_or_is_too_old_reads_nothing_that_is_parked(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """The contract has a reader, which will never meet these messages."""
    contract = stage.app.tasks["nap"].contract
    stage.send("nap", queue="low")
    blind = stage.worker("-c", "1", "--forget", "nap", "-Q", "low")
    wait_until(lambda: total(read(stage.app), "typedq_queue_parked") == 1)
    assert blind.stop() == 0
    old = {"reads": [contract.id], "queues": ["mid"], "format": 1}
    report = msgspec.json.encode(old | {"seen_ms": round(time.time() * 1000)})
    stage.app.broker.call(operations.renew(stage.keys, [], 60_000, "old", report))

    def waiting(readable: str) -> float:
        return total(read(stage.app), "typedq_contract_waiting", task="nap", readable=readable)

    def unread() -> list[str]:
        found = check_waiting(overview(stage.app))
        return [f"{each.found} {each.fix}" for each in found if each.check == "contracts"]

    assert (waiting("no"), waiting("yes")) == (1, 0)
    (found,) = unread()
    assert found.startswith(f"1 message(s) of {contract.id}: no live worker of their queue reads")
    assert found.endswith("typedq parked list --groups")
    set_aside(stage, [stage.send("nap", queue="mid", expires=600)])
    assert (waiting("no"), waiting("yes")) == (2, 0)
    assert total(read(stage.app), "typedq_contract_readers", task="nap") == 1
    stage.worker("-c", "1")
    wait_until(lambda: (waiting("no"), waiting("yes")) == (0, 0))
    assert unread() == ["live workers can read all waiting messages "]


def test_contracts_are_compared_once_and_not_at_each_scrape(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.send("nap")
    other = "nap@0123456789abcdef"
    stage.app.broker.call(stats.publish(stage.keys, {other: b'{"type":"string"}'}))
    report = {"reads": [other], "queues": ["mid"], "seen_ms": round(time.time() * 1000)}
    line = msgspec.json.encode(report)
    stage.app.broker.call(operations.renew(stage.keys, [], 60_000, "other", line))
    compared, reading = list[str](), readers.reading

    def count(task: Declared, schema: dict[str, Any]) -> readers.Reading:
        compared.append(task.name)
        return reading(task, schema)

    monkeypatch.setattr(readers, "reading", count)
    exporter = Exporter(stage.app, min_age_s=0)
    for _ in range(3):
        assert 'readable="no"} 1\n' in exporter.metrics().text
    assert len(compared) == 1


def test_contracts_that_take_long_to_compare_do_not_hold_up_the_rest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typedq.admin.overview.COMPARE_S", -1.0)
    stage.send_many([stage.call("nap"), *[stage.call("anap")] * 2])
    others = {f"{name}@{'0' * 16}": b'{"type":"string"}' for name in ("nap", "anap")}
    stage.app.broker.call(stats.publish(stage.keys, others))
    report = {"reads": [*others], "queues": ["mid"], "seen_ms": round(time.time() * 1000)}
    line = msgspec.json.encode(report)
    stage.app.broker.call(operations.renew(stage.keys, [], 60_000, "other", line))
    exporter, found = Exporter(stage.app, min_age_s=0), list[tuple[float, float]]()
    for _ in range(3):
        seen = read(stage.app, exporter)
        assert total(seen, "typedq_workers") == 1
        no, unknown = (
            total(seen, "typedq_contract_waiting", readable=answer) for answer in ("no", "unknown")
        )
        found.append((no, unknown))
    assert found == [(2, 1), (3, 0), (3, 0)]  # each scrape compares more


def test_queues_show_what_waits_and_how_long(stage: Stage, wait_until: WaitUntil) -> None:
    stage.send("nap", queue="low")
    stage.send("nap", queue="low", delay=60.0)
    stage.send("nap", queue="high", delay=0.001)
    wait_until(lambda: total(read(stage.app), "typedq_queue_overdue", queue="high") > 2)
    seen = read(stage.app)
    for what, queue, count in (("ready", "low", 1), ("delayed", "low", 1), ("delayed", "high", 1)):
        assert total(seen, f"typedq_queue_{what}", queue=queue) == count
    assert 2 < total(seen, "typedq_queue_oldest_seconds", queue="low") < 60
    assert total(seen, "typedq_queue_overdue", queue="low") == 0
    assert total(seen, "typedq_workers") == total(seen, "typedq_in_flight") == 0


def test_the_command_serves_until_it_is_stopped(
    namespace: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    port = free_port()
    with OwnServer() as server, Stage(server.url, namespace, tmp_path) as stage:
        words = ["exporter", "tests.faults.app:build", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "typedq", *words]
        environment = stage.environment
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE
        ) as process:
            wait_until(lambda: get(port, "/readyz")[0] == 200)
            assert total(scrape(port), "typedq_queue_ready") == 0
            again = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            assert again.returncode == 2
            assert f"--port {port}: cannot listen at 127.0.0.1" in again.stderr
            server.kill()
            wait_until(lambda: get(port, "/metrics")[0] == 503)
            assert get(port, "/livez")[0] == 200
            process.terminate()
            assert process.wait(20) == 0
