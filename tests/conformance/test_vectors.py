"""The vectors in `conformance/` are what Python sends, and what a server answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.conformance.vectors import ROOT, files, options_of
from typedq import InvalidBody, InvalidOptions, TypedQ
from typedq.admin.bundles import read_file
from typedq.broker.operations import enqueue
from typedq.broker.script import Operation
from typedq.contracts import Contract
from typedq.message import decode_message, is_message

if TYPE_CHECKING:
    from typedq.broker import Broker
    from typedq.embedded import OwnServer

STEPS = json.loads((ROOT / "enqueue.json").read_text())["steps"]
BAD = json.loads((ROOT / "refused.json").read_text())["calls"]


def contract(task: str) -> Contract:
    from tests.conformance.shop import app

    return app.tasks[task].contract


@pytest.fixture(scope="module")
def broker(server: OwnServer) -> Iterator[Broker]:
    app = TypedQ("conformance", url=server.url)
    yield app.broker
    app.close()


def test_the_vectors_are_those_of_this_version() -> None:
    """If this fails: a change of protocol 1 breaks clients; `python -m tests.conformance.vectors`
    only if the vectors themselves were to change."""
    assert {path.name: path.read_bytes() for path in ROOT.glob("*.json")} == files()


def test_the_bundle_of_the_vectors_is_read() -> None:
    assert read_file(ROOT / "shop.typedq.json", namespace="shop").tasks.keys() >= {"ship", "ping"}


def test_a_server_gives_the_replies_to_the_steps(broker: Broker) -> None:
    """The arguments are sent as they stand in the file, by no code of ours."""
    script = enqueue(broker.keys, "p", 1, [], {}).script
    for step in STEPS:
        keys = [key.replace("{shop}", broker.keys.tag) for key in step["keys"]]
        reply: Any = broker.call(Operation(script, keys, step["args"], lambda raw: raw))
        assert [part.decode() for part in reply] == step["reply"], step["name"]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["name"])
def test_workers_read_the_messages(step: Any) -> None:
    for call, text in zip(step["calls"], step["messages"], strict=True):
        assert is_message(text.encode())
        envelope = decode_message(text.encode())
        assert envelope.body.decode() == call["payload"]
        contract(envelope.task).decode(envelope.body)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["name"])
def test_what_is_to_be_refused_is_refused_here(case: Any) -> None:
    if case["refused"] == "task":
        assert case["task"] not in read_file(ROOT / "shop.typedq.json").tasks
    elif case["refused"] == "options":
        with pytest.raises(InvalidOptions) as wrong:
            options_of(case["task"], case["options"])
        assert wrong.value.option == case["at"]
    else:
        with pytest.raises(InvalidBody) as error:
            contract(case["task"]).decode(case["payload"].encode(), 2_000, 8)
        if case["name"] not in ("NaN", "half a surrogate pair"):  # found while the text is parsed
            assert error.value.path.startswith(case["at"]) or case["at"].startswith(
                error.value.path
            )


def test_payloads_are_written_as_python_writes_them() -> None:
    """Members may be left out and be in another order; texts and numbers have one form."""
    for step in STEPS:
        for call in step["calls"]:
            value = msgspec.json.decode(call["payload"])
            assert msgspec.json.encode(value).decode() == call["payload"]
