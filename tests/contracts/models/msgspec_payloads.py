"""Payloads as applications write them with msgspec: mail, orders, webhooks, billing, learning."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from annotated_types import Gt, Len
from msgspec import UNSET, Meta, Struct, UnsetType
from pydantic import EmailStr, Field, HttpUrl, PositiveInt

import typedq

T = TypeVar("T")
AT = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)
Score = Annotated[float, Meta(ge=0, le=1)]


class SendMail(Struct, frozen=True):
    to: EmailStr
    subject: Annotated[str, Field(min_length=1, max_length=200)]
    body: str = ""


class Digest(Struct):
    user: int
    articles: list[uuid.UUID]
    period: Literal["day", "week"] = "day"


class SmtpReply(Struct, rename="camel"):
    reply_code: Annotated[int, Meta(ge=200, le=599)]
    reply_text: str
    received_at: dt.datetime


class Order(Struct, kw_only=True):
    number: PositiveInt
    customer: str
    lines: Annotated[list[Line], Len(1)]
    placed: Annotated[dt.datetime, Meta(tz=True)]
    note: str = ""


class Line(Struct):
    sku: str
    quantity: Annotated[int, Gt(0)]
    price: Decimal


class Patch(Struct, omit_defaults=True):
    name: str | UnsetType = UNSET
    price: Decimal | UnsetType | None = UNSET


class Reservation(Struct, forbid_unknown_fields=True):
    seats: set[int]
    until: dt.datetime
    holder: uuid.UUID | None = None


class Coordinates(Struct, array_like=True, frozen=True):
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class Route(Struct):
    points: list[Coordinates]
    by: Literal["car", "bike"]


class Created(Struct, tag="created"):
    id: int


class Deleted(Struct, tag="deleted"):
    id: int
    reason: str | None = None


class Renamed(Struct, tag="renamed"):
    id: int
    name: str


class ChangeFeed(Struct):
    changes: list[Created | Deleted | Renamed]
    cursor: str


class Hook(Struct):
    url: HttpUrl
    payload: dict[str, typedq.Json]
    secret: bytes = b""


class GitRef(Struct, tag_field="kind", tag="branch"):
    name: str
    sha: Annotated[str, Meta(pattern="^[0-9a-f]{7,40}$")]


class Build(Struct):
    ref: GitRef
    matrix: dict[str, list[str]]
    timeout: dt.timedelta = dt.timedelta(minutes=30)


class Cadence(enum.Enum):
    MONTHLY = "monthly"
    YEARLY = "yearly"


class Features(enum.Flag):
    SSO = 1
    AUDIT = 2


class Contract(Struct):
    customer: uuid.UUID
    cadence: Cadence
    features: Features = Features.SSO
    prices: dict[Cadence, Decimal] = {}


class Ledger(Struct):
    entries: list[tuple[str, Decimal]]
    closed: dt.date | None = None


class Meter(Struct):
    readings: dict[int, float]
    unit: Literal["kWh", "m3"] = "kWh"


class Payout(Struct):
    cents: Annotated[int, Meta(gt=0, multiple_of=5)]
    iban: str
    on: dt.date


class Inference(Struct):
    model: str
    inputs: list[list[float]]
    threshold: Score = 0.5


class Layer(Struct):
    units: PositiveInt
    activation: Literal["relu", "tanh"] = "relu"


class Network(Struct):
    layers: Annotated[tuple[Layer, ...], Meta(min_length=1)]
    dropout: Score | None = None


class Node(Struct):
    value: int
    left: Node | None = None
    right: Node | None = None


class Batch(Struct, Generic[T]):
    items: list[T]
    offset: int = 0


class Sensor(Struct):
    id: uuid.UUID
    at: dt.time
    values: Annotated[dict[str, float], Field(max_length=10)]
    raw: bytes


class Cursor(Struct, array_like=True):
    page: int
    after: str | None = None


class LogLine(Struct):
    level: Literal["debug", "info", "error"]
    text: str
    fields: typedq.Json = None


EXAMPLES: list[tuple[Any, Any]] = [
    (SendMail, SendMail("a@b.co", "x")),
    (Digest, Digest(1, [uuid.UUID(int=1)])),
    (SmtpReply, SmtpReply(250, "ok", AT)),
    (
        Order,
        Order(number=1, customer="x", lines=[Line("a", 1, Decimal("1.50"))], placed=AT),
    ),
    (Patch, Patch(name="x")),
    (Reservation, Reservation({1, 2}, AT)),
    (Coordinates, Coordinates(1.5, 2.0)),
    (Route, Route([Coordinates(1.5, 2.0)], "bike")),
    (ChangeFeed, ChangeFeed([Created(1), Deleted(2), Renamed(3, "x")], "c")),
    (Hook, Hook(HttpUrl("https://a.b"), {"a": [1, None]}, b"\xff")),
    (Build, Build(GitRef("main", "abcdef0"), {"py": ["3.11"]})),
    (
        Contract,
        Contract(
            uuid.UUID(int=1),
            Cadence.YEARLY,
            Features.SSO | Features.AUDIT,
            {Cadence.MONTHLY: Decimal(1)},
        ),
    ),
    (Ledger, Ledger([("a", Decimal("-1.5"))], dt.date(2026, 1, 1))),
    (Meter, Meter({1: 2.5})),
    (Payout, Payout(10, "DE1", dt.date(2026, 1, 1))),
    (Inference, Inference("m", [[1.5]])),
    (Network, Network((Layer(3), Layer(1, "tanh")), 0.1)),
    (Node, Node(1, Node(2), Node(3, None, Node(4)))),
    (Batch[SendMail], Batch([SendMail("a@b.co", "x")])),
    (Sensor, Sensor(uuid.UUID(int=1), dt.time(12), {"t": 20.5}, b"\x00")),
    (list[Cursor], [Cursor(1, "a"), Cursor(2)]),
    (LogLine, LogLine("info", "x", {"a": 1})),
]
