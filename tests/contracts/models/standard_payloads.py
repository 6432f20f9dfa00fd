"""Payloads as applications write them with dataclasses, TypedDict, NamedTuple and attrs.

REFUSED: those of all that typedq does not take as they are, and what it tells their author.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import attrs
import pydantic
from annotated_types import Ge, Len, Lt
from django.db.models import IntegerChoices, TextChoices
from msgspec import Meta
from pydantic import EmailStr, Field, HttpUrl, PositiveInt

import typedq

AT = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)

# --- dataclasses ----------------------------------------------------------------------------------


class Role(TextChoices):
    ADMIN = "admin", "Administrator"
    USER = "user", "User"


class Severity(IntegerChoices):
    LOW = 1, "Low"
    HIGH = 2, "High"


@dataclass
class WelcomeMail:
    user_id: int
    email: EmailStr
    role: Role = Role.USER


@dataclass(frozen=True, slots=True)
class Invitation:
    token: uuid.UUID
    expires: dt.datetime
    invited_by: int | None = None


@dataclass
class Newsletter:
    subject: Annotated[str, Len(1, 100)]
    recipients: list[EmailStr]
    variables: dict[str, typedq.Json] = field(default_factory=dict)


@dataclass
class Product:
    sku: str
    price: Decimal
    tags: set[str] = field(default_factory=set)


@dataclass
class Checkout:
    cart: list[CartLine]
    coupon: str | None = None
    paid_with: Literal["card", "invoice"] = "card"


@dataclass
class CartLine:
    product: Product
    quantity: PositiveInt = 1


@dataclass
class PriceUpdate:
    prices: Mapping[str, Decimal]
    valid_from: dt.date


@dataclass
class WebhookCall:
    url: HttpUrl
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    timeout: dt.timedelta = dt.timedelta(seconds=5)


@dataclass
class Alert:
    severity: Severity
    source: ipaddress.IPv4Address
    seen: collections.deque[dt.datetime] = field(default_factory=collections.deque)


@dataclass
class ReleaseNote:
    version: tuple[int, int, int]
    changes: Sequence[str] = ()


@dataclass
class InvoiceRun:
    month: Annotated[int, Ge(1), Lt(13)]
    year: int
    customers: frozenset[int] = frozenset()


@dataclass
class Statement:
    account: str
    bookings: list[Booking]


class Booking(NamedTuple):
    on: dt.date
    cents: int
    text: str = ""


@dataclass
class Epoch:
    number: int
    loss: float
    metrics: dict[str, float]
    checkpoint: pathlib.PurePosixPath | None = None


@dataclass
class Crawl:
    seeds: list[str]
    depth: Annotated[int, Field(ge=0, le=10)] = 3
    allowed: collections.defaultdict[str, list[str]] = field(
        default_factory=lambda: collections.defaultdict(list)
    )


@dataclass
class Category:
    name: str
    children: list[Category] = field(default_factory=list)


@dataclass
class ThumbnailJob:
    image: int
    sizes: list[tuple[int, int]]
    quality: Annotated[int, Meta(ge=1, le=100)] = 85


@dataclass
class Reminder:
    at: dt.time
    days: list[Literal["mon", "tue", "wed"]]
    zone: str = "UTC"


# --- TypedDict ------------------------------------------------------------------------------------


class Contact(TypedDict):
    email: EmailStr
    name: NotRequired[str]


class SignUp(TypedDict):
    contact: Contact
    referrer: str | None


class OrderEvent(TypedDict):
    id: int
    kind: Literal["created", "cancelled"]
    at: dt.datetime


class Filters(TypedDict, total=False):
    since: dt.date
    tags: list[str]
    limit: Annotated[int, Ge(1)]


class Export(TypedDict):
    filters: Filters
    format: Literal["csv", "json"]


class Charge(TypedDict):
    cents: PositiveInt
    currency: str
    metadata: dict[str, str]


class Dispute(TypedDict):
    charge: Charge
    evidence: list[bytes]


class Completion(TypedDict):
    prompt: str
    options: dict[str, typedq.Json]


class Vector(TypedDict):
    id: uuid.UUID
    values: list[float]


class GitHubPing(TypedDict):
    zen: str
    hook_id: int
    sender: dict[str, str | int | None]


# --- attrs ----------------------------------------------------------------------------------------


@attrs.define
class Subscriber:
    email: str
    lists: list[int] = attrs.Factory(list)
    confirmed: bool = False


@attrs.frozen
class Parcel:
    weight: Annotated[float, Ge(0)]
    size: tuple[float, float, float]


@attrs.define
class Return:
    order: uuid.UUID
    parcels: list[Parcel]
    label: pathlib.PurePosixPath | None = None


@attrs.define
class Tax:
    country: str
    rate: Decimal


class Cycle(enum.Enum):
    MONTH = "month"
    YEAR = "year"


@attrs.define
class Renewal:
    customer: int
    cycle: Cycle = Cycle.MONTH
    taxes: dict[str, Tax] = attrs.Factory(dict)


@attrs.define
class Rollout:
    feature: str
    percent: Annotated[int, Ge(0), Lt(101)]
    stages: list[Rollout] = attrs.Factory(list)


@attrs.define
class Labelled:
    text: str
    label: Literal[Cycle.MONTH, Cycle.YEAR]


@attrs.define
class Sample:
    features: list[float]
    weight: float | None = None


# --- refused --------------------------------------------------------------------------------------


@dataclass
class Loose:
    name: str
    context: dict[str, Any]


class Untyped(TypedDict):
    items: list  # type: ignore[type-arg]


class Login(pydantic.BaseModel):
    user: str
    password: pydantic.SecretStr


@dataclass
class Either:
    when: dt.datetime | str


@attrs.define
class Hidden:
    _secret: str


PRODUCT = Product("a", Decimal("1.50"), {"x"})
CONTACT: Contact = {"email": "a@b.co"}
CHARGE: Charge = {"cents": 5, "currency": "EUR", "metadata": {"a": "b"}}
EXAMPLES: list[tuple[Any, Any]] = [
    (WelcomeMail, WelcomeMail(1, "a@b.co", Role.ADMIN)),
    (Invitation, Invitation(uuid.UUID(int=1), AT)),
    (Newsletter, Newsletter("x", ["a@b.co"], {"a": [1]})),
    (Product, PRODUCT),
    (Checkout, Checkout([CartLine(PRODUCT, 2)], paid_with="invoice")),
    (PriceUpdate, PriceUpdate({"a": Decimal("1.5")}, dt.date(2026, 1, 1))),
    (WebhookCall, WebhookCall(HttpUrl("https://a.b"), b"\xff")),
    (
        Alert,
        Alert(Severity.HIGH, ipaddress.IPv4Address("10.0.0.1"), collections.deque([AT])),
    ),
    (ReleaseNote, ReleaseNote((1, 2, 3), ["x"])),
    (InvoiceRun, InvoiceRun(12, 2026, frozenset([1]))),
    (Statement, Statement("x", [Booking(dt.date(2026, 1, 1), -5)])),
    (Epoch, Epoch(1, 0.5, {"f1": 0.25}, pathlib.PurePosixPath("/a"))),
    (Crawl, Crawl(["x"], 2, collections.defaultdict(list, a=["b"]))),
    (Category, Category("a", [Category("b")])),
    (ThumbnailJob, ThumbnailJob(1, [(1, 2)])),
    (Reminder, Reminder(dt.time(12), ["mon"])),
    (list[Booking], [Booking(dt.date(2026, 1, 1), 5, "x")]),
    (Contact, CONTACT),
    (SignUp, {"contact": CONTACT, "referrer": None}),
    (OrderEvent, {"id": 1, "kind": "created", "at": AT}),
    (Filters, {"limit": 5, "since": dt.date(2026, 1, 1)}),
    (Export, {"filters": {"tags": ["a"]}, "format": "csv"}),
    (Charge, CHARGE),
    (Dispute, {"charge": CHARGE, "evidence": [b"\x00"]}),
    (Completion, {"prompt": "x", "options": {"temperature": 0.5}}),
    (Vector, {"id": uuid.UUID(int=1), "values": [0.5]}),
    (GitHubPing, {"zen": "x", "hook_id": 1, "sender": {"login": "a", "id": 1, "name": None}}),
    (Subscriber, Subscriber("a@b.co", [1])),
    (Parcel, Parcel(1.5, (1.0, 2.0, 3.0))),
    (Return, Return(uuid.UUID(int=1), [Parcel(1.0, (1.0, 2.0, 3.0))])),
    (Tax, Tax("DE", Decimal("0.19"))),
    (Renewal, Renewal(1, Cycle.YEAR, {"DE": Tax("DE", Decimal("0.19"))})),
    (Rollout, Rollout("x", 50, [Rollout("y", 5)])),
    (Labelled, Labelled("x", Cycle.YEAR)),
    (Sample, Sample([1.5], 0.5)),
]
REFUSED: list[tuple[Any, str]] = [
    (Loose, "write typedq.Json for any JSON value"),
    (Untyped, "write typedq.Json for any JSON value"),
    (Login, "write Annotated[str, typedq.Secret]"),
    (Either, "keep one of them"),
    (Hidden, "give it another name"),
]
