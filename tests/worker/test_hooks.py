"""Middleware and process hooks, in real workers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WaitUntil
from tests.faults import hooked
from tests.faults.harness import Stage, Worker
from typedq import ConfigurationError, TypedQ

KINDS = ("sync", "coroutine")
RUNTIME = "RuntimeError: generator"


@pytest.fixture
def hooks(stage: Stage) -> Stage:
    """A stage whose app has hooks."""
    stage.declare(hooked)
    return stage


def lines(stage: Stage, name: str) -> list[str]:
    path = stage.directory / name
    return path.read_text().splitlines() if path.exists() else []


def run_all(stage: Stage, *flags: str) -> Worker:
    """Run what is there, to the end."""
    worker = stage.worker("--burst", "-c", "1", *flags)
    assert worker.wait() == 0, worker.log.read_text()
    return worker


STORIES: dict[tuple[str, str], tuple[list[str], str | None]] = {
    # which task, and what it raises -> what is written, and how the message fails
    ("", ""): (["outer", "inner", "task", "outer-end"], None),
    ("", "OSError"): (["outer", "inner", "task", "outer-OSError"], "OSError: no"),
    ("", "LookupError"): (["outer", "inner", "task", "inner-swallowed", "outer-end"], None),
    ("without", ""): (["outer", "inner", "outer-RuntimeError"], f"{RUNTIME} didn't yield"),
    ("twice", ""): (["outer", "inner", "task", "outer-RuntimeError"], f"{RUNTIME} didn't stop"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_middleware_of_both_kinds_is_around_tasks_of_both_kinds(kind: str, hooks: Stage) -> None:
    """Exceptions are raised at the yield; one that is not raised again is dealt with."""
    ids = {how: hooks.send(f"{kind}{how[0]}", how[1]) for how in STORIES}
    run_all(hooks)
    dead = hooks.dead()
    for how, (wrote, error) in STORIES.items():
        told = [effect.what for effect in hooks.effects() if effect.id == ids[how]]
        assert (how, told) == (how, wrote)
        letter = dead.get(ids[how], {"error": None})
        assert (how, letter["error"]) == (how, error)
    assert "hooked.py" in dead[ids["", "OSError"]]["traceback"]


@pytest.mark.parametrize("flags", [(), ("--solo",)])
def test_log_records_carry_task_and_id(hooks: Stage, flags: tuple[str, ...]) -> None:
    sent = {kind: hooks.send(kind) for kind in KINDS}
    worker = run_all(hooks, *flags)
    told = lines(hooks, "records")
    assert told[0] == "- - start"
    wanted = [f"{kind} {id} {what}" for kind, id in sent.items() for what in ("inner", "task")]
    assert sorted(told[1:]) == sorted(wanted)
    assert "Logging error" not in worker.log.read_text()


def test_hooks_run_at_both_ends_of_every_child(hooks: Stage, wait_until: WaitUntil) -> None:
    worker = hooks.worker("-c", "2")
    wait_until(lambda: len(lines(hooks, "hooks")) == 4)
    pids = {child.pid for child in worker.children()}
    assert worker.stop() == 0
    for pid in pids:
        mine = [line for line in lines(hooks, "hooks") if line.startswith(f"{pid} ")]
        assert mine == [f"{pid} {what}" for what in ("first", "second", "last")]
    assert len(lines(hooks, "hooks")) == 6


def test_failing_start_hook_is_logged_and_fetches_no_message(hooks: Stage) -> None:
    hooks.send("sync")
    worker = hooks.worker("-c", "1", FAULTS_START="1")
    assert worker.wait(25) == 1
    failures = worker.events("child failed")
    assert failures
    assert all("ConnectionError: nothing listens there" in f["traceback"] for f in failures)
    assert worker.events("giving up: children die at start")
    assert not hooks.effects()
    assert not any("last" in line for line in lines(hooks, "hooks"))
    assert hooks.look().queues["mid"].ready == 1


@pytest.mark.parametrize("how", hooked.STOP)
@pytest.mark.parametrize("flags", [(), ("--solo",)], ids=["worker", "solo"])
def test_a_stop_hook_that_fails_is_logged_and_the_next_ones_run(
    hooks: Stage, flags: tuple[str, ...], how: str
) -> None:
    hooks.send("sync")
    worker = hooks.worker("--burst", "-c", "1", *flags, FAULTS_STOP=how)
    assert worker.wait() == 0, worker.log.read_text()
    (failure,) = worker.events("stop hook failed")
    assert type(hooked.STOP[how]).__name__ in failure["traceback"]
    assert failure["hook"].endswith("fails")
    assert not worker.events("child died")
    assert any("last" in line for line in lines(hooks, "hooks"))
    assert hooks.is_drained()


def test_a_middleware_is_a_generator() -> None:
    app = TypedQ("n")

    async def coroutine(ctx: object) -> None:
        await asyncio.sleep(0)

    anything: list[Any] = [coroutine, print, Path]
    for wrong in anything:
        with pytest.raises(ConfigurationError, match="is not a generator; it must yield once"):
            app.middleware(wrong)
