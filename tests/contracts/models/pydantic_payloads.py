"""Payloads as applications write them with pydantic: mail, orders, webhooks, billing, learning."""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import pathlib
import uuid
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyHttpUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    EmailStr,
    Field,
    FutureDate,
    HttpUrl,
    IPvAnyAddress,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    PostgresDsn,
    RootModel,
    StringConstraints,
    Tag,
    computed_field,
    conint,
    constr,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

import typedq

UTC = dt.UTC
AT = dt.datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
Cents = Annotated[int, Field(ge=0, description="in the smallest unit")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
T = TypeVar("T")

# --- mail -----------------------------------------------------------------------------------------


class EmailAddress(BaseModel):
    email: EmailStr
    name: str | None = None


class Attachment(BaseModel):
    filename: constr(min_length=1, max_length=255)  # type: ignore[valid-type]
    content: Base64Bytes
    mime_type: str = "application/octet-stream"


class Priority(enum.IntEnum):
    LOW = 1
    NORMAL = 3
    HIGH = 5


class Email(BaseModel):
    sender: EmailAddress
    to: Annotated[list[EmailAddress], Field(min_length=1)]
    cc: list[EmailAddress] = []
    subject: Annotated[str, Field(max_length=998)]
    text: str = ""
    attachments: list[Attachment] = Field(default_factory=list)
    headers: dict[str, str] = {}
    priority: Priority = Priority.NORMAL
    send_at: AwareDatetime | None = None


class TemplatedEmail(BaseModel):
    template_id: uuid.UUID
    to: EmailStr
    context: dict[str, JsonValue] = {}
    locale: Literal["en", "de", "fr"] = "en"


class Bounce(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    message_id: str
    bounced_at: dt.datetime
    diagnostic_code: str | None = None


class Unsubscribe(BaseModel, frozen=True):
    email: EmailStr
    lists: frozenset[str] = frozenset()


class Campaign(BaseModel):
    name: str
    starts: dt.date
    ends: dt.date

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.ends < self.starts:
            raise ValueError("a campaign ends after it starts")
        return self


# --- orders ---------------------------------------------------------------------------------------


class OrderStatus(enum.StrEnum):
    OPEN = "open"
    PAID = "paid"
    SHIPPED = "shipped"


class Money(BaseModel):
    amount: Decimal = Field(max_digits=12, decimal_places=2)
    currency: Currency


class LineItem(BaseModel):
    sku: Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=1)]
    quantity: PositiveInt
    price: Money

    @computed_field
    def total(self) -> Decimal:
        return self.price.amount * self.quantity


class PostalAddress(BaseModel):
    street: str
    city: str
    zip: str = Field(alias="zipCode", pattern=r"^\d{4,6}$")
    country: Annotated[str, Field(min_length=2, max_length=2)]


class Order(BaseModel):
    id: uuid.UUID
    status: OrderStatus = OrderStatus.OPEN
    items: list[LineItem]
    shipping: PostalAddress
    billing: PostalAddress | None = None
    placed_at: AwareDatetime
    note: Annotated[str | None, Field(max_length=500)] = None


class StockChange(BaseModel):
    deltas: dict[str, int]
    warehouse: Annotated[int, Field(gt=0, lt=1_000)]


class Shipment(BaseModel):
    order: PositiveInt
    carrier: Literal["ups", "dhl", "post"]
    parcels: list[tuple[float, float, float]]
    eta: FutureDate | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: NonNegativeInt
    next_cursor: str | None = None


class Cart(RootModel[dict[str, PositiveInt]]): ...


class Refund(BaseModel):
    order_id: int
    lines: set[int]
    reason: Annotated[str, AfterValidator(str.strip)]


class CatalogueImport(BaseModel):
    source: AnyHttpUrl
    columns: list[str]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","


# --- webhooks -------------------------------------------------------------------------------------


class PushEvent(BaseModel):
    type: Literal["push"]
    ref: str
    commits: list[Commit]


class Commit(BaseModel):
    sha: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    author: EmailAddress


class IssueEvent(BaseModel):
    type: Literal["issue"]
    number: PositiveInt
    action: Literal["opened", "closed"]
    labels: list[str] = []


class PingEvent(BaseModel):
    type: Literal["ping"]
    zen: str = ""


Event = Annotated[PushEvent | IssueEvent | PingEvent, Field(discriminator="type")]


class Delivery(BaseModel):
    id: uuid.UUID
    url: HttpUrl
    event: Event
    signature: Annotated[bytes, Field(min_length=2)]
    model_config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")


class Webhook(BaseModel, extra="allow"):
    event: str
    created: AwareDatetime


class RetryPolicy(BaseModel):
    max_attempts: conint(ge=1, le=20) = 5  # type: ignore[valid-type]
    backoff: Annotated[dt.timedelta, Field(gt=dt.timedelta(0))] = dt.timedelta(seconds=30)


class Visit(BaseModel):
    ip: IPvAnyAddress
    proxy: ipaddress.IPv4Network | None = None
    user_agent: str = Field(
        validation_alias=AliasChoices("userAgent", "ua"), serialization_alias="userAgent"
    )


class ChatMessage(BaseModel):
    channel: str
    blocks: list[Block]


class Block(BaseModel):
    text: str
    children: list[Block] = []


class Notification(BaseModel):
    target: Annotated[EmailTarget | PushTarget, Field(discriminator="channel")]
    body: str


class EmailTarget(BaseModel):
    channel: Literal["email"] = "email"
    address: EmailStr


class PushTarget(BaseModel):
    channel: Literal["push"] = "push"
    token: str


# --- billing --------------------------------------------------------------------------------------


class Interval(enum.Enum):
    MONTH = "month"
    YEAR = "year"


class Plan(BaseModel):
    code: str
    price: Cents
    interval: Interval = Interval.MONTH
    trial: dt.timedelta | None = None


class Subscription(BaseModel):
    customer: uuid.UUID
    plan: Plan
    seats: Annotated[int, Field(ge=1, multiple_of=5)] = 5
    started: dt.date
    coupon: str | None = None

    @field_validator("coupon")
    @classmethod
    def known(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("C-"):
            raise ValueError("a coupon starts with C-")
        return value


class Invoice(BaseModel):
    number: str
    lines: list[InvoiceLine]
    due: dt.date
    paid_at: dt.datetime | None = None

    @field_serializer("due")
    def iso(self, value: dt.date) -> dt.date:
        return value


class InvoiceLine(BaseModel):
    text: str
    cents: Cents
    tax: Decimal = Decimal("0.19")


class Usage(BaseModel):
    meter: str
    at: AwareDatetime
    value: Annotated[float, Field(ge=0)]
    tags: dict[Annotated[str, Field(max_length=20)], str | int | bool] = {}


class Payment(BaseModel):
    method: Card | Transfer
    amount: Money


class Card(BaseModel):
    last4: Annotated[str, Field(pattern=r"^\d{4}$")]
    expires: tuple[int, int]


class Transfer(BaseModel):
    iban: str
    reference: str = ""


@dataclass
class Dunning:
    invoice: str
    level: Annotated[int, Field(ge=1, le=3)] = 1
    fees: dict[str, Decimal] = Field(default_factory=dict)


# --- learning -------------------------------------------------------------------------------------


class Optimizer(BaseModel):
    name: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


class TrainingJob(BaseModel):
    model_config = ConfigDict(protected_namespaces=())
    model_name: str
    dataset: pathlib.PurePosixPath
    optimizer: Optimizer = Optimizer()
    epochs: PositiveInt = 10
    memory: ByteSize = ByteSize(1 << 30)
    hyperparameters: dict[str, int | float | str | bool] = {}


class Embedding(BaseModel):
    texts: Annotated[list[str], Field(min_length=1, max_length=100)]
    dimensions: int | None = None


class Prediction(BaseModel):
    inputs: list[list[float]]
    threshold: float = 0.5
    labels: dict[int, str] = {}


class Dataset(BaseModel):
    rows: list[dict[str, JsonValue]]
    split: dict[Literal["train", "test"], float] = {"train": 0.8, "test": 0.2}


class Prompt(BaseModel):
    messages: list[Message]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    stop: str | list[str] | None = None
    tools: typedq.Json = None


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str | list[dict[str, JsonValue]]


class Evaluation(BaseModel):
    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    started: dt.time
    took: dt.timedelta


class Region(BaseModel):
    name: str
    parent: Region | None = None
    bounds: Box | None = None


class Box(TypedDict):
    west: float
    east: float


class Backup(BaseModel):
    database: PostgresDsn
    tables: list[str] | Literal["all"] = "all"
    keep: dt.timedelta = dt.timedelta(days=30)


class AuditEntry(BaseModel):
    actor: uuid.UUID | None
    action: Annotated[str, Tag("action")]
    before: JsonValue = None
    after: JsonValue = None


ADDRESS = {"street": "1 Main", "city": "X", "zipCode": "12345", "country": "DE"}
ITEM = {"sku": " a1 ", "quantity": 2, "price": {"amount": "1.50", "currency": "EUR"}}
BOX: Box = {"west": 1.5, "east": 2.0}
EXAMPLES: list[tuple[Any, Any]] = [
    (
        Email,
        Email(
            sender=EmailAddress(email="a@b.co", name="A"),
            to=[EmailAddress(email="c@d.co")],
            subject="x",
            attachments=[Attachment(filename="a.bin", content=b"AP8=")],
            priority=Priority.HIGH,
            send_at=AT,
        ),
    ),
    (
        TemplatedEmail,
        TemplatedEmail(template_id=uuid.UUID(int=1), to="a@b.co", context={"n": [1, {"a": None}]}),
    ),
    (Bounce, Bounce(message_id="1", bounced_at=AT)),
    (Unsubscribe, Unsubscribe(email="a@b.co", lists=frozenset(["news"]))),
    (Campaign, Campaign(name="x", starts=dt.date(2026, 1, 1), ends=dt.date(2026, 2, 1))),
    (Money, Money(amount=Decimal("12.50"), currency="EUR")),
    (LineItem, LineItem.model_validate(ITEM)),
    (
        Order,
        Order(
            id=uuid.UUID(int=2),
            items=[LineItem.model_validate(ITEM)],
            shipping=PostalAddress.model_validate(ADDRESS),
            placed_at=AT,
        ),
    ),
    (StockChange, StockChange(deltas={"a": -1}, warehouse=3)),
    (Shipment, Shipment(order=1, carrier="dhl", parcels=[(1.0, 2.0, 3.5)])),
    (Page[Money], Page[Money](items=[Money(amount=Decimal(1), currency="USD")], total=1)),
    (Cart, Cart({"a": 1})),
    (Refund, Refund(order_id=1, lines={1, 2}, reason="broken")),
    (
        CatalogueImport,
        CatalogueImport(source=AnyHttpUrl("https://a.b/c.csv"), columns=["a"]),
    ),
    (
        Delivery,
        Delivery(
            id=uuid.UUID(int=3),
            url=HttpUrl("https://a.b"),
            event=PushEvent(
                type="push",
                ref="main",
                commits=[Commit(sha="0" * 40, author=EmailAddress(email="a@b.co"))],
            ),
            signature=b"\xff\x00",
        ),
    ),
    (IssueEvent, IssueEvent(type="issue", number=1, action="opened")),
    (Event, PingEvent(type="ping", zen="x")),
    (Webhook, Webhook.model_validate({"event": "x", "created": AT, "data": {"a": [1]}})),
    (RetryPolicy, RetryPolicy(max_attempts=3)),
    (
        Visit,
        Visit.model_validate({"ip": "::1", "proxy": "10.0.0.0/8", "userAgent": "x"}),
    ),
    (ChatMessage, ChatMessage(channel="x", blocks=[Block(text="a", children=[Block(text="b")])])),
    (Notification, Notification(target=PushTarget(token="t"), body="x")),
    (Plan, Plan(code="pro", price=900, interval=Interval.YEAR, trial=dt.timedelta(days=14))),
    (
        Subscription,
        Subscription(
            customer=uuid.UUID(int=4), plan=Plan(code="a", price=0), started=dt.date(2026, 1, 1)
        ),
    ),
    (
        Invoice,
        Invoice(number="1", lines=[InvoiceLine(text="x", cents=5)], due=dt.date(2026, 1, 1)),
    ),
    (Usage, Usage(meter="calls", at=AT, value=2.5, tags={"a": True, "b": 1, "c": "x"})),
    (
        Payment,
        Payment(method=Transfer(iban="DE1"), amount=Money(amount=Decimal("0.10"), currency="EUR")),
    ),
    (Dunning, Dunning(invoice="1", level=2, fees={"a": Decimal("1.5")})),
    (Optimizer, Optimizer(name="sgd")),
    (TrainingJob, TrainingJob(model_name="m", dataset=pathlib.PurePosixPath("/data/x"))),
    (Embedding, Embedding(texts=["a"])),
    (Prediction, Prediction(inputs=[[1.5, 2.0]], labels={1: "cat"})),
    (Dataset, Dataset(rows=[{"a": 1, "b": None}])),
    (
        Prompt,
        Prompt(messages=[Message(role="user", content="hi")], stop=["x"], tools=[{"a": 1}]),
    ),
    (
        Evaluation,
        Evaluation(
            metrics={"f1": 0.5},
            confusion=((1, 2), (3, 4)),
            started=dt.time(12),
            took=dt.timedelta(seconds=1.5),
        ),
    ),
    (Region, Region(name="a", parent=Region(name="b", bounds=BOX))),
    (Backup, Backup(database=PostgresDsn("postgres://u:p@h/d"), tables=["a"])),
    (AuditEntry, AuditEntry(actor=None, action="x", after={"a": 1})),
]
