"""Cron entries listed, run, paused and resumed, with the app and without it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import APP
from typedq import TypedQ
from typedq.admin import cron
from typedq.broker import server_checks
from typedq.broker.stats import Stats
from typedq.message import decode_message
from typedq.registry import Worker, reported_workers

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery, Shop

ENTRIES = """
high = resize.options(queue="high", soft_timeout=9, meta={"by": "cron"})
app.cron("0 3 * * *", high.call(7), name="nightly", tz="Europe/Berlin")
app.cron("*/10 * * * *", fail.call())

@app.on_enqueue
def refuse(ctx):
    raise RuntimeError("a slot runs no hooks")
    yield
"""
KEYS = {
    *("name", "task", "expression", "tz", "last", "next", "next_s"),
    *("paused", "paused_since", "fired_by"),
}


@pytest.fixture
def timed(shop: Shop) -> Shop:
    shop.file("shop.py", APP + ENTRIES)
    return shop


@pytest.fixture
def bare(timed: Shop) -> Shop:
    """Without the app: only its namespace and its server."""
    timed.env = {**timed.env, "TYPEDQ_NAMESPACE": timed.namespace}
    del timed.env["TYPEDQ_APP"]
    return timed


def report(shop: Shop, cemetery: Cemetery, name: str, entries: object, age_s: float = 0) -> None:
    """A worker, as it reports itself."""
    seen = cemetery.broker.call(server_checks.clock()) - age_s
    about = {"host": name, "pid": 7, "cron": entries, "seen_ms": int(seen * 1000)}
    import redis

    with redis.Redis.from_url(shop.env["TYPEDQ_URL"]) as client:
        client.hset(cemetery.broker.keys.workers, name, json.dumps(about))


def test_entries_are_listed_with_what_fires_them(timed: Shop, cemetery: Cemetery) -> None:
    report(timed, cemetery, "one", {"nightly": ["0 3 * * *", "Europe/Berlin", "resize"]})
    report(timed, cemetery, "old", {"gone": ["0 4 * * *", "Mars/Base", "away"]})
    report(timed, cemetery, "dead", {"fail": ["*/10 * * * *", "UTC", "fail"]}, age_s=999)
    timed.out("cron", "pause", "fail")
    found = timed.json("cron", "list")
    assert all(row.keys() == KEYS for row in found)
    fail, gone, nightly = found
    assert (nightly["task"], nightly["expression"]) == ("resize", "0 3 * * *")
    assert (nightly["tz"], nightly["last"], nightly["paused"]) == ("Europe/Berlin", None, False)
    assert datetime.fromisoformat(nightly["next"]).astimezone(UTC).hour in (1, 2)
    assert 0 < nightly["next_s"] <= 25 * 3_600
    assert [row["fired_by"] for row in found] == [[], ["old"], ["one"]]
    assert (gone["task"], gone["next"]) == ("away", None)  # this machine has no such time zone
    assert fail["paused"]
    assert fail["paused_since"] <= fail["next"]
    lines = timed.out("cron", "list").splitlines()
    assert "fail (paused)" in lines[1]
    assert lines[1].split()[-1] == "nobody"
    assert "0 3 * * * Europe/Berlin" in lines[3]
    assert lines[3].split()[-2:] == ["1", "worker"]
    assert timed.json("info")["cron"][0] | {"next_s": 0} == fail | {"next_s": 0}
    assert "fail (paused)" in timed.out("info")


def test_an_entry_is_run_now_as_a_slot_does(timed: Shop, cemetery: Cemetery) -> None:
    timed.out("cron", "pause", "nightly")
    before = timed.json("cron", "list")
    sent = timed.json("cron", "run", "nightly")
    assert (sent["cron"], sent["task"], sent["queue"]) == ("nightly", "resize", "high")
    again = timed.out("cron", "run", "nightly")
    assert again.split()[1:] == ["resize", "in", "high,", "for", "the", "cron", "entry", "nightly"]
    ids = [message["id"] for message in timed.json("peek", "high")]
    assert ids == [sent["id"], again.split()[0]]
    import redis

    with redis.Redis.from_url(timed.env["TYPEDQ_URL"]) as client:
        first: Any = client.lindex(cemetery.broker.keys.ready("high"), 0)
    message = decode_message(first)
    assert message.body == b'{"image_id":7,"width":100}'
    assert json.loads(message.options) == {"soft": 9.0, "m": {"by": "cron"}}
    after = timed.json("cron", "list")
    assert [row["last"] for row in after] == [row["last"] for row in before] == [None, None]
    assert after[1]["paused"]
    waiting = {each["task"]: each["waiting"] for each in timed.json("info")["contracts"]}
    assert waiting["resize"] == 2


def test_pause_and_resume_say_what_they_changed(timed: Shop) -> None:
    assert timed.out("cron", "pause", "nightly") == "nightly is paused\n"
    assert timed.out("cron", "pause", "nightly") == "nightly was paused already\n"
    said = timed.json("cron", "pause", "nightly")
    assert said == {"name": "nightly", "paused": True, "changed": False}
    assert timed.out("cron", "resume", "nightly") == "nightly is resumed\n"
    assert timed.out("cron", "resume", "nightly") == "nightly was not paused\n"
    said = timed.json("cron", "resume", "nightly")
    assert said == {"name": "nightly", "paused": False, "changed": False}


@pytest.mark.parametrize("act", ["run", "pause", "resume"])
def test_an_entry_that_is_not_there_is_refused(timed: Shop, act: str) -> None:
    said = timed.error("cron", act, "nihgtly")
    assert "no cron entry named 'nihgtly' (did you mean 'nightly'?);" in said
    assert ": fail, nightly" in said


def test_without_the_app_the_server_knows_what_workers_told_it(
    bare: Shop, cemetery: Cemetery
) -> None:
    assert bare.out("cron", "list") == "no live worker has cron entries, and none is paused\n"
    said = bare.error("cron", "pause", "nightly")
    assert "the server and the app know none; give the app that declares it with -A" in said
    report(bare, cemetery, "one", {"nightly": ["0 3 * * *", "Europe/Berlin", "resize"]})
    (row,) = bare.json("cron", "list")
    assert (row["task"], row["tz"], row["fired_by"]) == ("resize", "Europe/Berlin", ["one"])
    assert bare.out("cron", "pause", "nightly") == "nightly is paused\n"
    report(bare, cemetery, "one", {})
    (row,) = bare.json("cron", "list")
    assert (row["name"], row["task"], row["next"], row["paused"]) == ("nightly", None, None, True)
    del bare.env["TYPEDQ_NAMESPACE"]
    (row,) = bare.json("cron", "list", "--namespace", bare.namespace)
    assert row["paused"]
    assert "app: missing; give module:attr with -A" in bare.error("cron", "list")
    assert "app: missing; give module:attr with -A" in bare.error("cron", "run", "nightly")
    both = bare.error("cron", "list", "--namespace", "x", "-A", "shop:app")
    assert "give it or the app, not both" in both
    assert "namespace" in bare.error("cron", "list", "--namespace", "Not A Name")


def test_what_workers_report_cannot_break_the_list(namespace: str) -> None:
    app = TypedQ(namespace, url="redis://nowhere")
    hostile = {
        "a": ["* *", "UTC", "t"],
        "b": ["0 0 30 2 *", "", "t"],
        "\x1b[31m": ["H * * * *"] * 3,
    }
    lines = {"w": json.dumps({"cron": hostile}).encode(), "x": b'{"cron": {"a": ["x"]}}'}
    live = reported_workers(Stats(0, 0, 0, {}, {}, lines, {}))
    assert live["x"] == Worker()
    rows = cron.rows(app, cron.CronState({"a": 10**13 * 5}, {"b": 1}), live, 1_700_000_000_000)
    assert [row["next"] for row in rows] == [None, None, None]


def test_doctor_shows_paused_entries_and_those_that_nobody_fires(
    timed: Shop, cemetery: Cemetery
) -> None:
    def found() -> list[Any]:
        said = json.loads(timed.here("doctor", "--json", code=0)[0])
        return [each for each in said["findings"] if each["check"] == "cron"]

    assert found() == []  # without a worker, that alone is said
    report(timed, cemetery, "one", {"nightly": ["0 3 * * *", "Europe/Berlin", "resize"]})
    (idle,) = found()
    assert (idle["level"], idle["found"]) == ("warning", "no live worker fires fail")
    assert "without --no-cron" in idle["fix"]
    timed.out("cron", "pause", "fail")
    (paused,) = found()
    assert paused["found"].startswith("fail is paused since 20")
    assert paused["fix"] == "typedq cron resume fail"
