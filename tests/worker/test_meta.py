"""Metadata in real workers: every way of a message keeps it, and nothing malformed stops one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.faults import tagged
from tests.faults.app import MORE
from tests.faults.harness import Stage
from typedq.admin.dead_letters import DeadLetters
from typedq.broker.stats import peek
from typedq.invoke import LimitRules, Limits
from typedq.message import ID, decode_message, encode_message, new_ids
from typedq.worker.delivery import MessageKinds

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

WAYS = {"": 1, "retry": 2, "again": 2, "die": 2, "bury": 2}
KEPT = "note+tenant"


@pytest.fixture
def tags(stage: Stage) -> Stage:
    """A stage whose app has the tasks that record their metadata."""
    stage.declare(tagged)
    return stage


def burst(stage: Stage, **environment: str) -> None:
    worker = stage.worker("--burst", "-c", "1", **environment)
    assert worker.wait() == 0, worker.log.read_text()


def recorded(stage: Stage) -> dict[str, list[str]]:
    """Return the records of each message."""
    found: dict[str, list[str]] = {}
    for effect in stage.effects():
        found.setdefault(effect.id, []).append(effect.what)
    return found


@pytest.mark.parametrize("task", ["tagged", "atagged"])
def test_every_attempt_of_a_message_has_its_metadata(tags: Stage, task: str) -> None:
    """First attempts, retries, crashes, and dead letters that are retried."""
    sent = {tags.send(task, how, meta=tagged.META): number for how, number in WAYS.items()}
    sent[tags.send(task)] = 0
    burst(tags)
    ((dead, _),) = DeadLetters(tags.app).find()
    assert dead["meta"] == tagged.META
    assert list(DeadLetters(tags.app).requeue([dead["id"]])) == [1]
    burst(tags)
    expected = {id: [KEPT] * number if number else ["none"] for id, number in sent.items()}
    # A dead letter begins at attempt 1 again, so it fails once more.
    assert recorded(tags) == expected


def test_a_parked_message_keeps_its_metadata(tags: Stage) -> None:
    id = tags.send("tagged", meta=tagged.META)
    burst(tags, **{MORE: ""})
    assert tags.effects() == []
    burst(tags)
    assert recorded(tags) == {id: [KEPT]}


def test_broadcasts_and_cron_slots_carry_metadata(tags: Stage, wait_until: WaitUntil) -> None:
    tags.worker("-c", "1", **{tagged.CRON: "1"})
    wait_until(lambda: len(tags.effects()) >= 2)
    sent = tags.app.tasks["atagged"].options(meta={"tenant": "acme"}).broadcast()
    wait_until(lambda: tags.effects(task="atagged"))
    assert {effect.what for effect in tags.effects(task="tagged")} == {KEPT}
    assert recorded(tags)[sent.id] == ["tenant"]


HOSTILE = [
    b'{"m":5}',
    b'{"m":{"tenant":5}}',
    b'{"m":{"tenant":"acme"}',
    b'{"m":{"tenant":"acme}}',
    b'{"m":{"tenant":"\xff"}}',
    b'{"m":{"\\ud800":"x"}}',
    b'{"m":',
    b'{"m":{}},"m":{}}',
    b'"m":{}}',
    b'{"x":{"m":{}}}',
    b'{"m":{"a":"b"}}}}',
    b'{"m":{' + b'"a":' * 10_000 + b"}}",
    b'{"m":{"Not a key!":"x"}}'.replace(b" ", b"_"),
]


def test_malformed_options_stop_no_worker(tags: Stage) -> None:
    """Each runs without metadata or becomes a dead letter; those beside them are not touched."""
    contract, good = tags.app.tasks["tagged"].contract.id, list[str]()
    client, ready = tags.redis, tags.keys.ready("mid")
    for options, id in zip(HOSTILE, new_ids(len(HOSTILE)), strict=True):
        good.append(tags.send("tagged", meta=tagged.META))
        message = encode_message(id=id, contract=contract, queue="mid", options=options, body=b"{}")
        client.rpush(ready, message)
    burst(tags)
    found, dead = recorded(tags), tags.dead()
    assert [found[id] for id in good] == [[KEPT]] * len(good)
    assert not set(good) & dead.keys()
    assert len(found) + len(dead) == 2 * len(HOSTILE)
    assert {reason["kind"] for reason in dead.values()} <= {"bad_message"}


def test_workers_of_before_read_limits_beside_keys_that_they_do_not_know(tags: Stage) -> None:
    """`soft` and `hard` are all that any version knew before; they come first."""
    task = tags.app.tasks["tagged"]
    task.options(meta=tagged.META, soft_timeout=1, hard_timeout=2).enqueue()
    (message,) = tags.app.broker.call(peek(tags.keys, "mid", 1))
    envelope = decode_message(message)
    assert LimitRules(tags.app.settings).of(envelope, task) == Limits(1.0, 2.0)
    options = json.loads(envelope.options)
    assert list(options) == ["soft", "hard", "m"]
    assert options["m"] == tagged.META


def test_messages_that_differ_in_metadata_share_their_kind_and_limits(tags: Stage) -> None:
    task, kinds = tags.app.tasks["tagged"], MessageKinds(["mid"])
    calls = [task.options(meta={"trace": str(n)}, soft_timeout=1).call() for n in range(50)]
    tags.app.enqueue_many([*calls, task.options(soft_timeout=1).call(), task.call()])
    messages = tags.app.broker.call(peek(tags.keys, "mid", 100))
    assert len({message[ID] for message in messages}) == 52
    found = [kinds.of(message) for message in messages]
    assert len({id(kind) for kind in found}) == 3
    assert {kind.options for kind in found[:50]} == {b'{"soft":1.0,"m":{}}'}
