"""What a declaration or a call takes is checked where it is written, not in a worker."""

from __future__ import annotations

import asyncio
import copy
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest

from typedq import ConfigurationError, TypedQ

app = TypedQ("misuse")
ANY: Any = app


@app.task
def ping(n: int) -> None: ...


ANY_TASK: Any = ping

REFUSED = [
    (lambda: ANY.task(retry=3)(ping.fn), "retry takes a Retry, such as Retry(max_retries=3)"),
    (lambda: ANY.task(aliases="old")(ping.fn), "aliases takes a list of names, such as ['old']"),
    (lambda: ANY.on_process_start(3), "on_process_start takes a function without parameters, not"),
    (lambda: ANY.on_process_stop("x"), "on_process_stop takes a function without parameters, not"),
]


@pytest.mark.parametrize(("declare", "said"), REFUSED)
def test_a_declaration_of_another_kind_is_refused(declare: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declare()
    assert said in str(caught.value)


OTHERS = ["delay", "apply_async", "s", "si", "send", "send_with_options", "message", "kiq", "defer"]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    "sender", [ping, ping.options(delay=5), app.remote("other", contract=ping.fn)]
)
def test_the_names_of_other_queues_say_what_is_called_here(sender: Any, name: str) -> None:
    assert not hasattr(sender, name)
    with pytest.raises(AttributeError) as caught:
        getattr(sender, name)
    said = str(caught.value)
    assert said.startswith(f"a task has no {name}: ")
    assert f"{sender.name}." in said
    assert any(method in said for method in (".enqueue(", ".options(", ".call("))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("make", [create_autospec, lambda task: Mock(spec=task)])
def test_a_mock_made_from_a_task_has_no_names_of_other_queues(make: Any, name: str) -> None:
    assert hasattr(make(ping), "enqueue")
    assert not hasattr(make(ping), name)


def test_other_missing_attributes_are_told_as_by_python() -> None:
    with pytest.raises(AttributeError, match=r"^'Task' object has no attribute 'colour'$"):
        _ = ANY_TASK.colour
    assert copy.copy(ping.options(delay=5)).name == "ping"
    assert getattr(ping, "delay", None) is None


def test_one_call_is_no_list() -> None:
    with app.testing(), pytest.raises(TypeError, match="takes a list of calls"):
        ANY.enqueue_many(ping.call(1))


@pytest.mark.parametrize("wrong", [ping, ping.options(), None, 3])
def test_only_calls_are_enqueued(wrong: Any) -> None:
    said = f"takes calls, such as my_task.call\\(1\\), not {type(wrong).__name__}"
    with ANY.testing() as outbox:
        with pytest.raises(TypeError, match=said):
            ANY.enqueue_many([ping.call(1), wrong])
        with pytest.raises(TypeError, match=said):
            asyncio.run(ANY.aenqueue_many([wrong]))
        assert not outbox.waiting()
