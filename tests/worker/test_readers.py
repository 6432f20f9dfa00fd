"""Which messages a worker reads, and how; what becomes of those that it cannot, or must not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from tests.faults.rolling import ERA, Odd
from typedq import Call, Context, Queue, TypedQ, compat, telemetry
from typedq.broker import (
    DeadBounds,
    DedicatedClient,
    Destination,
    Operation,
    OutgoingMessage,
    operations,
    settlements,
)
from typedq.broker.connections import Connection
from typedq.broker.failures import Lost
from typedq.broker.parking import Group, Parked, groups, parked
from typedq.broker.script import script
from typedq.broker.stats import publish, requeue
from typedq.contracts import Contract, contract_of
from typedq.message import encode_message, new_ids
from typedq.worker import readers
from typedq.worker.decoder import MessageDecoder, ServerClock
from typedq.worker.delivery import Delivery, MessageKinds
from typedq.worker.journal import Journal, State, new_session
from typedq.worker.readers import ContractReaders
from typedq.worker.session import Session

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.faults.harness import Stage
    from typedq.embedded import OwnServer

Opened = Delivery | settlements.Settlement | Parked
SEEN = list[tuple[str, str]]()


class Today(msgspec.Struct):
    to: str
    cc: str = "nobody"


class Former(msgspec.Struct):
    address: str


class FormerAndMore(msgspec.Struct):
    address: str
    urgent: bool = False


class Later(msgspec.Struct):
    to: str
    cc: str = ""
    priority: int = 0


class Strange(msgspec.Struct):
    to: int


def contract(kind: type, task: str = "send") -> Contract:
    """The contract of `task` where its payload is `kind`."""

    def fn(args: object) -> None: ...

    fn.__annotations__ = {"args": kind, "return": None}
    return contract_of(fn, task=task, context=Context)


class Reader:
    """A worker's way of opening messages, without the worker."""

    def __init__(self, app: TypedQ) -> None:
        self.app, self.kinds, self.journal = app, MessageKinds(["mid"]), Journal(4)
        client = DedicatedClient(app.broker)
        readers = ContractReaders(app, client)
        self.decoder = MessageDecoder(app, readers, self.journal, ServerClock(client))
        self.journal.set_lease_deadline(time.monotonic() + 60)

    def publish(self, *contracts: Contract) -> None:
        schemas = {each.id: each.schema_json() for each in contracts}
        self.app.broker.call(publish(self.app.broker.keys, schemas))

    def open(self, contract: str, body: bytes, *, version: bytes = b"1") -> Opened:
        (id,) = new_ids(1)
        text = encode_message(id=id, contract=contract, queue="mid", options=b"-", body=body)
        kind = self.kinds.of(text)
        delivery = Delivery(version + text[1:], 0, kind, kind.body_at)
        self.journal.hold([0], [delivery.id], bytes([0]))
        return self.decoder.decode(delivery) or delivery

    def lookups(self, act: Callable[[], object]) -> int:
        """How many times the server was asked for a schema meanwhile."""
        server: Any = redis.Redis.from_url(self.app.broker.url)
        with server.monitor() as monitor:
            act()
            server.ping()
            asked = 0
            while "PING" not in (command := monitor.next_command()["command"]):
                asked += command.startswith("HGET ") and self.app.broker.keys.contracts in command
        server.close()
        return asked


@pytest.fixture
def app(server: OwnServer, namespace: str) -> Iterator[TypedQ]:
    made = TypedQ(namespace, url=server.url, queues=[Queue("mid")])

    @made.task(aliases=("post",))
    def send(args: Today) -> None: ...

    @send.upcast
    def _(old: Former) -> Call:
        return send.call(Today(to=old.address, cc="upcast"))

    @made.task
    def other(to: str) -> None: ...

    yield made
    made.broker.close()


@pytest.fixture
def reader(app: TypedQ) -> Reader:
    return Reader(app)


def payload(opened: Opened) -> object:
    assert isinstance(opened, Delivery), opened
    (only,), by_keyword = opened.arguments
    assert by_keyword == {}
    return only


def verdict(opened: Opened) -> dict[str, Any]:
    assert isinstance(opened, settlements.DeadLetter), opened
    found: dict[str, Any] = msgspec.json.decode(opened.reason)
    return found


def test_an_equal_contract_is_read_without_asking(reader: Reader) -> None:
    id = contract(Today).id
    assert reader.lookups(lambda: reader.open(id, b'{"to":"a"}')) == 0
    assert payload(reader.open(id, b'{"to":"a"}')) == Today("a")


def test_an_upcaster_reads_its_own_contract_without_asking(reader: Reader) -> None:
    id = contract(Former).id
    assert reader.lookups(lambda: reader.open(id, b'{"address":"a"}')) == 0
    assert payload(reader.open(id, b'{"address":"a"}')) == Today("a", "upcast")
    assert [entry.state for entry in reader.journal.entries()] == [State.HELD]


def test_an_upcaster_reads_what_its_contract_covers(reader: Reader) -> None:
    old = contract(FormerAndMore)
    reader.publish(old)
    assert payload(reader.open(old.id, b'{"address":"a","urgent":true}')) == Today("a", "upcast")


def test_a_compatible_contract_is_read_by_todays_task(reader: Reader) -> None:
    later = contract(Later)
    reader.publish(later)
    assert payload(reader.open(later.id, b'{"to":"a","priority":3}')) == Today("a")


@pytest.mark.parametrize("name", ["post", "send"])
def test_a_former_name_reads_whatever_the_name_of_today_does(reader: Reader, name: str) -> None:
    kinds = {Today: b'{"to":"a"}', Former: b'{"address":"a"}', Later: b'{"to":"a","priority":1}'}
    for kind, body in kinds.items():
        reader.publish(contract(kind, name))
        opened = reader.open(contract(kind, name).id, body)
        assert isinstance(opened, Delivery)
        assert opened.kind.task.name == "send"
        assert getattr(payload(opened), "to") == "a"  # noqa: B009


def test_a_verdict_is_asked_for_once(reader: Reader) -> None:
    later, strange = contract(Later), contract(Strange)
    reader.publish(later, strange)

    def open_all() -> None:
        for _ in range(5):
            assert isinstance(reader.open(later.id, b'{"to":"a"}'), Delivery)
            assert isinstance(reader.open(strange.id, b'{"to":1}'), Parked)
            assert isinstance(reader.open("gone@0123456789abcdef", b"{}"), Parked)

    assert reader.lookups(open_all) == 2


@pytest.mark.parametrize("task", ["send", "unheard_of"])
def test_what_cannot_be_read_is_parked_by_queue_and_contract(reader: Reader, task: str) -> None:
    strange = contract(Strange, task)
    reader.publish(strange)
    opened = reader.open(strange.id, b'{"to":1}')
    assert isinstance(opened, Parked)
    assert opened.group == Group("mid", strange.id)


def test_a_contract_that_is_published_later_is_read_then(reader: Reader) -> None:
    later = contract(Later)
    assert isinstance(reader.open(later.id, b'{"to":"a"}'), Parked)
    reader.publish(later)
    assert isinstance(reader.open(later.id, b'{"to":"a"}'), Delivery)


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"[]", b'"x"', b"null", b"\xff", b'{"a":"\xff"}', b'{"a":' * 5000, b"{"),
        b'{"properties":[]}',
        b'{"type":{},"properties":{"to":5}}',
        b'{"$ref":"#/$defs/No"}',
        b'{"$ref":"#"}',
        b'{"allOf":[{"required":[{}]},{"required":["a"]}]}',
    ],
)
def test_a_schema_that_is_none_keeps_the_message_and_the_child(
    reader: Reader, document: bytes
) -> None:
    keys, id = reader.app.broker.keys, "send@0123456789abcdef"
    reader.app.broker.call(publish(keys, {id: document}))
    assert isinstance(reader.open(id, b'{"to":"a"}'), Parked)


def recurse(*schemas: object) -> None:
    recurse(*schemas)


def explode(*schemas: object) -> None:
    raise LookupError("\x1b[31m" * 100)


@pytest.mark.parametrize("how", [recurse, explode])
def test_a_schema_that_cannot_be_compared_is_named_once_and_read_again_later(
    reader: Reader,
    how: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(telemetry.logger, "propagate", True)
    later = contract(Later)
    reader.publish(later)

    def open_often() -> None:
        for _ in range(20):
            assert isinstance(reader.open(later.id, b'{"to":"a"}'), Parked)
            assert isinstance(reader.open(contract(Today).id, b'{"to":"a"}'), Delivery)

    with monkeypatch.context() as patched:
        patched.setattr(compat, "compare", how)
        assert reader.lookups(open_often) == 1
    named = [r for r in caplog.records if "cannot be compared" in r.getMessage()]
    assert len(named) == 1
    reader.decoder._readers._invalid[later.id.encode()] = time.monotonic()  # a while later
    assert isinstance(reader.open(later.id, b'{"to":"a"}'), Delivery)


def test_a_registry_of_another_type_parks_what_is_not_known(reader: Reader) -> None:
    keys = reader.app.broker.keys
    server: Any = redis.Redis.from_url(reader.app.broker.url)
    server.set(keys.contracts, "spoiled")
    assert isinstance(reader.open(contract(Later).id, b'{"to":"a"}'), Parked)
    assert isinstance(reader.open(contract(Today).id, b'{"to":"a"}'), Delivery)
    server.close()


def test_many_contracts_of_one_task_are_forgotten_again(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_MAX_DECIDED", 3)
    strange = contract(Strange)
    for number in range(10):
        id = f"send@{number:016x}"
        reader.app.broker.call(publish(reader.app.broker.keys, {id: strange.schema_json()}))
        assert isinstance(reader.open(id, b'{"to":1}'), Parked)
    assert len(reader.decoder._readers._decided) <= 3


def test_a_newer_format_is_parked_even_where_the_contract_is_known(reader: Reader) -> None:
    id = contract(Today).id
    opened = reader.open(id, b"\0what ever it may be", version=b"3")
    assert isinstance(opened, Parked)
    assert opened.group == Group("mid", f"{id}#3")


def test_a_body_that_its_contract_refuses_is_dead_with_path_and_both_contracts(
    reader: Reader,
) -> None:
    today, former, later = contract(Today), contract(Former), contract(Later)
    reader.publish(later)
    bodies = {today.id: b'{"to":5}', former.id: b'{"address":5}', later.id: b'{"to":5}'}
    paths = {today.id: "$.to", former.id: "$.address", later.id: "$.to"}
    for id, body in bodies.items():
        why = verdict(reader.open(id, body))
        assert (why["kind"], why["path"]) == ("invalid_body", paths[id])
        assert (why["contract"], why["known"]) == (id, today.id)


# --- upcasters that do not what they should ----------------------------------------------------


def use(app: TypedQ, upcaster: Callable[[Former], object]) -> Reader:
    """Replace the upcaster."""
    del app.declarations.find("send").upcasters[:]

    def checked(old: Former) -> Call:
        made: Any = upcaster(old)
        return made  # type: ignore[no-any-return]

    app.declarations.find("send").upcast(checked)
    return Reader(app)


def _raise(error: BaseException) -> Callable[[Former], object]:
    def upcaster(old: Former) -> object:
        raise error

    return upcaster


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such user"), "ValueError: no such user"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
def test_an_upcaster_that_raises_buries_the_message_and_nobody_else(
    app: TypedQ, error: BaseException, told: str
) -> None:
    reader = use(app, _raise(error))
    why = verdict(reader.open(contract(Former).id, b'{"address":"a"}'))
    assert why["error"] == f"the upcaster failed: {told} - at $"
    # It may have broken the process, so it counts as what runs until it is settled.
    assert [entry.state for entry in reader.journal.entries()] == [State.RUNNING]


@pytest.mark.parametrize("made", [None, Today("a"), "send", 5])
def test_an_upcaster_that_makes_no_call_buries_the_message(app: TypedQ, made: object) -> None:
    reader = use(app, lambda _: made)
    why = verdict(reader.open(contract(Former).id, b'{"address":"a"}'))
    assert why["error"] == f"the upcaster made no call, but {type(made).__name__} - at $"


def test_an_upcaster_that_calls_another_task_buries_the_message(app: TypedQ) -> None:
    reader = use(app, lambda old: app.declarations.find("other").call(old.address))
    why = verdict(reader.open(contract(Former).id, b'{"address":"a"}'))
    assert why["error"] == "the upcaster made a call of 'other' - at $"


class Loose(msgspec.Struct):
    to: str = ""


class LooseFormer(msgspec.Struct):
    address: str = ""


class LooseLater(msgspec.Struct):
    to: str = ""
    cc: str = ""


class LooseFormerAndMore(msgspec.Struct):
    address: str = ""
    cc: str = ""


def test_reader_that_drops_the_fewest_fields_is_chosen(server: OwnServer, namespace: str) -> None:
    """Where all has defaults, anything reads anything; but only one does not lose the value."""
    app = TypedQ(namespace, url=server.url, queues=[Queue("mid")])

    @app.task
    def send(args: Loose) -> None: ...

    @send.upcast
    def _(old: LooseFormer) -> Call:
        return send.call(Loose(to=old.address))

    reader, later, former = Reader(app), contract(LooseLater), contract(LooseFormerAndMore)
    reader.publish(later, former)
    assert payload(reader.open(later.id, b'{"to":"new","cc":"x"}')) == Loose("new")
    assert payload(reader.open(former.id, b'{"address":"old","cc":"x"}')) == Loose("old")
    app.broker.close()


# --- with a real worker ---------------------------------------------------------------------


def put(stage: Stage, kind: type, task: str, body: bytes, *, version: bytes = b"1") -> str:
    """Enqueue as a producer of another time does, past today's front door."""
    (id,), old = new_ids(1), contract(kind, task)
    text = (
        version + encode_message(id=id, contract=old.id, queue="mid", options=b"-", body=body)[1:]
    )
    stage.app.broker.enqueue(
        [OutgoingMessage(id, Destination("mid", old.id), text)], lambda _: old.schema_json()
    )
    stage.accepted.append(id)
    return id


@pytest.mark.parametrize(
    ("how", "kind", "attempts"),
    [("hang", "hard_timeout", 3), ("die", "crashed", 3), ("leave", "invalid_body", 0)],
)
def test_an_upcaster_that_ends_its_process_is_buried_after_three(
    stage: Stage, wait_until: WaitUntil, how: str, kind: str, attempts: int
) -> None:
    worker = stage.worker("-c", "1", FAULTS_MORE="tests.faults.rolling", **{ERA: "new"})
    bad = put(stage, Odd, "odd", msgspec.json.encode(Odd(how)))
    beside = [put(stage, Odd, "odd", msgspec.json.encode(Odd("well"))) for _ in range(5)]
    wait_until(lambda: set(beside) <= stage.ended() and bad in stage.dead(), 15.0)
    assert stage.dead()[bad]["kind"] == kind
    assert stage.look().stats.get("crashed", 0) == attempts
    assert worker.stop() == 0
    assert not stage.check(buried=1).broken


def test_parking_many_messages_logs_one_line(stage: Stage) -> None:
    stage.send_many([stage.call("nap")] * 50 + [stage.call("anap")] * 50)
    worker = stage.worker("-c", "1", "--burst", "--forget", "nap", "--forget", "anap")
    assert worker.wait(20.0) == 0
    parkings = worker.events("message parked")
    assert len(parkings) == 100
    warnings = [event for event in parkings if event["level"] == "warning"]
    assert {event["contract"].split("@")[0] for event in warnings} == {"nap", "anap"}
    assert len(warnings) == 2


def test_message_parked_too_long_becomes_a_dead_letter_that_can_be_requeued(
    stage: Stage, wait_until: WaitUntil
) -> None:
    ids = {stage.send("nap") for _ in range(3)}
    assert stage.worker("-c", "1", "--burst", "--forget", "nap").wait(20.0) == 0
    contract = stage.app.declarations.find("nap").contract.id
    stage.redis.hset(stage.keys.parked_groups, f"mid {contract}", 1)
    patient = stage.worker("-c", "1", "--burst", "--forget", "nap")
    assert patient.wait(20.0) == 0
    assert not stage.dead()
    hasty = {"TYPEDQ_PARKED_MAX_AGE": "0.001"}
    worker = stage.worker("-c", "1", "--forget", "nap", **hasty)
    wait_until(lambda: stage.dead().keys() == ids)
    assert worker.stop() == 0
    assert {reason["kind"] for reason in stage.dead().values()} == {"unreadable"}
    assert worker.events("messages were parked for too long; dead-lettered")[0]["messages"] == 3
    assert stage.look().counts[contract] == 0
    assert stage.ask(groups(stage.keys)) == {}
    assert stage.ask(requeue(stage.keys, ["high", "mid", "low"], list(ids))).requeued == 3
    assert stage.worker("-c", "1", "--burst").wait(20.0) == 0
    assert stage.ended() == ids
    assert not stage.check().broken


def test_idle_worker_finds_messages_that_are_parked_later(
    stage: Stage, wait_until: WaitUntil
) -> None:
    """Nothing wakes it for that: it looks from time to time."""
    worker, nap = stage.worker("-c", "1"), stage.app.declarations.find("nap")
    first = stage.send("nap")
    wait_until(lambda: first in stage.ended())
    wait_until(lambda: stage.redis.info("clients")["blocked_clients"])
    ids, group = new_ids(3), Group("mid", nap.contract.id)
    body = nap.contract.encode((), {})
    for id in ids:
        message = encode_message(
            id=id, contract=nap.contract.id, queue="mid", options=b"-", body=body
        )
        stage.redis.rpush(stage.keys.parked(*group), message)
    stage.redis.hset(stage.keys.parked_groups, str(group), 1 << 42)
    wait_until(lambda: {first, *ids} == stage.ended(), 10.0)
    assert worker.stop() == 0
    assert not stage.dead()


@pytest.mark.parametrize("lost", ["park", "settle_and_fetch", "unpark"])
def test_a_lost_reply_parks_and_fetches_nothing_twice(
    stage: Stage, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, keys, bounds = Journal(200), stage.keys, DeadBounds()
    first = journal.session = new_session()
    stage.ask(operations.open(keys, [first], ["mid"], 30_000))
    session = Session(
        DedicatedClient(stage.app.broker), journal, ["mid"], lease_s=30, bounds=bounds
    )
    ids = [id.encode() for id in stage.send_many([stage.call("nap")] * 4)]
    group = Group("mid", stage.app.declarations.find("nap").contract.id)
    session.sync(4)
    while session.waiting:
        job = session.waiting.popleft()
        session.settle(job, Parked(group, job.id))
    if lost != "unpark":
        lose_the_reply(stage, monkeypatch, lost)
        session.sync()
    while session.unsettled:
        session.sync()
    assert not session.waiting
    assert [m[25:51] for m in stage.ask(parked(keys, group))] == ids
    if lost == "unpark":
        lose_the_reply(stage, monkeypatch, lost)
    session.unpark(group, 3)
    fetched = [session.waiting.popleft() for _ in range(len(session.waiting))]
    assert journal.session != first
    assert [job.id for job in fetched] == ids[:3]
    assert all(map(session.owns, fetched))
    assert sorted(stage.in_flight()) == sorted(id.decode() for id in ids[:3])
    for job in fetched:
        session.settle(job, None)
    session.sync()
    assert not stage.in_flight()
    assert stage.look().counts[group.contract] == 1
    assert session.free_slots == journal.slots


def lose_the_reply(stage: Stage, monkeypatch: pytest.MonkeyPatch, move: str) -> None:
    """The server makes the next move of this name, but its answer does not arrive."""
    execute = Connection.execute

    def execute_and_lose(connection: Connection, operation: Operation[Any]) -> Any:
        answer = execute(connection, operation)
        if operation.script is script(move):
            monkeypatch.undo()
            raise Lost("lost on the way")
        return answer

    monkeypatch.setattr(Connection, "execute", execute_and_lose)


def test_a_message_of_a_newer_format_is_kept_byte_by_byte(
    stage: Stage, wait_until: WaitUntil
) -> None:
    id = put(stage, Today, "nap", b"\x00\xff new", version=b"3")
    worker = stage.worker("-c", "2")
    wait_until(lambda: stage.ask(groups(stage.keys)))
    good = stage.send("nap")
    wait_until(lambda: good in stage.ended())
    assert worker.stop() == 0
    (group,) = stage.ask(groups(stage.keys))
    (kept,) = stage.ask(parked(stage.keys, group))
    assert group.contract.endswith("#3")
    assert kept.startswith(b"3 0 00 000 0000000000000 " + id.encode())
    assert kept.endswith(b" \x00\xff new")
    assert stage.look().counts[contract(Today, "nap").id] == 1
    assert not stage.dead()
