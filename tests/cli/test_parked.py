"""Parked messages: looked at, tried again, dropped."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING

import pytest

from typedq.broker import operations
from typedq.broker.parking import Group, unpark

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery, Shop


def test_none(shop: Shop) -> None:
    assert shop.out("parked", "list") == "nothing is parked\n"
    assert shop.out("parked", "list", "--task", "fail") == "nothing is parked that matches\n"
    assert shop.out("parked", "show", "x", code=1) == "nothing is parked that matches\n"
    assert shop.json("parked", "show", code=1) == []
    assert shop.out("parked", "drop", "--all", "-y") == "drop: 0 of 0 parked message(s)\n"


def test_groups_are_listed_oldest_first_and_can_be_narrowed(shop: Shop, cemetery: Cemetery) -> None:
    old, young = cemetery.park("legacy", 2), cemetery.park("send_email")
    head, *rows = (line.split() for line in shop.out("parked", "list").splitlines())
    assert head == ["queue", "contract", "messages", "parked", "since"]
    assert [row[:3] for row in rows] == [["low", old, "2"], ["high", young, "1"]]
    narrowed = {
        "--task legacy --since 1h": [old],
        "--queue high": [young],
        "--task legacy -Q high": [],
        "--since 2035-01-31": [],
    }
    for words, contracts in narrowed.items():
        found = shop.json("parked", "list", *words.split())
        assert [group["contract"] for group in found] == contracts


def test_show_tells_arguments_only_if_asked(shop: Shop, cemetery: Cemetery) -> None:
    contract = cemetery.park("legacy", 3)
    cemetery.park("send_email")
    shown = shop.json("parked", "show", contract)
    assert [(m["task"], m["queue"], m["attempts"]) for m in shown] == [("legacy", "low", 0)] * 3
    assert "xyz" not in shop.out("parked", "show", contract)
    first = shop.json("parked", "show", "--task", "legacy", "-n", "1", "--payload")
    assert [(m["id"], m["payload"]) for m in first] == [(shown[0]["id"], '{"secret":"xyz"}')]
    assert '{"to":"xyz"}' in shop.out("parked", "show", "-Q", "high", "--payload")


def test_retry_puts_them_back_in_their_queues(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.park("legacy", 2)
    contract = cemetery.park("send_email")
    told = shop.out("parked", "retry", contract, "-y")
    assert told == "retry: 1 of 1 parked message(s)\n"
    facts = shop.json("info")
    assert [q["ready"] for q in facts["queues"]] == [1, 0]
    assert [q["parked"] for q in facts["queues"]] == [0, 2]
    shop.out("parked", "retry", "--all", "-y")
    facts = shop.json("info")
    assert ([q["ready"] for q in facts["queues"]], facts["parked"]) == ([1, 2], [])


def test_metadata_is_shown_and_kept_when_parked_messages_are_retried(
    shop: Shop, cemetery: Cemetery
) -> None:
    meta = {"tenant": "acme", "note": "a b {c}"}
    contract = cemetery.park("legacy", meta=meta)
    (parked,) = shop.json("parked", "show", contract)
    assert parked["meta"] == meta
    assert "note=a b {c} tenant=acme" in shop.out("parked", "show", contract)
    assert shop.out("parked", "retry", contract, "-y") == "retry: 1 of 1 parked message(s)\n"
    shown = shop.json("show", parked["id"])
    assert (shown["state"], shown["meta"]) == ("ready", meta)


def test_drop_of_more_than_one_chunk_drops_all(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.park("legacy", 1_100)
    left = cemetery.park("send_email")
    told = shop.out("parked", "drop", "--task", "legacy", "-y")
    assert told == "drop: 1,100 of 1,100 parked message(s)\n"
    facts = shop.json("info")
    assert ([g["contract"] for g in facts["parked"]], facts["waiting"]) == ([left], 1)


def test_what_a_worker_fetched_before_the_answer_is_not_dropped(
    shop: Shop, cemetery: Cemetery
) -> None:
    contract = cemetery.park("legacy", 2)
    master, slave = pty.openpty()
    with os.fdopen(slave, "r+b", buffering=0) as terminal:
        with shop.start("parked", "drop", contract, stdin=terminal, stdout=terminal) as process:
            said = b""
            while b"[y/N]" not in said:
                said += os.read(master, 4096)
            broker = cemetery.broker
            broker.call(operations.open(broker.keys, ["s"], ["high", "low"], 60_000))
            broker.call(unpark(broker.keys, "s", Group("low", contract), 1))
            os.write(master, b"y\n")
            assert process.wait(20) == 1
        said += os.read(master, 4096)
    os.close(master)
    assert b"drop 2 parked message(s)?" in said
    assert b"drop: 1 of 2 parked message(s)\r\nworkers that can read the others fetched" in said


@pytest.mark.parametrize("what", ["retry", "drop"])
def test_change_without_a_selection_is_refused(what: str, shop: Shop, cemetery: Cemetery) -> None:
    cemetery.park("legacy")
    choose = "give contracts, or choose by --task, --queue, --since or --all"
    assert choose in shop.error("parked", what)
    assert choose in shop.error("parked", what, "x", "--all")
    assert "there is no terminal to confirm at; use -y" in shop.error("parked", what, "--all")


@pytest.mark.parametrize(("what", "does"), [("retry", "requeue"), ("drop", "delete")])
def test_a_dry_run_counts_and_changes_nothing(
    what: str, does: str, shop: Shop, cemetery: Cemetery
) -> None:
    contract, young = cemetery.park("legacy", 3), cemetery.park("send_email")
    first, head, *rows = shop.out("parked", what, "--all", "--dry-run").splitlines()
    assert first == f"a {what} would {does} 4 parked message(s):"
    assert head.split() == ["messages", "task", "queue", "contract", "read", "by"]
    assert rows[0].split()[:4] == ["3", "legacy", "low", contract]
    assert rows[0].rstrip().endswith("nobody: no live worker has a task legacy")
    (told,) = shop.json("parked", what, "-Q", "high", "--dry-run")
    about = {"task": "send_email", "queue": "high", "contract": young, "changed": True}
    assert told.items() >= {**about, "messages": 1, "read_by": []}.items()
    assert sum(group["messages"] for group in shop.json("parked", "list")) == 4
    assert "--json: it belongs to --dry-run" in shop.error("parked", what, "--all", "--json")


def test_groups_say_why_nobody_reads_what_is_parked(shop: Shop, cemetery: Cemetery) -> None:
    contract = cemetery.park("legacy", 3)
    young = cemetery.park("send_email")
    groups = shop.json("parked", "list", "--groups")
    assert [(g["messages"], g["task"], g["contract"]) for g in groups] == [
        (3, "legacy", contract),
        (1, "send_email", young),
    ]
    assert (groups[0]["queues"], groups[0]["read_by"]) == (["low"], [])
    assert groups[0]["why"] == "no live worker has a task legacy"
    enqueued = [m["enqueued"] for m in shop.json("parked", "show", contract)]
    assert (groups[0]["oldest"], groups[0]["newest"]) == (min(enqueued), max(enqueued))
    head, first, _ = shop.out("parked", "list", "--groups").splitlines()
    assert head.split() == ["messages", "task", "contract", "oldest", "newest", "read", "by"]
    assert first.rstrip().endswith("nobody: no live worker has a task legacy")
    assert (
        shop.out("parked", "list", "--groups", "--task", "x") == "nothing is parked that matches\n"
    )
