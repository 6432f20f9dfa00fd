"""A hundred payloads in the style of public applications, through contracts and a real worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contracts.models.app import EXAMPLES, TASKS
from tests.contracts.models.standard_payloads import REFUSED
from typedq.contracts import contract_of
from typedq.errors import ContractError

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

ROOT = Path(__file__).parents[2]


def test_there_are_a_hundred_and_most_are_taken_as_they_are() -> None:
    assert len(EXAMPLES) + len(REFUSED) >= 100
    assert len(EXAMPLES) >= 0.95 * (len(EXAMPLES) + len(REFUSED))


@pytest.mark.parametrize(("number", "value"), list(enumerate(value for _, value in EXAMPLES)))
def test_a_payload_comes_back(number: int, value: Any) -> None:
    contract = TASKS[number].contract
    args, kwargs = contract.decode(contract.encode((value,), {}))
    (read,) = (*args, *kwargs.values())
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("kind", "hint"), REFUSED)
def test_the_rest_is_refused_in_a_sentence_its_author_can_act_on(kind: Any, hint: str) -> None:
    def task(payload: Any) -> None: ...

    task.__annotations__["payload"] = kind
    with pytest.raises(ContractError) as caught:
        contract_of(task, task="t", context=type)
    assert hint in caught.value.reason
    assert caught.value.parameter == "payload"


@pytest.mark.timeout(120)
def test_all_of_them_go_through_a_real_worker(
    server: OwnServer, namespace: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.touch()
    environment = {
        **os.environ,
        "TYPEDQ_URL": server.url,
        "TYPEDQ_TEST_NAMESPACE": namespace,
        "TYPEDQ_TEST_LOG": str(log),
    }
    enqueue = (
        "from tests.contracts.models.app import EXAMPLES, TASKS\n"
        "for task, (_, value) in zip(TASKS, EXAMPLES, strict=True): task.enqueue(value)\n"
    )
    worker = ["-m", "typedq", "worker", "tests.contracts.models.app:app", "--burst", "-c", "1"]
    for arguments in (["-c", enqueue], worker):
        subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, timeout=100
        )
    assert sorted(map(int, log.read_text().split())) == list(range(len(EXAMPLES)))
