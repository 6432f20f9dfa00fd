"""The situations of the random mixes take the process as what runs beside them has left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import on_foreign_code
from tests.faults.foreign.app import TABLE
from tests.faults.foreign.test_foreign import broken
from tests.faults.harness import Stage

if TYPE_CHECKING:
    from tests.conftest import WaitUntil


@pytest.mark.timeout(120)
def test_every_situation_ends_as_it_must_beside_a_coroutine_that_changes_the_process(
    foreign: Stage, wait_until: WaitUntil
) -> None:
    tasks = [name for name in on_foreign_code.tasks() if name.endswith(".sync")]
    worker = foreign.worker("-c", "1")
    held = foreign.send("changes_all", foreign.gate())
    wait_until(lambda: held in foreign.ids("start"))
    ids = {task: foreign.send(task) for task in tasks if _ends_soon(task)}
    assert len(ids) > 100
    wait_until(lambda: {*foreign.ended(), *foreign.dead()} >= {*ids.values()}, 90.0)
    foreign.open_gate()
    assert worker.stop() == 0
    assert not worker.events("child died")
    assert held in foreign.ended()
    wrong = broken(foreign, ids)
    assert not wrong, "\n".join(f"{task}: {what}" for task, what in wrong.items())


def _ends_soon(task: str) -> bool:
    each = TABLE[task.rpartition(".")[0]]
    return each.chapter != "awaitables" and "soft_timeout" not in each.options
