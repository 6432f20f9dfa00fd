"""Size, depth and names: held to where a call is made, and again where a message is read.

The other client of these tests is one that knows of no limits: it pushes raw bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.cli.conftest import Place, Shop
from tests.faults.harness import Stage
from tests.security.echo import Node, Text, declare, nest, text
from typedq import Call, Queue, TypedQ
from typedq.broker import DedicatedClient
from typedq.broker.parking import groups
from typedq.configuration import resolve
from typedq.errors import (
    ConfigurationError,
    ContractError,
    InvalidArguments,
    InvalidBody,
    InvalidOptions,
)
from typedq.message import encode_message, new_ids
from typedq.registry import read_published
from typedq.worker.readers import ContractReaders

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

BODY, DEPTH = 120, 6
LONGEST = "a" * 64
BAD_NAMES = (
    *("High", "_broadcast", ".hidden", "-q", "a b", "a:b", "a/b", "a{b}", "a,", "ümlaut", "a\n"),
    *("../../etc", "a@b", "a\x1b[2J", "*", LONGEST + "a"),
)
RULE = r"1 to 64 .*a-z 0-9 _ \. -.* beginning with a letter or digit"


def build(namespace: str, url: str | None = None, **settings: Any) -> TypedQ:
    app = TypedQ(namespace, url=url, **settings)
    declare(app)
    return app


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    made = build(namespace, server.url, queues=[Queue("mid")], max_body=BODY, max_depth=DEPTH)
    yield made
    made.close()


def awaited(app: TypedQ, task: str, payload: Any) -> None:
    async def enqueue() -> None:
        await app.tasks[task].aenqueue(payload)
        await app.aclose()

    asyncio.run(enqueue())


WAYS: dict[str, Callable[[TypedQ, str, Any], object]] = {
    "enqueue": lambda app, task, payload: app.tasks[task].enqueue(payload),
    "aenqueue": awaited,
    "enqueue_many": lambda app, task, payload: app.enqueue_many([app.tasks[task].call(payload)]),
    "broadcast": lambda app, task, payload: app.tasks[task].broadcast(payload),
    "cron": lambda app, task, payload: app.cron("@daily", app.tasks[task].call(payload)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_call_may_go_to_the_limit_and_not_beyond(app: TypedQ, way: Any) -> None:
    for task, most, more, reason in (
        ("write", text(BODY), text(BODY + 1), "121 bytes; the limit is 120"),
        ("climb", nest(DEPTH), nest(DEPTH + 1), "nested more than 6 levels deep"),
    ):
        way(app, task, most)
        with pytest.raises(InvalidArguments) as caught:
            way(app, task, more)
        assert (caught.value.path, caught.value.reason) == ("$", reason)


def test_a_call_made_before_settings_were_known_is_held_to_them_when_it_is_sent(
    server: OwnServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYPEDQ_MAX_BODY", str(BODY))
    monkeypatch.setenv("TYPEDQ_MAX_DEPTH", str(DEPTH))
    app = build(namespace, server.url)
    long, deep = app.tasks["write"].call(text(BODY + 1)), app.tasks["climb"].call(nest(DEPTH + 1))
    for call, reason in ((long, "121 bytes"), (deep, "nested more than 6 levels")):
        with pytest.raises(InvalidArguments, match=reason):
            app.enqueue_many([call])
    app.close()


def test_the_command_holds_to_the_limits_of_the_app(place: Place, server: OwnServer) -> None:
    limits = {"TYPEDQ_MAX_BODY": "20", "TYPEDQ_MAX_DEPTH": "1"}
    shop = Shop(place, {"TYPEDQ_URL": server.url, "TYPEDQ_APP": "shop:app", **limits})
    shop.out("enqueue", "send_email", '{"to":"aaaaaaaaaaa"}', code=2)  # with its default it is more
    assert "21 bytes; the limit is 20" in shop.error(
        "enqueue", "send_email", '{"to":"aaaaaaaaaaaa"}'
    )
    assert "nested more than 1 level" in shop.error("enqueue", "resize", '{"image_id":[]}')


# --- in a worker ----------------------------------------------------------------------------


@pytest.fixture
def stage(
    server: OwnServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    monkeypatch.setenv("FAULTS_MORE", "tests.security.echo")
    with Stage(server.url, namespace, tmp_path) as here:
        yield here


def push(stage: Stage, task: str, body: bytes, **changed: str) -> str:
    """A message as a client would make it that knows the protocol, and no limits."""
    (id,) = new_ids(1)
    fields = {"contract": stage.app.tasks[task].contract.id, "queue": "mid"} | changed
    message = encode_message(id=id, options=b"-", body=body, **fields)
    stage.redis.rpush(stage.keys.ready("mid"), message)
    return id


def drain(stage: Stage, **environment: str) -> None:
    worker = stage.worker("-c", "1", "--burst", **environment)
    assert worker.wait(30) == 0, worker.log.read_text()[-3000:]


def test_a_worker_reads_to_the_limit_and_not_beyond(stage: Stage) -> None:
    encode = msgspec.json.encode
    good = {push(stage, "write", encode(text(BODY))), push(stage, "climb", encode(nest(DEPTH)))}
    long = push(stage, "write", encode(text(BODY + 1)))
    deep = push(stage, "climb", encode(nest(DEPTH + 1)))
    bomb = push(stage, "climb", b'{"child":' * 5000)
    drain(stage, TYPEDQ_MAX_BODY=str(BODY), TYPEDQ_MAX_DEPTH=str(DEPTH))
    assert stage.ended() == good
    dead = {id: (why["kind"], why["error"]) for id, why in stage.dead().items()}
    assert dead == {
        long: ("invalid_body", "121 bytes; the limit is 120 - at $"),
        deep: ("invalid_body", "nested more than 6 levels deep - at $"),
        bomb: ("invalid_body", "45,000 bytes; the limit is 120 - at $"),
    }


def test_limits_that_were_raised_are_raised_for_the_worker_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"TYPEDQ_MAX_BODY": str(3 << 20), "TYPEDQ_MAX_DEPTH": "100"}
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    ids = {
        stage.app.tasks["write"].enqueue(text(3 << 20)).id,
        stage.app.tasks["climb"].enqueue(nest(100)).id,
    }
    drain(stage, **more)
    assert stage.ended() == ids
    assert not stage.dead()
    with stage.app.testing() as outbox:
        stage.app.tasks["climb"].enqueue(nest(100))
        assert len(outbox.calls()) == 1


def test_older_contracts_are_held_to_the_same_limits(app: TypedQ) -> None:
    @app.tasks["write"].upcast
    def _(old: Node) -> Call:
        return app.tasks["write"].call(Text("old"))

    contract = app.tasks["write"].upcasters[0].contract
    reading = ContractReaders(app, DedicatedClient(app.broker)).of(contract.id.encode())
    assert reading is not None
    reading.decode(msgspec.json.encode(nest(DEPTH)))
    with pytest.raises(InvalidBody, match="nested more than 6 levels deep"):
        reading.decode(msgspec.json.encode(nest(DEPTH + 1)))


NUMBERS = [
    (b"NaN", "malformed"),
    (b"Infinity", "malformed"),
    (b"1e999", "out of range"),
    (b"-1e999", "out of range"),
    (b"9" * 5000, "out of range"),
    (b"-" + b"9" * 5000, "out of range"),
    (b"1." + b"9" * 5000, "Expected"),
    (b"1e5", "Expected"),
]


@pytest.mark.parametrize(("number", "told"), NUMBERS, ids=lambda given: given[:9])
def test_numbers_that_are_none_or_too_long_are_refused(number: bytes, told: str) -> None:
    app = build("numbers")

    @app.task
    def add(number: int) -> None: ...

    with pytest.raises(InvalidBody, match=told):
        add.contract.decode(b'{"number":%s}' % number)


def test_the_most_elements_that_a_body_can_hold_are_read_in_a_moment() -> None:
    """An element takes two bytes at least, so that the limit of bytes is one of elements too."""
    app = build("elements")

    @app.task
    def add(numbers: list[int], lists: list[list[int]]) -> None: ...

    numbers = b'{"numbers":[%s0],"lists":[]}' % (b"0," * 524_000)
    lists = b'{"numbers":[],"lists":[%s[]]}' % (b"[]," * 349_000)
    began = time.process_time()
    (args, _), (more, _) = add.contract.decode(numbers), add.contract.decode(lists)
    assert time.process_time() - began < 10
    assert (len(args[0]), len(more[1])) == (524_001, 349_001)


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", *BAD_NAMES])
def test_a_bad_name_is_refused_where_it_is_declared(name: str) -> None:
    app = build("names")
    with pytest.raises(ConfigurationError, match=RULE):
        Queue(name)
    with pytest.raises(ContractError, match=RULE):
        app.task(aliases=(name,))(lambda: None)
    with pytest.raises(ConfigurationError, match=RULE):
        app.cron("@daily", app.tasks["climb"].call(Node()), name=name)
    with pytest.raises(ConfigurationError, match=r"1 to 64 characters a-z 0-9 _ \. -"):
        resolve({"namespace": name}, environ={})
    if name:
        with pytest.raises(ContractError, match=RULE):
            app.task(name=name)(lambda: None)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_in_settings(name: str, tmp_path: Path) -> None:
    given = {"namespace": "names"}
    if "," not in name:
        with pytest.raises(ConfigurationError, match="TYPEDQ_QUEUES"):
            resolve(given, start=tmp_path, environ={"TYPEDQ_QUEUES": f"x{name},{name}" * 2})
    with pytest.raises(ConfigurationError, match="TYPEDQ_NAMESPACE"):
        resolve({}, start=tmp_path, environ={"TYPEDQ_NAMESPACE": name})
    with pytest.raises(ConfigurationError, match="TYPEDQ_DEFAULT_QUEUE"):
        resolve(given, start=tmp_path, environ={"TYPEDQ_DEFAULT_QUEUE": name})


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("known", [True, False], ids=["settings known", "not yet"])
def test_a_bad_name_is_refused_as_the_queue_of_a_call(name: str, known: bool) -> None:
    app = build("names", "redis://127.0.0.1:1")  # nothing is sent
    if known:
        assert app.settings.namespace == "names"
    with pytest.raises(InvalidOptions, match="queue"):
        app.tasks["climb"].options(queue=name).enqueue(Node())


def test_the_longest_name_is_a_name() -> None:
    app = build("names", queues=[Queue(LONGEST)])

    @app.task(name=LONGEST, queue=LONGEST)
    def task() -> None: ...

    assert task.contract.id.startswith(LONGEST + "@")


def test_a_bad_name_on_the_command_line_is_refused_and_makes_no_key(
    place: Place, server: OwnServer, stage: Stage
) -> None:
    shop = Shop(place, {"TYPEDQ_URL": server.url, "TYPEDQ_APP": "shop:app"})
    for name in ("_broadcast", "a{b}", LONGEST + "a"):
        for words in (
            *(("peek", name), ("pause", name), ("resume", name), ("purge", "-y", name)),
            *(("enqueue", "fail", "--queue", name), ("enqueue", name)),
            *(("worker", "-b", "-Q", name), ("worker", "-b", "-X", name)),
        ):
            assert name in shop.error(*words).replace(" ", ""), words
    assert not list(stage.redis.scan_iter(f"{stage.keys.tag}*"))


def test_bad_name_in_a_message_is_dead_lettered_and_creates_no_key(stage: Stage) -> None:
    hexes = "0123456789abcdef"
    names = (".hidden", "-q", "_broadcast", LONGEST + "a", "a" * 100_000)
    bad = {push(stage, "climb", b"{}", contract=f"{name}@{hexes}"): name for name in names}
    bad |= {push(stage, "climb", b"{}", contract=f"climb@{'0' * 65}"): "fingerprint"}
    queues = ("nowhere", "_broadcast", "x" * 100_000)
    astray = {push(stage, "climb", b"{}", queue=queue) for queue in queues}
    no_names = ("High", "a/b", "a:b", "a\x1b", "a@b", "")
    odd = [push(stage, "climb", b"{}", contract=f"{name}@{hexes}") for name in no_names]
    odd += [push(stage, "climb", b"{}", queue=name) for name in no_names]
    stranger = push(stage, "climb", b"{}", contract=f"{LONGEST}@{hexes}")
    drain(stage)
    told = stage.dead()
    for id in bad:
        assert told[id]["kind"] == "bad_message", bad[id]
        assert told[id]["error"] == "its contract id is malformed"
    assert {told[id]["error"] for id in astray} == {"it names another queue than the one it was in"}
    assert [why["kind"] for why in told.values()].count("garbage") == len(odd)
    parked = stage.ask(groups(stage.keys))
    assert [(group.queue, group.contract) for group in parked] == [("mid", f"{LONGEST}@{hexes}")]
    assert stranger
    keys = {key.decode() for key in stage.redis.scan_iter(f"{stage.keys.tag}*")}
    known = {*vars(stage.keys).values(), stage.keys.parked("mid", f"{LONGEST}@{hexes}")}
    known |= {*stage.keys.queue_keys(["high", "mid", "low"])}
    assert {key for key in keys - known if not key.startswith(stage.keys.sequence(""))} == set()


def test_contracts_that_another_client_published_under_bad_names_are_passed_over(
    stage: Stage,
) -> None:
    for name in BAD_NAMES:
        stage.redis.hset(stage.keys.contracts, f"{name}@0123456789abcdef", b"{}")
    stage.redis.hset(stage.keys.contracts, "no-fingerprint", b"{}")
    stage.redis.hset(stage.keys.contracts, "good@0123456789abcdef", b"{}")
    assert set(read_published(stage.app.broker)[0]) == {"good@0123456789abcdef"}


def test_parked_groups_of_bad_names_are_passed_over(stage: Stage, place: Place) -> None:
    for name in BAD_NAMES:
        stage.redis.hset(stage.keys.parked_groups, f"{name} {name}@0123456789abcdef", 1)
        stage.redis.hset(stage.keys.parked_groups, f"mid {name}", 1)
    id = stage.app.tasks["climb"].enqueue(Node()).id
    drain(stage)
    assert stage.ended() == {id}
    shop = Shop(place, {"TYPEDQ_URL": stage.url, "TYPEDQ_APP": "shop:app"})
    assert "\x1b" not in shop.out("parked", "list") + shop.out("info")
