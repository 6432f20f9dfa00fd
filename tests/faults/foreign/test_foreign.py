"""Foreign code in real workers: every message ends as it must, the process is as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.app import EFFECTS
from tests.faults.foreign import finalizers, hooks, settings, surroundings
from tests.faults.foreign.app import TABLE, names
from tests.faults.foreign.table import Deadly
from tests.faults.harness import ROOT, Stage
from typedq.broker import Destination, OutgoingMessage
from typedq.message import encode_message, new_ids

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.foreign.table import Mode


def send(stage: Stage, tasks: Sequence[str]) -> dict[str, str]:
    """Each with a probe behind it; returns the ids of the tasks by name."""
    stage.send("probe")
    ids = dict[str, str]()
    for task in tasks:
        ids[task] = stage.send(task)
        stage.send("probe")
    return ids


def broken(stage: Stage, ids: dict[str, str]) -> dict[str, str]:
    """What did not end as the table says."""
    dead, found = stage.dead(), dict[str, str]()
    starts, ends = stage.ids("start"), stage.ids("end")
    for task, id in ids.items():
        each = TABLE[task.rpartition(".")[0]]
        kind = dead[id]["kind"] if id in dead else "done" if id in ends else "nothing"
        seen = (kind, starts.count(id), ends.count(id))
        wanted = {
            "done": ("done", 1, 1),
            "retried": ("done", 2, 1),
        }.get(each.outcome, (each.outcome, 1, 0))
        if seen != wanted:
            found[task] = f"{seen}, not {wanted}: {dead.get(id)}"
    return found


def changed(stage: Stage, tasks: Sequence[str]) -> dict[str, list[Any]]:
    """What the probe behind each task saw that the first of its process did not."""
    found, first = dict[str, list[Any]](), dict[int, dict[str, Any]]()
    probes = [each for each in stage.effects() if each.what.startswith("state:")]
    for task, probe in zip(["", *tasks], probes, strict=True):
        seen = json.loads(probe.what.removeprefix("state:"))
        before = first.setdefault(probe.pid, seen)
        if differences := [{k: (before[k], seen[k])} for k in seen if seen[k] != before[k]]:
            found[task] = differences
    return found


def drain(stage: Stage, *flags: str) -> list[dict[str, Any]]:
    for _ in range(3):
        worker = stage.worker("-c", "1", *flags)
        assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
        assert not worker.events("child died"), worker.events("child died")
        if stage.is_drained():
            break
    return [event for worker in stage.workers for event in worker.events()]


@pytest.mark.parametrize("flags", [("--burst",), ("--burst", "--solo")], ids=["worker", "solo"])
@pytest.mark.parametrize("mode", ["sync", "coroutine"])
def test_every_situation_ends_as_it_must(
    foreign: Stage, mode: Mode, flags: tuple[str, ...]
) -> None:
    tasks = names(mode)
    ids = send(foreign, tasks)
    drain(foreign, *flags)
    wrong = broken(foreign, ids)
    assert not wrong, "\n".join(f"{task}: {what}" for task, what in wrong.items())
    if mode == "sync":
        left = changed(foreign, tasks)
        assert not left, "\n".join(f"{task}: {what}" for task, what in left.items())


@pytest.mark.parametrize("mode", ["sync", "coroutine"])
def test_every_situation_ends_so_in_testing(mode: str, tmp_path: Path) -> None:
    answer, effects = tmp_path / "answer", tmp_path / "effects"
    effects.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.foreign.in_testing", mode, str(answer)],
        cwd=ROOT,
        env=os.environ | {EFFECTS: str(effects)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    wrong = json.loads(answer.read_text())
    assert not wrong, "\n".join(f"{task}: {what}" for task, what in wrong.items())


def test_a_soft_timeout_holds_after_whatever_took_the_alarm(foreign: Stage) -> None:
    takers = [name for name in names("sync") if name.startswith(("alarm", "timer", "signals"))]
    ids = dict[str, str]()
    for taker in takers:
        foreign.send(taker)
        ids[taker] = foreign.send("limited.sync")
    drain(foreign, "--burst")
    dead = foreign.dead()
    assert len(ids) >= 5
    for taker, id in ids.items():
        assert "SoftTimeout" in dead[id]["error"], taker


def test_a_drain_is_heard_after_whatever_took_its_signal(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    """The task that runs then is not killed, and the grace is not waited for."""
    takers = [name for name in names("sync") if name.startswith(("sig", "wakeup"))]
    assert len(takers) >= 5
    worker = foreign.worker("-c", "1", "--grace", "60")
    ids = [foreign.send(taker) for taker in takers]
    held = foreign.send("hold", foreign.gate())
    wait_until(lambda: held in foreign.ids("start"))
    assert set(foreign.ids("start")) == {*ids, held}
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.events("stopping"))
    foreign.open_gate()
    assert worker.wait(20) == 0
    assert held in foreign.ended()


def test_functions_that_return_coroutines_run_beside_each_other(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    sender = foreign.app.declarations.find("slowly_wrapped.sync")
    ids = foreign.send_many([sender.call()] * 40)
    worker = foreign.worker("-c", "1")
    wait_until(lambda: foreign.ended() >= set(ids))
    times = [effect.at for effect in foreign.effects() if effect.id in ids]
    assert max(times) - min(times) < 4.0, "0.5 s each, one after another: 20 s"
    assert worker.stop() == 0
    assert not foreign.check().broken


def test_coroutines_start_after_a_task_factory_was_left(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    worker = foreign.worker("-c", "1")
    for task in ("sets_task_factory", "anap", "sets_task_factory", "anap"):
        id = foreign.send(task)
        wait_until(lambda wanted=id: wanted in foreign.ended())  # type: ignore[misc]
    assert worker.stop() == 0
    assert not foreign.check().broken


def test_a_task_that_closes_the_files_of_its_process_ends_it_and_nothing_else(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    """Its connections and pipes are gone: another process goes on."""
    worker = foreign.worker("-c", "1")
    ids = list[str]()
    for _ in range(3):
        ids += [foreign.send("probe"), foreign.send("closes_files"), foreign.send("probe")]
    wait_until(lambda: foreign.ended() == set(ids) and foreign.is_drained())
    assert worker.stop() == 0
    assert not foreign.dead()
    assert sorted(foreign.ids("end")) == sorted(ids)
    assert len({effect.pid for effect in foreign.effects("end")}) > 1


def test_a_broken_event_loop_ends_its_process_and_nothing_else(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    worker = foreign.worker("-c", "1")
    ids = [foreign.send("closes_selector"), foreign.send("anap")]
    wait_until(lambda: foreign.ended() == set(ids))
    assert worker.stop() == 0
    assert worker.events("a task broke the event loop")
    assert not foreign.dead()


@pytest.mark.parametrize("flags", [("--burst",), ("--burst", "--solo")], ids=["worker", "solo"])
def test_a_coroutine_that_silences_the_log_is_logged(
    foreign: Stage, flags: tuple[str, ...]
) -> None:
    """Also while others run, whose own changes of the process are left alone."""
    hows = ("level", "handlers", "filter")
    for how in hows:
        foreign.send("anap")
        foreign.send("silences_log", how)
    logged = drain(foreign, *flags)
    assert len([event for event in logged if event["message"] == "task failed"]) == len(hows)


@pytest.mark.parametrize("mode", ["sync", "coroutine"])
def test_a_failure_is_logged_whatever_its_task_did_to_the_log(foreign: Stage, mode: Mode) -> None:
    tasks = [name for name in names(mode) if "_and_fails" in name]
    ids = {foreign.send(task): task for task in tasks}
    logged = {event.get("id"): event for event in drain(foreign, "--burst")}
    assert len(ids) >= 3
    for id, task in ids.items():
        frame = "ValueError" if task.startswith("source") else "in fail"
        assert frame in logged[id]["traceback"], task
        assert frame in foreign.dead()[id]["traceback"], task


def test_a_failure_that_breaks_its_process_counts(foreign: Stage) -> None:
    """Else it would break one process after another, for ever."""
    ids = [foreign.send("breaks", how) for how in settings.BREAKS]
    ids += [foreign.send("refuses", settings.Breaking(how)) for how in settings.BREAKS]
    after = foreign.send("probe")
    worker = foreign.worker("-c", "1", "--burst")
    assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
    assert foreign.dead().keys() == set(ids)
    assert foreign.ended() == {after}
    starts = foreign.ids("start")
    assert all(starts.count(id) <= 3 for id in ids)


@pytest.mark.parametrize("how", settings.LOOPS)
def test_coroutines_start_whatever_a_task_patched_of_the_loop(
    foreign: Stage, wait_until: WaitUntil, how: str
) -> None:
    worker = foreign.worker("-c", "1")
    ids = [foreign.send("patches_loop", how)]
    wait_until(lambda: foreign.ended() == set(ids))
    ids += [foreign.send("anap") for _ in range(3)]
    wait_until(lambda: foreign.ended() == set(ids))
    assert worker.stop() == 0
    assert not foreign.dead()


def test_neighbours_that_a_task_cancels_are_settled(foreign: Stage, wait_until: WaitUntil) -> None:
    """Those that had begun as failed; those that had not begin again."""
    calls = [foreign.call("anap") for _ in range(3)]
    ids = foreign.send_many([*calls, foreign.call("cancels_all"), *calls])
    worker = foreign.worker("-c", "1", "--burst")
    assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
    dead = foreign.dead()
    assert {*dead, *foreign.ended()} == set(ids)
    assert all("CancelledError" in each["error"] for each in dead.values())


def test_values_that_end_whoever_reads_them_are_dead_lettered(foreign: Stage) -> None:
    ids = {how: foreign.send("reads", Deadly(how)) for how in ("kills", "hangs")}
    after = foreign.send("probe")
    worker = foreign.worker("-c", "1", "--burst")
    assert worker.wait(60) == 0, worker.log.read_text()[-3000:]
    assert foreign.dead().keys() == set(ids.values())
    assert foreign.ended() == {after}


def test_a_stop_that_a_task_did_not_let_through_is_heard_afterwards(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    worker = foreign.worker("-c", "1", "--grace", "60")
    id = foreign.send("removes_stop_handler", foreign.gate())
    wait_until(lambda: id in foreign.ids("start"))
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.events("stopping"))
    foreign.open_gate()
    assert worker.wait(20) == 0
    assert id in foreign.ended()


def test_functions_that_return_coroutines_count_as_such(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    """No more of them than `--async-concurrency` at once, also of a batch fetched before."""
    sender = foreign.app.declarations.find("slowly_wrapped.sync")
    ids = foreign.send_many([sender.call()] * 12)
    worker = foreign.worker("-c", "1", "--async-concurrency", "3")
    wait_until(lambda: foreign.ended() >= set(ids))
    assert worker.stop() == 0
    running = most = 0
    for effect in sorted(foreign.effects(), key=lambda each: each.at):
        running += {"start": 1, "end": -1}.get(effect.what, 0)
        most = max(most, running)
    assert most == 3


def test_no_copy_runs_another_task_however_often_a_task_forks(foreign: Stage) -> None:
    """Also by a fork in C code, which calls no hook of Python, and of a task known as tidy."""
    forking = ["copy_of_c_code.sync", "copy_returns.sync", "copy_raises.sync"]
    ids = [foreign.send(task) for task in forking * 8]
    drain(foreign, "--burst")
    assert sorted(foreign.ids("end")) == sorted(ids)
    assert len({effect.pid for effect in foreign.effects("start")}) == 1


@pytest.mark.parametrize("flags", [("--burst",), ("--burst", "--solo")], ids=["worker", "solo"])
@pytest.mark.parametrize("kind", finalizers.KINDS)
def test_no_copy_made_after_an_attempt_talks_to_the_server(
    foreign: Stage, kind: str, flags: tuple[str, ...]
) -> None:
    """It would settle, and fetch messages that nobody runs."""
    values = [finalizers.ValueForks()] if kind == "of_value" else []
    ids = [foreign.send(kind, *values) for _ in range(20)]
    ids += [foreign.send("probe") for _ in range(3)]
    drain(foreign, *flags)
    assert sorted(foreign.ids("start")) == sorted(ids)
    assert len({effect.pid for effect in foreign.effects("start")}) == 1


@pytest.fixture
def hooked(stage: Stage) -> Stage:
    stage.declare(hooks)
    return stage


@pytest.mark.parametrize("flags", [(), ("--solo",)], ids=["worker", "solo"])
@pytest.mark.parametrize("how", hooks.HOOKS)
def test_a_start_hook_takes_no_signal_of_the_worker(
    hooked: Stage, wait_until: WaitUntil, how: str, flags: tuple[str, ...]
) -> None:
    """A soft timeout is raised, and a drain waits for the task that runs."""
    limited = hooked.send("limited")
    worker = hooked.worker("-c", "1", "--grace", "60", *flags, **{hooks.HOW: how})
    wait_until(lambda: limited in hooked.dead())
    assert "SoftTimeout" in hooked.dead()[limited]["error"]
    held = hooked.send("hold", hooked.gate())
    wait_until(lambda: held in hooked.ids("start"))
    worker.signal(signal.SIGTERM)
    if not flags:
        wait_until(lambda: worker.events("stopping"))
    hooked.open_gate()
    assert worker.wait(20) == 0
    assert held in hooked.ended()


# --- middleware and upcasters


@pytest.fixture
def surrounded(stage: Stage) -> Stage:
    stage.declare(surroundings)
    return stage


SEES = "sees:outer,outer>middle,outer>middle>inner"
FAILING = {"frozen": "Frozen", "stop_iteration": "StopIteration", "no_text": "NoText"} | {
    "enter_raises": "Frozen", "leave_raises": "Frozen", "cancelled": "CancelledError",
    "lying": "Lying", "no_attributes": "NoAttributes", "cause": "CauseProperty",
}  # fmt: skip


@pytest.mark.parametrize("flags", [("--burst",), ("--burst", "--solo")], ids=["worker", "solo"])
def test_middleware_is_entered_and_left_in_one_asyncio_task(
    surrounded: Stage, flags: tuple[str, ...]
) -> None:
    """What it sets reaches the task, tokens and scopes can be left, and exceptions pass."""
    tasks = [f"{story}.{kind}" for story in surroundings.STORIES for kind in ("sync", "coroutine")]
    ids = {task: surrounded.send(task) for task in tasks}
    drain(surrounded, *flags)
    dead = surrounded.dead()
    for task, id in ids.items():
        story, _, kind = task.partition(".")
        told = [effect.what for effect in surrounded.effects() if effect.id == id]
        error = dead.get(id, {"error": ""})["error"]
        if (story, kind) == ("stop_iteration", "coroutine"):
            assert "RuntimeError: coroutine raised StopIteration" in error
        else:
            assert FAILING.get(story, "") in error, task
        assert bool(error) == (story in FAILING), (task, error)
        middle = [] if story == "enter_raises" else ["start", SEES]
        end = ["end"] if story not in FAILING or story == "leave_raises" else []
        assert (task, told) == (task, [*middle, *end, "left:-"])


@pytest.mark.parametrize("flags", [("--burst",), ("--burst", "--solo")], ids=["worker", "solo"])
def test_an_upcaster_may_do_what_it_likes(surrounded: Stage, flags: tuple[str, ...]) -> None:
    """An older contract is faked by its fingerprint: what the producer of old had."""
    (upcaster,) = surrounded.app.declarations.find("upcasted").upcasters
    ids = dict[str, str]()
    for how in surroundings.UPCASTS:
        (id,) = new_ids(1)
        contract, body = upcaster.contract.id, b'{"how":"%s"}' % how.encode()
        message = encode_message(id=id, contract=contract, queue="mid", options=b"-", body=body)
        where = Destination("mid", contract)
        schema = upcaster.contract.schema_json()
        surrounded.app.broker.enqueue([OutgoingMessage(id, where, message)], lambda _: schema)  # noqa: B023
        ids[how] = id
    after = surrounded.send("plain.sync")
    drain(surrounded, *flags)
    dead = surrounded.dead()
    assert {dead[id]["kind"] for how, id in ids.items() if how != "forks"} == {"invalid_body"}
    assert surrounded.ended() == {ids["forks"], after}
    assert surrounded.ids("start").count(ids["forks"]) == 1
    assert SEES in [effect.what for effect in surrounded.effects() if effect.id == after]
