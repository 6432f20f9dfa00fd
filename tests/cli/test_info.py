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
from typedq.broker import Operation, operations, stats

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
        "left_out": dict,
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


@pytest.fixture
def crowded(cemetery: Cemetery) -> Cemetery:
    """Messages of four contracts, parked ones among them; a worker reads other ones of each."""
    broker, keys = cemetery.broker, cemetery.broker.keys
    for task, count in (("legacy", 2), ("fail", 1)):
        cemetery.park(task, count)
    for task, count in (("send_email", 4), ("resize", 3)):
        call = cemetery.calls[task].call(7 if task == "resize" else "x")
        cemetery.app.enqueue_many([call] * count)
    others = {f"{task}@{'0' * 16}": b'{"type": "object"}' for task in cemetery.calls}
    broker.call(stats.publish(keys, {**others, "legacy@1": b"{", "legacy@2": b"{"}))
    about = {"reads": [*others], "queues": ["high", "low"], "seen_ms": time.time_ns() // 1_000_000}
    broker.call(operations.renew(keys, [], 60_000, "w", msgspec.json.encode(about)))
    return cemetery


def test_what_there_is_no_time_to_compare_is_left_out_and_counted(
    crowded: Cemetery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typedq.admin import overview

    whole = overview.overview(crowded.app)
    assert whole["left_out"] == {"contracts": 0, "messages": 0, "schemas": 0}
    monkeypatch.setattr(overview, "COMPARE_S", -1.0)
    contracts = overview.published(crowded.app)  # kept, as by `info --watch`
    seen = [overview.overview(crowded.app, contracts) for _ in range(5)]
    # The largest first; what a row says is what it says when all are compared.
    shown = [[c["task"] for c in facts["contracts"]] for facts in seen]
    assert shown[0] == ["send_email"]
    assert [len(tasks) for tasks in shown] == [1, 2, 3, 4, 4]
    assert all(row in whole["contracts"] for facts in seen for row in facts["contracts"])
    left = [(f["left_out"]["contracts"], f["left_out"]["messages"]) for f in seen]
    assert left == [(3, 6), (2, 3), (1, 1), (0, 0), (0, 0)]
    assert [len(facts["parked"]) for facts in seen] == [0, 0, 1, 2, 2]
    # Numbers that need no comparison are whole.
    assert [q["parked"] for q in seen[0]["queues"]] == [q["parked"] for q in whole["queues"]]
    assert seen[0]["waiting"] == whole["waiting"] == 10
    assert seen[0]["left_out"]["schemas"] >= len(whole["invalid_schemas"]) == 2


def test_what_is_left_out_is_told(
    crowded: Cemetery, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typedq.admin import doctor, overview
    from typedq.cli.application import AppOrArgument
    from typedq.cli.info import info

    monkeypatch.setattr(overview, "COMPARE_S", -1.0)
    monkeypatch.setattr(AppOrArgument, "load", lambda _: crowded.app)
    info(AppOrArgument())
    text = " ".join(capsys.readouterr().out.split())
    assert "3 contracts of 6 messages are not shown: there was no time to compare them" in text
    assert "published schemas were not checked: there was no time" in text
    found = [(f.check, f.level, f.found) for f in doctor.examine(crowded.app)]
    told = "no time to compare 3 contract(s) of 6 message(s)"
    assert ("contracts", "warning", told) in found
    assert not [f for f in found if f[:2] == ("contracts", "ok")]
    assert [f for f in found if f[:2] == ("registry", "warning") and "were not checked" in f[2]]


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
