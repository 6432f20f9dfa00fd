"""Tasks as they are listed, and one message by hand."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shop

REFUSED = [
    (["send_email", '{"to": 1}'], "send_email: Expected `str`, got `int` - at $.to"),
    (["send_email", "{}"], "send_email: missing required field - at $.to"),
    (["resize", '{"image_id": '], "the body is not valid JSON: Input data was truncated - at $"),
    (["resize", "seven"], "resize: the body is not valid JSON: JSON is malformed"),
    (["resize", "[7]"], "resize: Expected `object`, got `array` - at $"),
    (["resize", '{"image_id": 7, "width": NaN}'], "the body is not valid JSON"),
    (["resize", '{"image_id": 7}', "--queue", "hihg"], "'hihg' (did you mean 'high'?)"),
    (["hold", "--delay", "-5"], "hold: option 'delay': it cannot be negative (-5 s)"),
    (["hold", "--delay", "soon"], "'soon' is not a duration (90, 30m, 2h, 1d)"),
    (["hold", "--delay", "9999d"], "longer than 10 years"),
    (["hold", "--eta", "tomorrow"], "'tomorrow' is not a date and time (2027-01-31T09:30:00Z)"),
    (["hold", "--eta", "2027-01-31T09:30"], "has no time zone; add Z for UTC"),
    (["hold", "--eta", "2027-01-31T09:30Z", "--delay", "1"], "delay and eta exclude each other"),
    (["hold", "--expires", "soon"], "'soon' is neither a duration (10m, 2h) nor a date and time"),
    (["hold", "--expires", "2027-01-31T09:30"], "has no time zone; add Z for UTC"),
    (["hold", "--expires", "0"], "hold: option 'expires': it must be at least a millisecond"),
    (["hold", "--expires", "1m", "--delay", "2m"], "it would expire before it is due"),
    (["hold", "--meta", "tenant"], "'tenant' is not KEY=VALUE (tenant=acme)"),
    (["hold", "--meta", "a=1", "--meta", "a=2"], "'a' is given twice"),
    (["hold", "--meta", "A=b"], "hold: option 'meta': key 'A' is not 1 to 64 of a-z 0-9 _ . -"),
    (["resiz"], "no task named 'resiz' (did you mean 'resize'?)"),
    (["zzz"], "no task named 'zzz'; this app has: fail, hold, resize, send_email"),
]


def test_tasks_are_listed_with_what_applies_in_the_end(shop: Shop) -> None:
    rows = [re.split(r"  +", line.strip()) for line in shop.out("tasks").splitlines()]
    assert rows[0] == ["task", "signature", "queue", "retry", "limits", "fingerprint"]
    assert [row[0] for row in rows[1:]] == ["fail", "hold", "resize", "send_email"]
    resize, send_email = rows[3], rows[4]
    assert resize[1:5] == [
        "(image_id: int, *, width: int = 100) -> None",
        "low",
        "-",
        "soft 5.0 s",
    ]
    assert send_email[1:5] == ["(args: Email) -> None", "high", "2 on OSError", "hard 2 h"]
    facts = {task["name"]: task for task in shop.json("tasks")}
    assert facts["send_email"]["fingerprint"] == send_email[5]
    assert facts["send_email"]["retry"]["max_retries"] == 2
    assert (facts["resize"]["async"], facts["resize"]["soft_timeout"]) == (True, 5.0)


def test_enqueue_prints_a_receipt_and_info_sees_the_message(shop: Shop) -> None:
    words = shop.out("enqueue", "send_email", '{"to": "a@b.c"}').split()
    assert re.fullmatch(r"[0-9a-f]{26}", words[0])
    assert words[1:5] == ["send_email", "in", "high,", "due"]
    receipt = shop.json("enqueue", "resize", "-", "--delay", "1h", stdin='{"image_id": 7}')
    due = datetime.fromisoformat(receipt["due"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < due <= timedelta(hours=1)
    shop.out("enqueue", "resize", '{"image_id": 8}', "--eta", "2035-01-31T09:30:00+01:00")
    shop.out("enqueue", "hold", "--queue", "high")
    high, low = shop.json("info")["queues"]
    assert (high["ready"], high["delayed"]) == (2, 0)
    assert (low["ready"], low["delayed"]) == (0, 2)
    # By the server's clock at the enqueue, and by this machine's a moment earlier.
    next_due = datetime.fromisoformat(low["next_due"])
    assert abs(next_due - datetime.fromisoformat(receipt["due"])) < timedelta(seconds=5)


def test_an_expiry_is_enqueued_and_shown(shop: Shop) -> None:
    at = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)
    id = shop.json("enqueue", "hold", "--expires", at.isoformat())["id"]
    assert shop.json("show", id)["expires"] == "2027-01-31T09:30:00.000Z"
    assert re.search(r"^expires +2027-01-31T09:30:00.000Z$", shop.out("show", id), re.MULTILINE)
    id = shop.json("enqueue", "hold", "--expires", "10m")["id"]
    left = datetime.fromisoformat(shop.json("show", id)["expires"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10, seconds=5)


def test_metadata_travels_with_the_message(shop: Shop) -> None:
    words = ("enqueue", "hold", "--meta", "tenant=acme", "--meta", "note=a=b {c}", "--meta", "x=")
    meta = {"tenant": "acme", "note": "a=b {c}", "x": ""}
    assert shop.json("show", shop.json(*words)["id"])["meta"] == meta
    assert shop.json("show", shop.json("enqueue", "hold")["id"])["meta"] == {}


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_is_refused_is_explained(words: list[str], message: str, shop: Shop) -> None:
    assert message in shop.error("enqueue", *words)


def test_a_second_message_for_a_unique_key_is_told_as_a_duplicate(shop: Shop) -> None:
    once = ("enqueue", "hold", "--unique", "nightly", "--unique-for", "1h")
    first = shop.json(*once)
    assert "duplicate" not in first
    again = shop.json(*once)
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    told = f"{first['id']} hold holds the unique key; nothing was enqueued\n"
    assert shop.out(*once) == told
    assert sum(queue["ready"] for queue in shop.json("info")["queues"]) == 1
