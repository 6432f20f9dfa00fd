"""Queues looked into, emptied, paused and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery, Shop


def test_peek_shows_what_is_next_and_leaves_it(shop: Shop, cemetery: Cemetery) -> None:
    assert shop.out("peek", "low") == "nothing is ready in low\n"
    assert shop.json("peek", "low") == []
    calls = [cemetery.calls["fail"].call(word) for word in ("one", "two", "three")]
    receipts = cemetery.app.enqueue_many(calls)
    found = shop.json("peek", "low", "-n", "2")
    assert [message["id"] for message in found] == [receipt.id for receipt in receipts[:2]]
    assert "payload" not in found[0]
    head, *rows = shop.out("peek", "low").splitlines()
    assert head.split() == ["id", "contract", "queue", "enqueued", "due", "attempts", "bytes"]
    assert [row.split()[0] for row in rows] == [receipt.id for receipt in receipts]
    assert "one" not in rows[0]
    assert '{"secret":"one"}' in shop.out("peek", "low", "--payload")


def test_bytes_that_are_no_message_can_be_seen(shop: Shop, cemetery: Cemetery) -> None:
    from typedq.broker import Operation

    key = cemetery.broker.keys.ready("low")
    cemetery.broker.call(Operation("RPUSH", [key], [b"\xff\x1b garbage"], int))
    (facts,) = shop.json("peek", "low", "--payload")
    assert (facts["id"], facts["bytes"]) == (None, 10)
    assert "\\xff\\x1b garbage" in shop.out("peek", "low", "--show-secrets")


def test_purge_drops_what_waits_in_that_queue_only(shop: Shop, cemetery: Cemetery) -> None:
    fail, other = cemetery.calls["fail"], cemetery.calls["send_email"]
    cemetery.app.enqueue_many([fail.call("x")] * 600)
    cemetery.app.enqueue_many([fail.options(delay=60).call("x")] * 2 + [other.call("x")])
    assert shop.json("purge", "low", "-y") == {"queue": "low", "purged": 602}
    assert shop.out("purge", "low") == "purge: 0 message(s) from low\n"
    facts = shop.json("info")
    assert (facts["waiting"], facts["queues"][0]["ready"]) == (1, 1)
    assert "there is no terminal to confirm at; use -y" in shop.error("purge", "high")


def test_a_paused_queue_waits_until_it_is_resumed(shop: Shop, wait_until: Any) -> None:
    assert shop.out("pause", "low") == "low is paused\n"
    assert shop.out("pause", "low") == "low was paused already\n"
    shop.out("enqueue", "resize", '{"image_id": 7}')
    shop.out("enqueue", "send_email", '{"to": "a@b.c"}')
    with shop.start("worker", "-c", "1") as worker:
        wait_until(lambda: shop.ran)
        assert shop.json("info")["queues"][1]["ready"] == 1
        assert shop.out("resume", "low") == "low is resumed\n"
        wait_until(lambda: len(shop.ran) == 2)
        worker.terminate()
        assert worker.wait(20) == 0
    assert shop.ran == ["a@b.c ", "7 100"]
    assert shop.out("resume", "low") == "low was not paused\n"


@pytest.mark.parametrize("command", ["peek", "purge", "pause", "resume"])
def test_a_queue_that_the_app_has_not_is_refused(command: str, shop: Shop) -> None:
    meant = "no queue named 'hihg' (did you mean 'high'?); this app has: high, low"
    assert meant in shop.error(command, "hihg")
