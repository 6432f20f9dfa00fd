"""`typedq show` and `typedq cancel`: one message by its id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from typedq.broker import operations, settlements

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery, Shop

TOLD = "told the worker that holds it: if it runs, it meets Cancelled; it will not wait again"
UNKNOWN = "is unknown: it has ended, was dropped, or was never accepted\n"


def test_show_tells_where_a_message_is(shop: Shop, cemetery: Cemetery) -> None:
    id = cemetery.calls["legacy"].options(delay=60).enqueue("xyz").id
    about = shop.json("show", id)
    assert (about["id"], about["state"], about["task"]) == (id, "delayed", "legacy")
    assert (about["queue"], about["attempts"], about["read_by"]) == ("low", 0, [])
    assert (about["why"], about["paused"]) == ("no live worker has a task legacy", False)
    assert about["due"] > about["enqueued"] > "2020"
    assert "arguments" not in about
    shown = shop.out("show", id)
    assert "state      delayed\n" in shown
    assert "xyz" not in shown


def test_payload_shows_the_arguments_beside_their_schema(shop: Shop, cemetery: Cemetery) -> None:
    id = cemetery.calls["legacy"].enqueue("xyz").id
    about = shop.json("show", id, "--payload")
    assert about["arguments"] == {"secret": "xyz"}
    assert about["schema"]["properties"] == {"secret": {"type": "string"}}
    assert 'arguments  {"secret": "xyz"}' in shop.out("show", id, "--payload")


def test_bytes_are_the_size_of_the_arguments_wherever_a_message_is(
    shop: Shop, cemetery: Cemetery
) -> None:
    (dead,) = cemetery.bury("fail")
    id = cemetery.calls["legacy"].options(meta={"tenant": "acme"}).enqueue("xyz").id
    size = len('{"secret":"xyz"}')
    assert (shop.json("show", id)["bytes"], shop.json("peek", "low")[0]["bytes"]) == (size, size)
    about, letter = shop.json("show", dead, "--payload"), shop.json("dead", "show", dead)
    assert (
        about["bytes"]
        == letter["bytes"]
        == len(json.dumps(about["arguments"], separators=(",", ":")))
    )
    (listed,) = shop.json("dead", "list")
    assert listed["bytes"] == letter["bytes"]


def test_show_tells_why_a_message_is_dead(shop: Shop, cemetery: Cemetery) -> None:
    (id,) = cemetery.bury("fail")
    about = shop.json("show", id)
    assert (about["state"], about["kind"], about["attempts"]) == ("dead", "failed", 2)
    assert about["reason"].startswith("RuntimeError: ")


def test_show_peek_and_dead_show_metadata(shop: Shop, cemetery: Cemetery) -> None:
    meta = {"note": "a b\x1b[31m", "tenant": "acme"}
    id = cemetery.calls["legacy"].options(meta=meta).enqueue("xyz").id
    assert shop.json("show", id)["meta"] == meta
    assert '"tenant": "acme"' in shop.out("show", id)
    assert shop.json("peek", "low")[0]["meta"] == meta
    shown = shop.out("peek", "low")
    assert "note=a b\\x1b[31m tenant=acme" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_what_was_cancelled_before_an_error_is_told(
    shop: Shop, cemetery: Cemetery, flags: tuple[str, ...]
) -> None:
    call = cemetery.calls["legacy"].call("x")
    last, *_, first = cemetery.app.enqueue_many([call] * 2_100)  # they are searched from the end
    out, error = shop.here("cancel", first.id, last.id, "--limit", "1", *flags, code=2)
    assert f"{last.id} is not among the first 1 waiting messages" in error
    if flags:
        (about,) = json.loads(out)
        assert (about["id"], about["outcome"]) == (first.id, "dropped")
    else:
        assert out.startswith(f"{first.id} dropped: ")
    assert cemetery.app.get(first.id).state == "unknown"


def test_unknown_messages_end_with_1_and_no_ids_with_2(shop: Shop) -> None:
    id = "0" * 26
    assert shop.out("show", id, code=1) == f"{id} {UNKNOWN}"
    assert shop.json("show", id, code=1) == {"id": id, "state": "unknown"}
    assert shop.out("cancel", id, code=1) == f"{id} {UNKNOWN[3:]}"
    assert "'x': a message id has 26 hexadecimal digits" in shop.error("show", "x")


def test_cancel_says_of_each_what_was_done(shop: Shop, cemetery: Cemetery) -> None:
    held = cemetery.calls["send_email"].enqueue("xyz").id
    keys, queues = cemetery.broker.keys, ["high", "low"]
    cemetery.broker.call(operations.open(keys, ["s"], queues, 60_000))
    cemetery.broker.call(settlements.settle_and_fetch(keys, "s", queues, max_messages=1))
    (dead,) = cemetery.bury("fail")
    waits = cemetery.calls["legacy"].enqueue("xyz").id
    assert shop.out("cancel", held, waits, dead, code=1).splitlines() == [
        f"{held} {TOLD}",
        f"{waits} dropped: it was ready in low, and will not run",
        f"{dead} not cancelled: it is a dead letter; see: typedq dead show {dead}",
    ]
    (told,) = shop.json("cancel", held)
    assert (told["outcome"], told["id"], told["state"]) == ("told", held, "in flight")
    assert told["cancelled"]


def test_no_message_is_cancelled_if_one_id_is_bad(shop: Shop, cemetery: Cemetery) -> None:
    id = cemetery.calls["legacy"].enqueue("xyz").id
    assert "'bad': a message id has" in shop.error("cancel", id, "bad")
    assert shop.json("show", id)["state"] == "ready"


def test_a_search_beyond_its_limit_says_so(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.app.enqueue_many([cemetery.calls["legacy"].call("xyz")] * 5_000)
    error = shop.error("show", "0" * 26, "--limit", "2000")
    assert "is not among the first 2,000 waiting messages, and more wait; give a higher" in error
