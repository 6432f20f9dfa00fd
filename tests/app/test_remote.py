"""Remote tasks: enqueued here with the owner's contract, and never run here."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pytest

from typedq import (
    ConfigurationError,
    Context,
    ContractError,
    InvalidArguments,
    InvalidOptions,
    Queue,
    Secret,
    TypedQ,
    UnknownTask,
)
from typedq.broker.stats import peek
from typedq.contracts import document
from typedq.message import decode_message

if TYPE_CHECKING:
    from typedq.embedded import OwnServer


class Order(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(ge=1)]
    card: Annotated[str, Secret] = ""


def resize(image_id: int, *, width: int = 100) -> None:
    raise AssertionError("a stub is never called")


@pytest.fixture
def owner(namespace: str, server: OwnServer) -> Iterator[TypedQ]:
    app = TypedQ(namespace, url=server.url, queues=[Queue("high"), Queue("low")])
    app.task(queue="high", name="ship")(_ship)
    app.task(name="resize")(resize)
    yield app
    app.close()


def _ship(order: Order) -> None: ...


@pytest.fixture
def elsewhere(owner: TypedQ) -> Iterator[TypedQ]:
    settings = owner.settings
    app = TypedQ(settings.namespace, url=owner._producer._arguments["url"], queues=settings.queues)
    yield app
    app.close()


def waiting(app: TypedQ, queue: str) -> list[Any]:
    return [decode_message(m) for m in app.broker.call(peek(app.broker.keys, queue, 10))]


def test_a_remote_task_sends_what_the_owner_would_send(owner: TypedQ, elsewhere: TypedQ) -> None:
    ship = elsewhere.remote("ship", contract=Order, queue="high")
    thumb = elsewhere.remote("resize", contract=resize)
    loose = TypedQ(elsewhere.settings.namespace, queues=["high", "low"])
    json = loose.remote("ship", contract=owner.tasks["ship"].contract.schema, queue="high")
    with loose.testing():
        assert json.call({"number": 7, "card": ""}) == ship.call(Order(7))
    receipt = ship.enqueue(Order(7, "4111"))
    assert (receipt.task, receipt.queue) == ("ship", "high")
    asyncio.run(_both(thumb))
    (order,), images = waiting(owner, "high"), waiting(owner, "low")
    for envelope in (order, *images):
        contract = owner.tasks[envelope.task].contract
        assert envelope.contract.decode() == contract.id
        contract.decode(envelope.body)
    assert [image.body for image in images] == [b'{"image_id":1,"width":5}'] * 2


async def _both(thumb: Any) -> None:
    await thumb.aenqueue(1, width=5)
    await thumb.options(soft_timeout=3, meta={"a": "b"}).aenqueue(image_id=1, width=5)


def test_a_remote_task_is_none_of_the_apps_own(elsewhere: TypedQ) -> None:
    elsewhere.remote("ship", contract=Order)
    assert not elsewhere.tasks
    with pytest.raises(UnknownTask):
        elsewhere.declarations.find("ship")  # as a worker looks for the readers of a message
    assert repr(elsewhere.declarations.remote["ship"]).startswith("<RemoteTask ship(payload: Order")


def test_calls_of_remote_tasks_are_captured_and_not_run() -> None:
    app = TypedQ("shop", url="redis://nowhere")
    ship = app.remote("ship", contract=Order)
    ran = list[int]()

    @app.task
    def own(number: int) -> None:
        ran.append(number)
        ship.enqueue(Order(number))

    with app.testing() as outbox:
        own.enqueue(3)
        assert outbox.run() == 1
        assert ran == [3]
        assert outbox.calls(ship) == [ship.call(Order(3))]
        assert not outbox.waiting()


def test_hooks_and_many_calls_know_remote_tasks() -> None:
    app = TypedQ("shop", url="redis://nowhere")
    ship = app.remote("ship", contract=Order)
    seen = list[str]()

    @app.on_enqueue
    def note(ctx: Any) -> Generator[None]:
        seen.extend(f"{call.task} {call.queue}" for call in ctx.calls)
        yield

    with app.testing() as outbox:
        app.enqueue_many([ship.call(Order(1)), ship.options(delay=1).call(Order(2))])
        ship.broadcast(Order(3))
        assert len(outbox.calls(ship)) == 3
    assert seen[:2] == ["ship default"] * 2


@pytest.mark.parametrize("wrong", [{"number": 0}, {"number": "7"}, {}, [], {"number": 1.5}])
def test_json_that_the_schema_refuses_is_not_sent(owner: TypedQ, wrong: Any) -> None:
    app = TypedQ("shop", url="redis://nowhere")
    ship = app.remote("ship", contract=owner.tasks["ship"].contract.schema)
    with app.testing() as outbox:
        with pytest.raises(InvalidArguments, match="the schema of the contract refuses it - at"):
            ship.enqueue(wrong)
        ship.enqueue({"number": 7})
        assert len(outbox.calls()) == 1


def test_wrong_arguments_options_and_queues_are_refused_as_those_of_tasks() -> None:
    app = TypedQ("shop", url="redis://nowhere", queues=["low"])
    ship = app.remote("ship", contract=Order)
    with pytest.raises(InvalidArguments, match=r"ship: Expected `int` >= 1 - at \$.number"):
        ship.call(Order(0))
    with pytest.raises(InvalidOptions, match="no queue named 'lo'"):
        ship.options(queue="lo")
    with pytest.raises(ConfigurationError, match="task 'pack' names the queue 'high'"):
        app.remote("pack", contract=Order, queue="high")
    with pytest.raises(ConfigurationError, match="declare the entry in the app that owns it"):
        app.cron("@daily", ship.call(Order(1)))


class Box(TypedDict):
    number: int


def with_context(ctx: Context, number: int) -> None: ...
def smaller(image_id: int, *, width: int = 100) -> None: ...


@pytest.mark.parametrize(
    ("contract", "reason"),
    [
        ("ship@0123456789abcdef", "'ship@0123456789abcdef' is no contract; contract= takes the"),
        (None, "None is no contract; contract= takes the type of the payload"),
        (int, "<class 'int'> is no record; contract= takes the type of the payload"),
        (with_context, "a remote task has no context here; leave it out"),
        ({"if": {}}, "its schema cannot be used: at #: the keyword"),
        ({"type": "objekt"}, "its schema cannot be used: at #: type has a value"),
        (lambda x: None, "it has no annotation"),
        (TypedQ("mail").task(smaller), "is no contract; contract= takes the type of the payload"),
    ],
)
def test_what_is_no_contract_is_refused(contract: Any, reason: str) -> None:
    with pytest.raises(ContractError) as error:
        TypedQ("shop").remote("ship", contract=contract)
    assert reason in str(error.value)


def test_narrower_types_send_messages_of_the_owners_contract(owner: TypedQ) -> None:
    app = TypedQ("shop")
    schema = owner.tasks["resize"].contract.schema
    assert app.remote("resize", contract=smaller, schema=schema).contract.id == (
        owner.tasks["resize"].contract.id
    )
    optional = {**schema, "properties": {**schema["properties"], "other": {"type": "null"}}}
    assert app.remote("more", contract=smaller, schema=optional).contract.schema == optional
    rows = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert (
        app.remote("rows", contract=dict[str, int], schema=rows).call({"a": 1}).body == b'{"a":1}'
    )


@pytest.mark.parametrize(
    ("contract", "schema", "reason"),
    [
        (smaller, {"type": "array"}, "the schema does not read all that its types write: "),
        (Box, document(Order), " - at $.number"),
        (Order, {"if": {}}, "the keyword"),
        ({}, {}, "contract= is a schema already; leave schema= out"),
    ],
)
def test_types_that_write_what_the_schema_does_not_read_are_refused(
    contract: Any, schema: Any, reason: str
) -> None:
    with pytest.raises(ContractError) as error:
        TypedQ("shop").remote("ship", contract=contract, schema=schema)
    assert reason in str(error.value)


def test_every_kind_of_record_is_a_contract() -> None:
    box = TypedQ("shop", url="redis://nowhere").remote("box", contract=Box)
    assert box.call({"number": 1}).body == b'{"number":1}'


def test_names_are_taken_once() -> None:
    app = TypedQ("shop")
    app.remote("ship", contract=Order)
    app.remote("ship", contract=Order)  # a module that is imported twice
    with pytest.raises(ContractError, match="a remote task of that name, with another contract"):
        app.remote("ship", contract=Box)
    with pytest.raises(ContractError, match="the name is that of a remote task"):
        app.task(name="ship")(_ship)
    app.task(name="own")(_ship)
    with pytest.raises(ContractError, match="this app has the task itself"):
        app.remote("own", contract=Order)
    with pytest.raises(ContractError, match="a name is 1 to 64"):
        app.remote("Ship It", contract=Order)
