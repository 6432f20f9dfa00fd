"""`typedq bundle`: from code, committed contracts and a server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import msgspec

from tests.cli.conftest import Shop
from typedq import TypedQ
from typedq.broker.operations import renew
from typedq.bundle import parse

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

OWNER = """
import os
from typedq import Queue, TypedQ

app = TypedQ("owner", queues=[Queue("high"), Queue("low")])

@app.task(queue="high")
def ship(number: int, customer: str = "") -> None: ...

@app.task
def pack(number: int) -> None: ...
"""


def test_the_bundle_of_an_app_holds_no_url(shop: Shop) -> None:
    shop.file("owner.py", OWNER)
    said = shop.out("bundle", "owner:app", "-o", "out/owner.typedq.json")
    assert said == "out/owner.typedq.json: 2 tasks of owner\n"
    data = (shop.directory / "out/owner.typedq.json").read_bytes()
    assert b"redis" not in data
    assert shop.out("bundle", "owner:app").encode() == data
    bundle = parse(data, "b")
    assert (bundle.namespace, bundle.queues, bundle.default_queue) == (
        "owner",
        ("high", "low"),
        "low",
    )
    assert {name: task.queue for name, task in bundle.tasks.items()} == {
        "ship": "high",
        "pack": "low",
    }


def test_committed_contracts_give_a_bundle_without_queues(shop: Shop) -> None:
    shop.file("owner.py", OWNER)
    code = parse(shop.out("bundle", "owner:app").encode(), "b")
    shop.out("export-schemas", "owner:app")
    accepted = [{"rule": "TASK_REMOVED", "path": "$", "from": 1, "reason": "drained"}]
    shop.file("schemas/pack/accepted.json", json.dumps(accepted))
    out, err = shop.here("bundle", "--from", "schemas", code=0)
    bundle = parse(out.encode(), "b")
    assert "note: schemas does not say which queues there are, so all tasks use 'default'" in err
    assert bundle.tasks.keys() == {"ship"}
    assert bundle.namespace == "owner"
    assert bundle.tasks["ship"].schema == code.tasks["ship"].schema
    assert "no tasks of 'other'" in shop.error("bundle", "--from", "schemas", "--namespace=other")
    assert "there is no directory nowhere" in shop.error("bundle", "--from", "nowhere")


def _report(app: TypedQ, name: str, *reads: str, **more: Any) -> None:
    about = {"seen_ms": time.time_ns() // 1_000_000, "reads": reads, **more}
    app.broker.call(renew(app.broker.keys, [], 60_000, name, msgspec.json.encode(about)))


def test_a_server_gives_the_contracts_that_live_workers_read(
    shop: Shop, server: OwnServer, namespace: str
) -> None:
    old, new = (TypedQ(namespace, url=server.url) for _ in range(2))

    @old.task(name="ship")
    def ship(number: int) -> None: ...

    @new.task(name="ship")
    def ship_2(number: int, note: str = "") -> None: ...

    ship.enqueue(1)
    ship_2.enqueue(1)
    where = ("bundle", "--from", server.url, "--namespace", namespace)
    assert "ship has several contracts, and nothing says which is the current" in shop.error(*where)

    known = {"default_queue": "low", "queues": ["high", "low"], "task_queues": {"ship": "high"}}
    _report(old, "a", ship_2.contract.id, "new@0123456789abcdef", **known)
    out, err = shop.here(*where, code=0)
    bundle = parse(out.encode(), "b")
    assert not err
    assert not bundle.ordered
    assert bundle.queues == ("high", "low")
    assert bundle.default_queue == "low"
    assert [(t.contract, t.queue) for t in bundle.tasks.values()] == [(ship_2.contract.id, "high")]

    _report(old, "b", ship.contract.id)  # a deploy is under way: what both read
    bundle = parse(shop.here(*where, code=0)[0].encode(), "b")
    assert bundle.tasks["ship"].contract in (ship.contract.id, ship_2.contract.id)
    old.close()
    new.close()


def test_the_source_of_a_bundle_is_given_once(shop: Shop) -> None:
    assert "give only one" in shop.error("bundle", "shop:app", "--from", "schemas")
    assert "this is for --from" in shop.error("bundle", "--namespace", "x")


def test_the_asyncapi_document_of_an_app_and_of_its_bundle_are_the_same(shop: Shop) -> None:
    shop.file("owner.py", OWNER)
    shop.out("bundle", "owner:app", "-o", "b.json")
    said = shop.out("asyncapi", "owner:app", "-o", "out/asyncapi.json")
    assert said == "out/asyncapi.json: 2 messages of owner\n"
    text = (shop.directory / "out/asyncapi.json").read_text()
    assert shop.out("asyncapi", "--bundle", "b.json") == text
    assert json.loads(text)["asyncapi"] == "3.1.0"
    both = shop.error("asyncapi", "owner:app", "--bundle", "b.json")
    assert "--bundle takes the place of the app" in both
