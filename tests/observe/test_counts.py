"""The metrics of a worker equal what its tasks themselves recorded, whatever ended its children."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from math import inf

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import WaitUntil
from tests.faults.app import MORE
from tests.faults.counted import FORMER, HARD_S
from tests.faults.harness import Stage, Worker
from tests.worker.test_pages import free_port, get
from typedq import TypedQ
from typedq.observe.labels import DURATIONS, OUTCOMES, WAITS
from typedq.worker.processes import send_signal

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    """Read the page as Prometheus does."""
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    wanted = frozenset(labels.items())
    return sum(value for (each, of), value in samples.items() if each == name and wanted <= of)


def start(stage: Stage, *flags: str, more: str = "tests.faults.counted") -> tuple[Worker, int]:
    port = free_port()
    worker = stage.worker(*flags, "--metrics-port", str(port), **{MORE: more})
    return worker, port


def has_more(stage: Stage, known: int) -> bool:
    return len(stage.effects()) > known or stage.is_drained()


def calls(stage: Stage, task: str, how: Iterable[str], seed: int) -> None:
    made = [stage.call(task, each) for each in how]
    random.Random(seed).shuffle(made)
    stage.send_many(made)


@pytest.fixture
def counted(stage: Stage) -> Stage:
    from tests.faults import counted

    counted.declare(stage.app)
    return stage


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_counts_equal_the_records_of_ten_thousand_tasks(
    counted: Stage, wait_until: WaitUntil
) -> None:
    kinds = {"done": 4_600, "retried": 200, "failed": 100, "rejected": 100}
    calls(counted, "work", Counter(kinds | {"crashed": 60, "timeout": 10}).elements(), seed=3)
    worker, port = start(counted, "-c", "3", "--max-tasks", "900")
    wait_until(lambda: len(counted.effects("done", task="work")) == 4_870, deadline=100)
    # Coroutines afterwards: one that ends the process ends others, which record nothing of it.
    calls(counted, "awork", Counter(kinds).elements(), seed=4)
    wait_until(lambda: len(counted.effects("done", task="awork")) == 4_800, deadline=50)
    wait_until(lambda: len(counted.dead()) == 400 and counted.is_drained())
    seen = scrape(port)
    for task in ("work", "awork"):
        recorded = Counter(effect.what for effect in counted.effects(task=task))
        found = {o: total(seen, "typedq_tasks_total", task=task, outcome=o) for o in OUTCOMES}
        assert found == dict.fromkeys(OUTCOMES, 0) | recorded
        assert total(seen, "typedq_task_duration_seconds_count", task=task) == recorded.total()
    hung = total(seen, "typedq_task_duration_seconds_sum", task="work")
    assert hung >= 10 * HARD_S
    both = sum(total(seen, "typedq_tasks_total", outcome=o) for o in OUTCOMES)
    assert total(seen, "typedq_task_wait_seconds_count") == both
    reasons = {r: total(seen, "typedq_child_exits_total", reason=r) for r in ("crashed", "timeout")}
    assert reasons["crashed"] == len(worker.events("child died"))
    assert reasons["timeout"] == len(worker.events("hard timeout")) == 10
    assert total(seen, "typedq_child_exits_total", reason="recycled") > 2
    assert worker.stop() == 0


def test_messages_of_a_former_name_count_for_the_task(
    counted: Stage, wait_until: WaitUntil
) -> None:
    before = TypedQ(counted.app.settings.namespace, url=counted.url, queues=["mid"])

    @before.task(name=FORMER)
    def work(how: str) -> None: ...

    work.enqueue("done")
    before.broker.close()
    _, port = start(counted, "-c", "1")
    wait_until(lambda: counted.effects("done"))
    wait_until(lambda: total(scrape(port), "typedq_tasks_total") == 1)
    assert total(scrape(port), "typedq_tasks_total", task="work", queue="mid", outcome="done") == 1


def test_killed_children_lose_at_most_the_attempt_they_were_in(
    counted: Stage, wait_until: WaitUntil
) -> None:
    calls(counted, "work", ["done"] * 4_000, seed=4)
    worker, port = start(counted, "-c", "2")
    kills, number = 0, random.Random(5)
    while kills < 12 and not counted.is_drained():
        children = wait_until(worker.children)
        known = len(counted.effects())
        wait_until(partial(has_more, counted, known))
        kills += send_signal(number.choice(children).pid, signal.SIGKILL)
    wait_until(lambda: counted.is_drained() and get(port, "/metrics")[0] == 200, deadline=40)
    seen, recorded = scrape(port), len(counted.ids("done"))
    assert recorded - kills <= total(seen, "typedq_tasks_total", outcome="done") <= recorded
    assert total(seen, "typedq_task_duration_seconds_count") == total(seen, "typedq_tasks_total")


def test_durations_and_waits_fall_into_their_buckets(stage: Stage, wait_until: WaitUntil) -> None:
    for seconds in (0.0, 0.0, 0.03, 0.3):  # the first only tells when the second could begin
        stage.send("nap", seconds, queue="low")
    before = time.time()
    stage.send("anap", 0.06, queue="high", delay=1.2)
    _, port = start(stage, "-c", "1", more="")
    wait_until(lambda: len(stage.ended()) == 5)
    wait_until(lambda: total(scrape(port), "typedq_task_duration_seconds_count") == 5)
    seen, now = scrape(port), time.time()

    def at_most(what: str, bound: float, **labels: str) -> float:
        name, wanted = f"typedq_task_{what}_seconds_bucket", labels.items()
        found = [(dict(of), n) for (each, of), n in seen.items() if each == name]
        return sum(n for of, n in found if wanted <= of.items() and float(of["le"]) == bound)

    # One after another: an attempt began after the one before it, and ended before the next one.
    begun = sorted(effect.at for effect in stage.effects("start", task="nap"))
    over = sorted(effect.at for effect in stage.effects("end", task="nap"))
    least = [end - begin for begin, end in zip(begun, over, strict=True)]
    most = [b - a for a, b in zip([-inf, *over[:-1]], [*begun[1:], now], strict=True)]
    for bound in (*DURATIONS, inf):
        count = at_most("duration", bound, task="nap")
        assert sum(x <= bound for x in most) <= count <= sum(x <= bound for x in least), bound
    assert sum(least) <= total(seen, "typedq_task_duration_seconds_sum", task="nap")
    (ran,) = stage.effects("start", task="anap")
    wait = total(seen, "typedq_task_wait_seconds_sum", queue="high")
    assert 0 <= wait <= ran.at - before - 1.2 + 0.01  # due times are in milliseconds
    for bound in (*WAITS, inf):
        assert at_most("wait", bound, queue="high") == (wait <= bound), (wait, bound)
    for name, bounds in (("duration", DURATIONS), ("wait", WAITS)):
        found = {
            dict(of)["le"] for each, of in seen if each == f"typedq_task_{name}_seconds_bucket"
        }
        assert {float(bound) for bound in found} == {*bounds, float("inf")}


def test_what_was_dropped_is_counted_as_cancelled_or_expired(
    stage: Stage, wait_until: WaitUntil
) -> None:
    expired = [stage.send("nap", expires=0.001, queue="low"), stage.send("anap", expires=0.001)]
    held = [stage.send("ahold", stage.gate()), stage.send("hold", stage.gate())]
    waiting = stage.send("nap", delay=600)
    _, port = start(stage, "-c", "1", more="")
    wait_until(lambda: set(held) <= set(stage.ids("start")))
    answers = [stage.app.cancel(id).outcome for id in (*held, waiting)]
    assert answers == ["told", "told", "dropped"]  # the last was no attempt of any worker
    wait_until(lambda: total(scrape(port), "typedq_tasks_total", outcome="cancelled") == 2)
    wait_until(lambda: total(scrape(port), "typedq_tasks_total", outcome="expired") == 2)
    seen = scrape(port)
    found = {
        (task, outcome): total(seen, "typedq_tasks_total", task=task, outcome=outcome)
        for task in ("hold", "ahold", "nap", "anap")
        for outcome in ("cancelled", "expired", "done")
    }
    assert {key for key, value in found.items() if value} == {
        *(("hold", "cancelled"), ("ahold", "cancelled"), ("nap", "expired"), ("anap", "expired"))
    }
    assert total(seen, "typedq_tasks_total", queue="low", outcome="expired") == 1
    assert total(seen, "typedq_task_duration_seconds_count") == 2, "what expired did not run"
    stats = stage.look().stats
    assert (stats["cancelled"], stats["expired"]) == (3, 2)
    assert not set(expired) & set(stage.ids("start"))


def test_what_no_task_of_this_app_names_is_other(stage: Stage, wait_until: WaitUntil) -> None:
    _, port = start(stage, "-c", "1", "--forget", "nap", more="")
    stage.send("nap")
    wait_until(lambda: get(port, "/metrics")[0])
    wait_until(lambda: total(scrape(port), "typedq_tasks_total", outcome="parked") == 1)
    assert (
        total(scrape(port), "typedq_tasks_total", task="other", queue="mid", outcome="parked") == 1
    )
