"""Wrong on purpose: both checkers must flag each marked line, and no other."""
# pyright: strict

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Annotated

import msgspec

from typedq import Context, EnqueueContext, Json, Queue, Receipt, Retry, Secret, TypedQ
from typedq.observe import otel, sentry

app = TypedQ("myapp", queues=[Queue("high"), Queue("low")])


class EmailArgs(msgspec.Struct, frozen=True):
    to: str
    subject: str = ""


@app.task(queue="high")
def send_email(args: EmailArgs) -> None: ...


@app.task
async def resize(ctx: Context, image_id: int, *, width: int = 100) -> str:
    return f"{ctx.id} {image_id} {width}"


@app.task
def log_in(password: Annotated[str, Secret]) -> None: ...


def is_no_type(password: Secret) -> None: ...  # misuse: a marker for a type


email = EmailArgs(to="a@b.c")

log_in.enqueue(5)  # misuse: wrong type of a secret

send_email.enqueue("a@b.c")  # misuse: wrong type
send_email.enqueue(EmailArgs(to=1))  # misuse: wrong type inside
resize.enqueue("7")  # misuse: wrong type after a context
send_email.enqueue()  # misuse: missing argument
resize.call(width=5)  # misuse: missing argument after a context
send_email.enqueue(email, email)  # misuse: one argument too many
resize.enqueue(7, widht=50)  # misuse: misspelt argument
send_email.delay(email)  # misuse: a method of another queue
send_email.options(delay=5).apply_async(email)  # misuse: a method of another queue, with options
send_email.options(dealy=5)  # misuse: misspelt option
send_email.options(delay="5")  # misuse: wrong type of an option
send_email.options(expires="1h")  # misuse: text for an expiry
send_email.options(eta=timedelta(1))  # misuse: a length of time for an instant
send_email.enqueue({"to": "a@b.c"})  # misuse: a dict for a Struct
send_email.options(delay=5).enqueue({"to": "a@b.c"})  # misuse: a dict for a Struct, with options


def passed_in(ctx: Context) -> None:
    resize.enqueue(ctx, 7)  # misuse: a context passed in
    resize.call(ctx, 7)  # misuse: a context passed in to call
    resize.options(delay=5).enqueue(ctx, 7)  # misuse: a context passed in, with options


resize.enqueue(7, 50)  # misuse: positional for keyword-only
app.enqueue_many([send_email])  # misuse: a task where a call is due
app.enqueue_many([send_email.enqueue(email)])  # misuse: a receipt where a call is due
app.enqueue_many(send_email.call(email))  # misuse: one call where several are due


send_email.broadcast("a@b.c")  # misuse: wrong type in a broadcast
resize.broadcast()  # misuse: missing argument of a broadcast
app.cron("@daily", send_email)  # misuse: a task where a cron entry needs a call
app.cron("@daily", send_email.call)  # misuse: a method where a cron entry needs a call
app.cron("@daily", resize.call(7), catch_up="twice")  # misuse: no such way to catch up
app.cron("@daily", resize.call(7), timezone="UTC")  # misuse: misspelt option of an entry


@send_email.upcast  # misuse: an upcaster that returns no call
def from_old(old: int) -> EmailArgs:
    return EmailArgs(to=str(old))


async def asynchronous() -> None:
    send_email.abroadcast(email)  # misuse: an unawaited abroadcast
    resize.aenqueue(7)  # misuse: an unawaited aenqueue
    app.aenqueue_many([resize.call(7)])  # misuse: an unawaited aenqueue_many
    await resize.enqueue(7)  # misuse: an awaited enqueue
    receipt: Receipt = resize.enqueue(7)
    receipt.due = None  # misuse: a receipt that is changed


width: int = send_email(email)  # misuse: a result of the wrong type
text: str = resize(7)  # misuse: a coroutine for its result


@app.task(quue="high")  # misuse: misspelt option of a task
def one() -> None: ...


@app.task(retry=3)  # misuse: a number for a Retry
def two() -> None: ...


@app.task
def record(fields: dict[str, Json]) -> None: ...


record.enqueue({"a": b"x"})  # misuse: bytes are no JSON value

send_email.options(meta={"tenant": 1})  # misuse: a number for text in metadata
send_email.options(meta="tenant=acme")  # misuse: text for metadata


@app.task
def tagged(ctx: Context) -> None:
    ctx.meta["a"] = "b"  # misuse: metadata that is changed
    ctx.meta.get(1)  # misuse: a number for a key of metadata
    ctx.masked_arguments()["to"]  # misuse: JSON text for its value


sentry.instrument(app, True)  # misuse: an option by position
otel.instrument(app, relation="child")  # misuse: an unknown relation


@app.on_enqueue  # misuse: a hook that is not a generator
def plain(ctx: EnqueueContext) -> None:
    ctx.add_meta({"a": 1})  # misuse: a number added to metadata


@app.on_enqueue  # misuse: a hook of another argument
def of_attempt(ctx: Context) -> Generator[None]:
    yield


@app.on_enqueue
def replaces(ctx: EnqueueContext) -> Generator[None]:
    ctx.calls[0].task = "other"  # misuse: a call that is changed
    ctx.calls[0].body  # misuse: the arguments of a call
    yield


TypedQ("myapp", qeues=[Queue("high")])  # misuse: misspelt setting
TypedQ("myapp", queues=["high", 3])  # misuse: a number for a queue
TypedQ("myapp", credentials="secret")  # misuse: a password for a provider of credentials
Retry(on=OSError())  # misuse: an exception for its class
Retry(max_retries="3")  # misuse: text for a number


class Parcel(msgspec.Struct):
    number: int


def stub(image_id: int, *, width: int = 100) -> None: ...


pack = app.remote("pack", contract=Parcel)
pack.enqueue({"number": 1})  # misuse: a dict for the Struct of a remote task
pack.enqueue(number=1)  # misuse: the fields of a Struct in place of it
pack.enqueue()  # misuse: a remote task without its argument
pack.options(dellay=1)  # misuse: a misspelt option of a remote task
pack(Parcel(1))  # misuse: a remote task that is called here
thumb = app.remote("thumb", contract=stub)
thumb.enqueue("7")  # misuse: a text for a number of a remote task
thumb.enqueue(7, 100)  # misuse: a keyword of a remote task given by place
app.remote("y", contract=stub, schema="{}")  # misuse: a schema as text
app.remote("x", contract="x@0123456789abcdef")  # misuse: an id in place of a contract
loose = app.remote("loose", contract={"type": "object"})
loose.enqueue(Parcel(1))  # misuse: a Struct where JSON is due
