"""What waits where, and who works."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery, Shop


def test_the_keys_of_its_json_are_stable(shop: Shop) -> None:
    shop.out("enqueue", "fail")
    facts = shop.json("info")
    assert {key: type(value) for key, value in facts.items()} == {
        "namespace": str,
        "url": str,
        "time": str,
        "queues": list,
        "workers": list,
        "contracts": list,
        "waiting": int,
        "in_flight": int,
        "dead": int,
        "since_start": dict,
    }
    assert facts["namespace"] == shop.namespace
    low = facts["queues"][1]
    assert 0 <= low.pop("oldest_s") < 60
    nothing = {"delayed": 0, "next_due": None, "next_due_s": None}
    assert low == {"name": "low", "ready": 1, **nothing}
    waiting = {c["task"]: (c["waiting"], c["in_app"]) for c in facts["contracts"]}
    assert waiting == {
        "fail": (1, True),
        "hold": (0, True),
        "resize": (0, True),
        "send_email": (0, True),
    }


def test_contracts_that_the_app_cannot_read_are_shown(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.app.send([cemetery.calls["fail"].call("x")])
    lines = shop.out("info").splitlines()
    assert lines[1] == "1 waiting, 0 in flight, 0 dead"
    assert "no worker runs" in lines
    fails = [line.split()[2:] for line in lines if line.startswith("fail")]
    assert sorted(fails) == [["0", "yes"], ["1", "no"]]
    assert not any("\x1b" in line for line in lines)  # this is no terminal


def test_a_head_that_is_no_message_has_no_age(shop: Shop, cemetery: Cemetery) -> None:
    from typedq.broker import Move

    key = cemetery.broker.keys.ready("low")
    cemetery.broker.call(Move("RPUSH", [key], [b"\xff garbage"], int))
    low = shop.json("info")["queues"][1]
    assert (low["ready"], low["oldest_s"]) == (1, None)


def test_workers_are_shown_while_they_run(shop: Shop, wait_until: Any) -> None:
    with shop.start("worker", "-c", "1", "-X", "high") as worker:
        (seen,) = wait_until(lambda: shop.json("info")["workers"])
        assert seen["pid"] == worker.pid
        assert (seen["children"], seen["queues"]) == (1, ["low"])
        assert f"{seen['host']}:{seen['pid']}" in shop.out("info")
        worker.terminate()
        assert worker.wait(20) == 0
    assert shop.json("info")["workers"] == []


def test_watch_shows_it_again(shop: Shop) -> None:
    with shop.start("info", "--json", "--watch", "50ms", stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
    assert first["time"] < second["time"]
    assert "it must be above 0" in shop.error("info", "--watch", "0")
