"""The app whose bundle and calls are in `conformance/`: every form that a client must write."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from typedq import Json, Queue, Secret, TypedQ

app = TypedQ(
    "shop",
    url="redis://conformance",
    queues=[Queue("high"), Queue("default"), Queue("low")],
    default_queue="default",
    max_body=2_000,
    max_depth=8,
)


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Card(msgspec.Struct, tag="card"):
    number: Annotated[str, Secret, msgspec.Meta(min_length=4, max_length=19)]


class Transfer(msgspec.Struct, tag="transfer"):
    iban: Annotated[str, Secret]


class Line(msgspec.Struct, frozen=True):
    sku: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}[0-9]+$")]
    count: Annotated[int, msgspec.Meta(ge=1, le=99)] = 1


class Order(msgspec.Struct, kw_only=True):
    number: int
    lines: Annotated[list[Line], msgspec.Meta(min_length=1)]
    payment: Card | Transfer
    note: str | None = None
    size: Size = Size.SMALL


@app.task(queue="high")
def ship(order: Order) -> None: ...


@app.task
def scalars(  # noqa: PLR0917
    flag: bool,
    number: int,
    ratio: float,
    price: Decimal,
    id: uuid.UUID,
    raw: bytes,
    day: dt.date,
    clock: dt.time,
    at: Annotated[dt.datetime, msgspec.Meta(tz=True)],
    took: dt.timedelta,
    mode: Literal["fast", 1] = "fast",
    text: str = "",
) -> None: ...


@app.task
def collections(  # noqa: PLR0917
    numbers: list[int] = [],  # noqa: B006
    pair: tuple[int, str] = (0, ""),
    unique: frozenset[str] = frozenset(),
    by_name: dict[str, float | None] = {},  # noqa: B006
    by_number: dict[int, str] = {},  # noqa: B006
    anything: Json = None,
) -> None: ...


@app.task(queue="low")
def ping() -> None: ...
