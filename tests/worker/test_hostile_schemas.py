"""Messages whose published schemas are made to hurt: they are parked, and stop nobody."""

from __future__ import annotations

import signal
import time
from typing import Any

import msgspec
import pytest

from tests.conftest import WaitUntil
from tests.faults.harness import Stage
from typedq.admin.doctor import examine
from typedq.admin.overview import overview
from typedq.broker import Destination, OutgoingMessage
from typedq.message import encode_message, new_ids

COSTLY: Any = {
    "allOf": [
        {"anyOf": [{"type": "object", "properties": {f"a{i}{j}": {}}} for j in range(2)]}
        for i in range(40)
    ]
}
ENDLESS: Any = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}] * 2}}}
WRONG: Any = {
    "type": 5, "properties": [], "required": {"a": 1}, "$defs": 7, "anyOf": "x", "enum": {},
    "minimum": "x", "pattern": 3, "$ref": [], "allOf": {"a": {}}, "items": 1, "$schema": None,
}  # fmt: skip
SCHEMAS: dict[str, bytes] = {
    "costly": msgspec.json.encode(COSTLY),
    "endless": msgspec.json.encode(ENDLESS),
    "deep": b'{"items":' * 20_000 + b"{}" + b"}" * 20_000,
    "wrong": msgspec.json.encode(WRONG),
    "no json": b'{"type": \xff',
    "huge": b'{"title":"' + b"x" * 3_000_000 + b'"}',
    "many": msgspec.json.encode({"enum": [f"value{i}" for i in range(20_000)]}),
    "shared": msgspec.json.encode(
        {"$ref": "#/$defs/d0", "$defs": {
            **{f"d{i}": {"oneOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)},
            "d60": {"type": "object"}}}
    ),
}  # fmt: skip
IN_TIME = 10.0  # seconds; the grace of a stop is longer


def put(stage: Stage, published: dict[str, bytes], times: int) -> list[str]:
    """Enqueue messages of contracts with these schemas, past today's front door."""
    ids = new_ids(times * len(published))
    messages = list[OutgoingMessage]()
    for number, id in enumerate(ids):
        contract = [*published][number % len(published)]
        text = encode_message(id=id, contract=contract, queue="mid", options=b"-", body=b"{}")
        messages.append(OutgoingMessage(id, Destination("mid", contract), text))
    stage.app.broker.enqueue(messages, published.__getitem__)
    stage.accepted += ids
    return ids


@pytest.mark.process
@pytest.mark.timeout(120)
def test_hostile_schemas_stop_no_other_task_and_no_signal(
    stage: Stage, wait_until: WaitUntil
) -> None:
    published = {
        f"nap@{number:016x}": schema for number, schema in enumerate(SCHEMAS.values(), start=1)
    }
    worker = stage.worker("-c", "2")
    hostile = put(stage, published, 5)
    others = stage.send_many([stage.call("nap")] * 50 + [stage.call("anap")] * 50)
    wait_until(lambda: set(others) <= stage.ended(), 30.0)

    def parked() -> dict[str, int]:
        groups: list[dict[str, Any]] = overview(stage.app)["parked"]
        return {group["contract"]: group["messages"] for group in groups}

    wait_until(lambda: sum(parked().values()) == len(hostile), 30.0)
    assert parked() == dict.fromkeys(published, 5)

    told = worker.events("published schema cannot be compared; its messages are parked")
    assert {event["contract"] for event in told} == published.keys()
    assert all(event["why"] for event in told)
    by_number = dict(zip(published, SCHEMAS, strict=True))
    invalid = {by_number[contract] for contract in overview(stage.app)["invalid_schemas"]}
    assert invalid == {"deep", "wrong", "no json", "huge", "many"}
    found = " ".join(finding.found for finding in examine(stage.app))
    assert all(contract in found for contract in published)

    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait(IN_TIME) == 0
    assert time.monotonic() - asked < IN_TIME
    assert set(hostile).isdisjoint(stage.ids("start"))
    assert set(others) <= stage.ended()
