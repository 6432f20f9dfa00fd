"""Dead letters: looked at, tried again, dropped."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import APP
from typedq.broker import operations, settlements
from typedq.broker.stats import survey

if TYPE_CHECKING:
    from tests.cli.conftest import Cemetery, Shop


def test_none(shop: Shop) -> None:
    assert shop.out("dead", "list", "--task", "fail") == "no dead letters match\n"
    assert shop.out("dead", "show", "x", code=1) == "no dead letter with the id x\n"
    assert shop.out("dead", "retry", "--all", "-y") == "retry: 0 of 0 dead letter(s)\n"


def test_list_is_newest_first_and_can_be_narrowed(shop: Shop, cemetery: Cemetery) -> None:
    old, young = cemetery.bury("fail")[0], cemetery.bury("send_email")[0]
    head, *rows = (line.split() for line in shop.out("dead", "list").splitlines())
    assert head == ["id", "died", "task", "queue", "kind", "error"]
    assert [row[0] for row in rows] == [young, old]
    assert rows[1][2:] == ["fail", "low", "failed", "RuntimeError:", "a\\x1b[31mb"]
    narrowed = {
        "--task fail --since 1h": [old],
        "-n 1 --since 2020-01-31": [young],
        "--since 2035-01-31": [],
    }
    for words, ids in narrowed.items():
        assert [d["id"] for d in shop.json("dead", "list", *words.split())] == ids
    assert "is not a duration (30m" in shop.error("dead", "list", "--since", "monday")


def test_show_says_why_but_not_what_unless_asked(shop: Shop, cemetery: Cemetery) -> None:
    trace = b'{"kind":"failed","error":"E","traceback":"Traceback:\\n  \\u001b[2J"}'
    (id,) = cemetery.bury("fail", reason=trace)
    text = shop.out("dead", "show", id)
    assert "    Traceback:\n      \\x1b[2J\n" in text
    assert "xyz" not in text
    facts = shop.json("dead", "show", id)
    assert (facts["task"], facts["queue"], facts["kind"]) == ("fail", "low", "failed")
    assert "payload" not in facts
    assert shop.json("dead", "show", id, "--payload")["payload"] == '{"secret":"xyz"}'


def test_bytes_that_are_no_message_can_be_seen_and_dropped(shop: Shop, cemetery: Cemetery) -> None:
    from typedq.broker import Operation

    key = cemetery.broker.keys.ready("low")
    cemetery.broker.call(Operation("RPUSH", [key], [b"\xff\x1b garbage"], int))
    cemetery.fetch([])
    (facts,) = shop.json("dead", "list")
    assert (facts["task"], facts["kind"]) == (None, "garbage")
    assert "\\x1b garbage" not in shop.out("dead", "show", facts["id"], "--payload")
    assert "\\xff\\x1b garbage" in shop.out("dead", "show", facts["id"], "--show-secrets")
    told = shop.out("dead", "retry", facts["id"], code=1)
    assert told.startswith("retry: 0 of 1 dead letter(s)\nthe others no longer exist, or")
    assert shop.out("dead", "drop", facts["id"], "-y") == "drop: 1 of 1 dead letter(s)\n"


def test_retry_puts_them_back_in_their_queue(shop: Shop, cemetery: Cemetery) -> None:
    one, _ = cemetery.bury("fail", 2)
    cemetery.bury("send_email")
    assert shop.out("dead", "retry", one) == "retry: 1 of 1 dead letter(s)\n"
    assert shop.out("dead", "retry", "--task", "fail", "-y") == "retry: 1 of 1 dead letter(s)\n"
    facts = shop.json("info")
    assert ([q["ready"] for q in facts["queues"]], facts["dead"]) == ([0, 2], 1)


def test_drop_of_more_than_one_chunk_drops_all(shop: Shop, cemetery: Cemetery) -> None:
    cemetery.bury("fail", 1_100)
    cemetery.bury("send_email")
    shop.out("dead", "drop", "--task", "fail", "-y")
    assert [d["task"] for d in shop.json("dead", "list")] == ["send_email"]
    shop.out("dead", "drop", "--since", "1h", "-y")
    assert shop.json("info")["dead"] == 0


@pytest.mark.parametrize("what", ["retry", "drop"])
def test_change_without_a_selection_is_refused(what: str, shop: Shop, cemetery: Cemetery) -> None:
    cemetery.bury("fail")
    choose = "give ids, or choose by --task, --queue, --since, --error or --all"
    assert choose in shop.error("dead", what)
    assert choose in shop.error("dead", what, "x", "--all")
    assert "there is no terminal to confirm at; use -y" in shop.error("dead", what, "--all")


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)])
def test_drop_asks_at_a_terminal(
    answer: bytes, code: int, left: int, shop: Shop, cemetery: Cemetery
) -> None:
    (id,) = cemetery.bury("fail")
    master, slave = pty.openpty()
    words = [shop.command, "dead", "drop", id]
    with subprocess.Popen(
        words, cwd=shop.directory, env=shop.env, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        os.write(master, answer)
        said = b""
        try:
            while more := os.read(master, 4096):
                said += more
        except OSError:
            pass  # the other end is closed
        assert process.wait(20) == code
    os.close(master)
    assert b"drop 1 dead letter(s)? [y/N]" in said
    assert shop.json("info")["dead"] == left


# --- groups, and what a retry would do


def report(cemetery: Cemetery, name: str, *tasks: str, **about: Any) -> None:
    """Say as a live worker does which tasks it reads."""
    contracts = [cemetery.calls[task].contract.id for task in tasks]
    now_ms = cemetery.broker.call(survey(cemetery.broker.keys, [], [])).now_ms
    line = {"reads": contracts, "queues": ["high", "low"], "format": 1, "seen_ms": now_ms} | about
    cemetery.broker.call(
        operations.renew(cemetery.broker.keys, [], 60_000, name, json.dumps(line).encode())
    )


def test_groups_count_by_task_and_error_and_say_who_could_read_them(
    shop: Shop, cemetery: Cemetery
) -> None:
    broken = b'{"kind":"failed","error":"OSError: no route\\nto host"}'
    oldest, *_ = cemetery.bury("fail", 3, broken)
    cemetery.bury("fail")
    cemetery.bury("send_email", 2, broken)
    report(cemetery, "one", "fail")
    report(cemetery, "two", "fail", "legacy", queues=["high"])
    groups = shop.json("dead", "list", "--groups")
    counts = [(g["messages"], g["task"], g["error"], g["read_by"]) for g in groups]
    assert counts == [
        (3, "fail", "OSError: no route to host", ["one"]),
        (2, "send_email", "OSError: no route to host", []),
        (1, "fail", "RuntimeError: a\x1b[31mb", ["one"]),
    ]
    assert groups[0]["oldest"] == shop.json("dead", "show", oldest)["died"] <= groups[0]["newest"]
    assert groups[1]["why"] == "no live worker has a task send_email"
    head, *rows = shop.out("dead", "list", "--groups", "--error", "route").splitlines()
    assert head.split() == ["messages", "task", "error", "oldest", "newest", "read", "by"]
    assert [row.split()[:2] for row in rows] == [["3", "fail"], ["2", "send_email"]]
    assert rows[1].rstrip().endswith("nobody: no live worker has a task send_email")


def test_a_dry_run_says_who_could_read_what_would_be_retried_and_changes_nothing(
    shop: Shop, cemetery: Cemetery
) -> None:
    app, route = cemetery.app, b'{"kind":"failed","error":"OSError: no route"}'
    cemetery.bury("fail", 2, route)
    cemetery.bury("fail")
    plain = cemetery.calls["fail"]
    (expiring,) = app.enqueue_many([plain.options(expires=3600).call("xyz")])
    cemetery.fetch([settlements.DeadLetter(expiring.id.encode(), route)])
    report(cemetery, "old", "fail")
    told = shop.out("dead", "retry", "--error", "OSError", "--dry-run")
    head, *rows = told.splitlines()[1:]
    assert told.splitlines()[0] == "a retry would requeue 3 dead letter(s):"
    assert head.split() == ["messages", "task", "queue", "contract", "read", "by"]
    id = plain.contract.id
    assert rows[0].split() == ["2", "fail", "low", id, "old"]
    assert rows[1].split()[:5] == ["1", "fail", "low", f"{id}#2", "nobody:"]
    assert rows[1].rstrip().endswith("its message format 2 is newer than the worker")
    first, second = shop.json("dead", "retry", "--error", "OSError", "--dry-run")
    about = {"task": "fail", "queue": "low", "changed": True}
    assert first == {"messages": 2, **about, "contract": id, "read_by": ["old"], "why": ""}
    assert (second["messages"], second["read_by"]) == (1, [])
    assert len(shop.json("dead", "list")) == 4
    assert "--json: it belongs to --dry-run" in shop.error("dead", "retry", "--all", "--json")
    told = shop.out("dead", "retry", "--error", "OSError: no route", "-y")
    assert told == "retry: 3 of 3 dead letter(s)\n"
    assert len(shop.json("dead", "list")) == 1


def test_a_dry_run_says_what_a_retry_would_leave_and_a_drop_would_delete(
    shop: Shop, cemetery: Cemetery
) -> None:
    from typedq.broker import Operation

    shop.file("few.py", APP.replace('Queue("low", soft_timeout=5)', 'Queue("other")'))
    key = cemetery.broker.keys.ready("low")
    cemetery.broker.call(Operation("RPUSH", [key], [b"garbage"], int))
    cemetery.fetch([])
    cemetery.bury("fail", 2)
    cemetery.bury("send_email", 3)
    few = ("--all", "--dry-run", "-A", "few:app")
    told = shop.out("dead", "retry", *few).splitlines()
    assert told[0] == "a retry would requeue 3 dead letter(s):"
    assert told[2].split()[:3] == ["3", "send_email", "high"]
    assert told[3].rstrip().endswith("left as it is: this app has no queue low")
    assert told[4].split() == ["1", "-", "-", "-", *["left", "as", "it", "is:", "malformed"]]
    blank = {"task": None, "queue": None, "contract": None}
    nowhere: dict[str, object] = {
        **blank,
        "messages": 1,
        "changed": False,
        "read_by": [],
        "why": "malformed",
    }
    assert shop.json("dead", "retry", *few)[2] == nowhere
    told = shop.out("dead", "drop", *few).splitlines()
    assert told[0] == "a drop would delete 6 dead letter(s):"
    assert told[4].split()[-2:] == ["nobody:", "malformed"]
    assert len(shop.json("dead", "list")) == 6


def test_letters_are_chosen_by_queue_and_a_note_says_that_there_are_more(
    shop: Shop, cemetery: Cemetery
) -> None:
    cemetery.bury("fail", 2)
    cemetery.bury("send_email", 3)
    assert len(shop.json("dead", "list", "-Q", "low")) == 2
    told, note = shop.here("dead", "list", "-n", "4", code=0)
    assert len(told.splitlines()) == 5
    assert note == "note: there are more than these 4; -n shows more\n"
    assert shop.here("dead", "list", "-n", "5", "--groups", code=0)[1] == ""
    assert shop.out("dead", "drop", "-Q", "high", "-y") == "drop: 3 of 3 dead letter(s)\n"
    assert {letter["queue"] for letter in shop.json("dead", "list")} == {"low"}


def test_a_reason_on_the_server_cannot_pose_as_the_message(shop: Shop, cemetery: Cemetery) -> None:
    odd = b'{"id":[],"task":{"a":1},"contract":3,"queue":[],"died":null,"error":["x"],"kind":7}'
    (id,) = cemetery.bury("fail", reason=odd)
    (letter,), (group,) = shop.json("dead", "list"), shop.json("dead", "list", "--groups")
    assert (letter["id"], letter["task"], letter["queue"]) == (id, "fail", "low")
    assert (group["task"], group["error"], group["kind"]) == ("fail", "['x']", "7")
    assert "['x']" in shop.out("dead", "list", "--groups")
