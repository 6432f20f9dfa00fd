"""Every right way to declare and to call; both checkers accept it all, strict as they are."""
# pyright: strict

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypedDict, assert_type

import msgspec

from typedq import (
    Call,
    Cancellation,
    Context,
    EnqueueContext,
    Json,
    MessageInfo,
    Queue,
    Receipt,
    RemoteTask,
    Retry,
    Secret,
    SoftTimeout,
    Task,
    TypedQ,
)
from typedq.observe import otel, sentry

app = TypedQ(
    "myapp",
    url=None,
    queues=[Queue("high"), Queue("default", soft_timeout=timedelta(seconds=5)), Queue("low")],
    default_queue="default",
    imports=["myapp.tasks"],
    soft_timeout=30,
    hard_timeout=timedelta(minutes=1),
    max_mem_percent=95,
    max_tasks_per_child=5_000,
)


class EmailArgs(msgspec.Struct, frozen=True):
    to: str
    subject: str = ""


@dataclass
class Order:
    id: int
    lines: list[str]


class Address(TypedDict):
    city: str


class Login(msgspec.Struct):
    user: str
    password: Annotated[str, Secret]
    tokens: list[Annotated[str, Secret]] | None = None


@app.task(queue="high", retry=Retry(max_retries=3, on=(SoftTimeout, ConnectionError)))
def send_email(args: EmailArgs) -> None: ...


@app.task
async def resize(ctx: Context, image_id: int, *, width: int = 100) -> str:
    return f"{ctx.id} {image_id} {width}"


@app.task(name="billing.settle", soft_timeout=5, hard_timeout=timedelta(seconds=10))
def settle(ctx: Context, order: Order) -> int:
    return ctx.attempt + order.id


@app.task(retry=Retry(on=OSError, backoff=timedelta(seconds=1), jitter=False))
async def index(order: int, mode: Literal["full", "part"] = "full") -> bool:
    return mode == "full" and order > 0


@app.task
def nothing() -> None: ...


@app.task()
def move(to: Address) -> None: ...


@app.task
def log_in(login: Login, pin: Annotated[int, Secret]) -> str:
    return login.password + str(pin)


log_in.enqueue(Login("ada", "secret"), 1234)


assert_type(send_email.enqueue(EmailArgs(to="a@b.c")), Receipt)
assert_type(send_email.enqueue(args=EmailArgs("a@b.c", subject="hello")), Receipt)
assert_type(send_email(EmailArgs(to="x@y.z")), None)
assert_type(send_email.call(EmailArgs(to="a@b.c")), Call)
assert_type(settle(Order(1, [])), int)
pending: Coroutine[Any, Any, str] = resize(7, width=50)
assert_type(nothing.enqueue(), Receipt)
assert_type(move.enqueue({"city": "Bern"}), Receipt)

send_email.options(delay=timedelta(hours=1), queue="low").enqueue(EmailArgs(to="a@b.c"))
send_email.options(delay=0.5).call(EmailArgs(to="a@b.c"))
send_email.options(eta=datetime(2027, 1, 1, tzinfo=UTC)).enqueue(EmailArgs(to="a@b.c"))
resize.options(soft_timeout=5, hard_timeout=timedelta(seconds=10)).enqueue(image_id=7)
later = resize.options(delay=60)
send_email.options(expires=timedelta(hours=1)).enqueue(EmailArgs(to="a@b.c"))
send_email.options(expires=60, delay=5).call(EmailArgs(to="a@b.c"))
resize.options(expires=datetime(2027, 1, 1, tzinfo=UTC)).enqueue(7)
resize.options(expires=None).broadcast(7)
assert_type(later.call(7, width=1), Call)

assert_type(app.enqueue_many([resize.call(1), later.call(2, width=50)]), list[Receipt])
assert_type(app.enqueue_many((nothing.call() for _ in range(3)), chunk=100), list[Receipt])


assert_type(send_email.broadcast(EmailArgs(to="ops@b.c")), Receipt)
resize.options(soft_timeout=5).broadcast(7, width=50)
app.cron("*/10 * * * *", resize.call(7), name="thumbs", tz="Europe/Berlin")
app.cron("@daily", later.call(image_id=7), catch_up="once")


class EmailArgsV1(msgspec.Struct, frozen=True):
    address: str


@send_email.upcast
def from_v1(old: EmailArgsV1) -> Call:
    return send_email.call(EmailArgs(to=old.address))


@settle.upcast
def from_number(order: int, *, lines: list[str]) -> Call:
    return settle.call(Order(order, lines))


assert_type(from_v1(EmailArgsV1(address="a@b.c")), Call)


@app.task
def record(fields: dict[str, Json], body: Json = None) -> None:
    if isinstance(body, dict):
        body["seen"] = [body.get("a"), 1]


record.enqueue({"a": [1, {"b": None}], "c": 1.5}, body=[True, "x"])


async def asynchronous() -> None:
    assert_type(await send_email.abroadcast(EmailArgs(to="ops@b.c")), Receipt)
    assert_type(await resize.aenqueue(7, width=50), Receipt)
    assert_type(await later.aenqueue(7), Receipt)
    assert_type(await app.aenqueue_many([nothing.call()]), list[Receipt])
    assert_type(await resize(7), str)


def described(task: Task[..., object]) -> str:
    return f"{task.name} {task.queue} {task.contract.id} {task.soft_timeout}"


class Vault:
    def get_credentials(self) -> tuple[str, str]:
        return "user", "secret"


async def login() -> tuple[str, str]:
    return "user", "secret"


TypedQ("myapp", queues=["high", Queue("low")], credentials=Vault())
TypedQ("myapp", queues=["high", "low"], credentials=login)
TypedQ("myapp", queues=("high",), credentials=lambda: "secret")
send_email.options(delay=None, eta=None, queue=None).enqueue(EmailArgs(to="a@b.c"))

send_email.options(meta={"tenant": "acme"}, delay=5).enqueue(EmailArgs(to="a@b.c"))
resize.options(meta=None).broadcast(7)
app.cron("@hourly", resize.options(meta={"a": "b"}).call(7), name="tagged")


@app.on_enqueue
def add_tenant(ctx: EnqueueContext) -> Generator[None]:
    ctx.add_meta({"tenant": "acme"})
    for call in ctx.calls:
        call.add_meta({"to": f"{call.task} {call.queue} {call.is_broadcast} {len(call.meta)}"})
    yield
    assert_type(ctx.receipts, tuple[Receipt, ...])


@app.on_enqueue
async def trace(ctx: EnqueueContext) -> AsyncGenerator[None]:
    yield


@app.task
def tagged(ctx: Context) -> None:
    assert_type(ctx.meta, Mapping[str, str])
    assert_type(ctx.masked_arguments(), str)


sentry.instrument(app, each_attempt=True)
otel.instrument(app, relation="parent")


described(send_email)
described(app.tasks["resize"])


async def one_message() -> None:
    once = send_email.options(unique="a", unique_for=timedelta(hours=1))
    assert_type(once.enqueue(EmailArgs(to="a@b.c")).duplicate, bool)
    receipt = send_email.enqueue(EmailArgs(to="a@b.c"))
    assert_type(app.get(receipt.id), MessageInfo)
    assert_type(await app.aget(receipt.id, limit=10, progress=print), MessageInfo)
    assert_type(app.cancel(receipt.id).message, MessageInfo)
    assert_type(await app.acancel(receipt.id), Cancellation)
    if app.get(receipt.id).state == "in flight" and app.cancel(receipt.id).outcome == "told":
        pass


class Parcel(msgspec.Struct):
    number: int
    note: str = ""


def stub(image_id: int, *, width: int = 100) -> None: ...


pack = app.remote("pack", contract=Parcel)
assert_type(pack, RemoteTask[[Parcel]])
assert_type(pack.enqueue(Parcel(1)), Receipt)
thumb = app.remote("thumb", contract=stub, queue="low")
assert_type(thumb.options(delay=5).call(7, width=2), Call)
narrower = app.remote("narrower", contract=stub, schema={"type": "object"})
assert_type(narrower.call(7, width=2), Call)
loose = app.remote("loose", contract={"type": "object"})
assert_type(loose.enqueue({"a": [1, None]}), Receipt)


async def send_elsewhere() -> None:
    assert_type(await pack.aenqueue(Parcel(1)), Receipt)
