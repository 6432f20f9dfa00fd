"""What waits where, and who works."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.cli.conftest import APP
from typedq import Call, Queue, TypedQ
from typedq.broker import Operation, operations

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
        "parked": list,
        "invalid_schemas": dict,
        "cron": list,
        "waiting": int,
        "in_flight": int,
        "dead": int,
        "since_start": dict,
    }
    assert facts["namespace"] == shop.namespace
    low = facts["queues"][1]
    assert 0 <= low.pop("oldest_s") < 60
    nothing = {"delayed": 0, "next_due": None, "next_due_s": None, "last_due": None, "parked": 0}
    assert low == {"name": "low", "ready": 1, **nothing, "paused": False}
    waiting = {c["task"]: (c["waiting"], c["in_app"]) for c in facts["contracts"]}
    assert waiting == {
        "fail": (1, True),
        "hold": (0, True),
        "resize": (0, True),
        "send_email": (0, True),
    }


def test_contracts_that_the_app_cannot_read_are_shown(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.app.enqueue_many([cemetery.calls["fail"].call("x")])
    lines = shop.out("info").splitlines()
    assert lines[1] == "1 waiting, 0 in flight, 0 dead"
    assert "no worker runs" in lines
    fails = [line.split()[2:] for line in lines if line.startswith("fail")]
    assert sorted(fails) == [["0", "yes", "nobody"], ["1", "no", "nobody"]]
    assert not any("\x1b" in line for line in lines)  # this is no terminal


def test_a_head_that_is_no_message_has_no_age(shop: Shop, cemetery: Cemetery) -> None:
    key = cemetery.broker.keys.ready("low")
    cemetery.broker.call(Operation("RPUSH", [key], [b"\xff garbage"], int))
    low = shop.json("info")["queues"][1]
    assert (low["ready"], low["oldest_s"]) == (1, None)


def test_workers_are_shown_while_they_run(shop: Shop, wait_until: Any) -> None:
    shop.file("shop.py", APP + 'app.cron("@yearly", fail.call())')
    with shop.start("worker", "-c", "1", "-X", "high") as worker:
        (seen,) = wait_until(lambda: shop.json("info")["workers"])
        assert seen["pid"] == worker.pid
        assert (seen["children"], seen["queues"]) == (1, ["low"])
        assert seen["protocols"] == [1]
        assert seen["croniter"] == int(version("croniter").partition(".")[0])
        assert f"{seen['host']}:{seen['pid']}" in shop.out("info")
        worker.terminate()
        assert worker.wait(20) == 0
    assert shop.json("info")["workers"] == []


def test_what_is_paused_delayed_and_parked_is_shown(shop: Shop, cemetery: Cemetery) -> None:
    contract = cemetery.park("legacy", 2)
    shop.out("enqueue", "hold", "--delay", "1h")
    shop.out("enqueue", "hold", "--eta", "2035-01-31T09:30Z")
    shop.out("pause", "high")
    facts = shop.json("info")
    high, low = facts["queues"]
    assert (high["paused"], low["paused"], low["parked"]) == (True, False, 2)
    assert low["next_due"] < low["last_due"] == "2035-01-31T09:30:00.000Z"
    (group,) = facts["parked"]
    assert group.pop("since") <= facts["time"]
    assert group == {"queue": "low", "contract": contract, "messages": 2, "read_by": []}
    lines = [re.split(r"  +", line.strip()) for line in shop.out("info").splitlines()]
    assert [line[0] for line in lines if "paused" in line[0]] == ["high (paused)"]
    (parked,) = (line for line in lines if contract in line)
    assert (parked[0], parked[2], parked[4]) == ("low", "2", "nobody")


def test_a_contract_that_is_read_and_whose_parked_messages_are_not_is_shown(
    shop: Shop, cemetery: Cemetery
) -> None:
    contract = cemetery.park("fail", 2)
    about = {"reads": [contract], "queues": ["high"], "seen_ms": round(time.time() * 1000)}
    line = msgspec.json.encode(about)
    cemetery.broker.call(operations.renew(cemetery.broker.keys, [], 60_000, "elsewhere", line))
    (row,) = (c for c in shop.json("info")["contracts"] if c["waiting"])
    assert (row["waiting"], row["read_by"], row["unreadable"]) == (2, ["elsewhere"], 2)
    assert "1 worker, 2 parked for none" in shop.out("info")


def test_who_can_read_what_waits_is_shown(shop: Shop, cemetery: Cemetery, wait_until: Any) -> None:
    for name, argument in (("legacy", "x"), ("resize", 7), ("send_email", "x")):
        cemetery.app.enqueue_many([cemetery.calls[name].options(delay=3_600).call(argument)])
    with shop.start("worker", "-c", "1") as worker:
        (seen,) = wait_until(lambda: shop.json("info")["workers"])
        facts = shop.json("info")
        worker.terminate()
        assert worker.wait(20) == 0
    readers = {(c["task"], c["in_app"]): c["read_by"] for c in facts["contracts"]}
    everybody = [seen["name"]]
    assert readers["hold", True] == everybody
    assert readers["resize", False] == everybody  # today's has one more, with a default
    assert readers["send_email", False] == everybody  # one Struct of the same bytes today
    assert readers["legacy", False] == []


def test_upcasters_former_names_and_dead_workers_count_as_workers_count_them(
    shop: Shop, cemetery: Cemetery
) -> None:
    from typedq.admin.overview import alive, overview

    app = TypedQ(shop.namespace, url=shop.env["TYPEDQ_URL"], queues=[Queue("low")])

    @app.task(aliases=("legacy",))
    def modern(number: int) -> None: ...

    @modern.upcast
    def _(secret: str) -> Call:
        return modern.call(len(secret))

    cemetery.app.enqueue_many([cemetery.calls["legacy"].call("x")])
    for name, seen_s in (("living", time.time()), ("dead", time.time() - 3_000)):
        about = {"reads": [modern.contract.id], "queues": ["low"], "seen_ms": round(seen_s * 1000)}
        line = msgspec.json.encode(about)
        cemetery.broker.call(operations.renew(cemetery.broker.keys, [], 60_000, name, line))
    seen = overview(app)
    (waiting,) = (c for c in seen["contracts"] if c["waiting"])
    assert (waiting["task"], waiting["read_by"]) == ("legacy", ["living"])
    assert {w["name"]: w["alive"] for w in seen["workers"]} == {"living": True, "dead": False}
    assert [worker["name"] for worker in alive(seen)] == ["living"]
    app.broker.close()


def test_it_asks_as_often_however_much_there_is(
    cemetery: Cemetery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typedq.admin.overview import overview
    from typedq.broker import Broker

    asked, call = list[Operation[Any]](), Broker.call

    def counted(broker: Broker, move: Operation[Any]) -> Any:
        asked.append(move)
        return call(broker, move)

    cemetery.park("legacy")
    monkeypatch.setattr(Broker, "call", counted)
    overview(cemetery.app)
    once = len(asked)
    for task in ("fail", "send_email"):
        cemetery.park(task)
    asked.clear()
    assert len(overview(cemetery.app)["parked"]) == 3
    assert len(asked) == once


CLOCK = """
app.cron("*/10 * * * *", resize.call(7), name="thumbs", tz="Europe/Berlin")
app.cron("* * * * * *", resize.call(8))
"""


def test_cron_shows_what_fired_and_what_is_next(shop: Shop, wait_until: Any) -> None:
    shop.file("shop.py", APP + CLOCK)
    with shop.start("worker", "-c", "1") as worker:
        wait_until(lambda: shop.ran, 20)
        worker.terminate()
        assert worker.wait(20) == 0
    facts = shop.json("info")
    often, seldom = sorted(facts["cron"], key=lambda entry: entry["name"])
    assert (seldom["name"], seldom["task"], seldom["tz"]) == ("thumbs", "resize", "Europe/Berlin")
    assert 0 < seldom["next_s"] <= 600
    assert often["last"] <= facts["time"]
    assert "*/10 * * * * Europe/Berlin" in shop.out("info")


@pytest.mark.parametrize(("flag", "begun"), [([], 2), (["--no-cron"], 0)])
def test_no_cron_fires_no_entry(
    flag: list[str], begun: int, shop: Shop, cemetery: Cemetery
) -> None:
    shop.file("shop.py", APP + CLOCK)
    shop.run("worker", "-c", "1", "-b", *flag)
    broker = cemetery.broker
    assert broker.call(Operation("HLEN", [broker.keys.cron], [], int)) == begun


def test_nobody_is_in_colour_at_a_terminal(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.park("legacy")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        with shop.start("info", stdout=terminal) as process:
            assert process.wait(20) == 0
        said = os.read(master, 1 << 16).decode()
    os.close(master)
    assert "\x1b[33mnobody" in said


def test_watch_shows_it_again(shop: Shop) -> None:
    with shop.start("info", "--json", "--watch", "50ms", stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
    assert first["time"] < second["time"]
    assert "it must be above 0" in shop.error("info", "--watch", "0")
